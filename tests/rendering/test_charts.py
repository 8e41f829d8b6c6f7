"""The axes of charts."""

import pytest

from pipeline.rendering.charts import MOST_TICKS, log_ticks


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([2, 90], [2, 5, 10, 20, 50]),
        ([3, 3e6], [10, 100, 1e3, 1e4, 1e5, 1e6]),
    ],
)
def test_ticks_of_a_log_axis(values, ticks):
    assert log_ticks(values, "~s").values == ticks


def test_an_axis_as_long_as_float64_has_few_ticks():
    ticks = log_ticks([1.0, 1.7e308], "~s").values
    assert MOST_TICKS / 2 <= len(ticks) <= MOST_TICKS
    assert ticks == sorted(ticks)
