"""pipeline/rendering/formats.py: digits that mean something, signs that say the direction."""

import pytest

from pipeline.rendering.formats import chance, estimate, estimated_change, percent, signed
from pipeline.statistics.bootstrap import Interval


def around(low, high):
    return Interval(low=low, high=high)


ESTIMATES = {
    "two digits of the width": (12.3154, around(12.295, 12.3341), ("12.315", "12.295 to 12.334")),
    "large": (1234.5, around(1200.2, 1300.7), ("1,234", "1,200 to 1,301")),
    "no width": (12.3154, around(12.3, 12.3), ("12.3", "12.3 to 12.3")),
    "hardly any": (1.0, around(1.0, 1.0 + 1e-12), ("1", "1 to 1")),
    "huge": (2e9, around(1e9, 3e9), ("2.00e+09", "1.00e+09 to 3.00e+09")),
    "no interval": (0.987654, None, ("0.988", "-")),
    "nothing": (None, None, ("-", "-")),
}


@pytest.mark.parametrize(("value", "interval", "text"), ESTIMATES.values(), ids=ESTIMATES)
def test_estimates(value, interval, text):
    assert estimate(value, interval) == text


CHANGES = {
    "up": (0.1259, around(0.123, 0.1285), ("+0.1259", "+0.1230 to +0.1285")),
    "down": (-0.5, around(-0.8, 0.1), ("-0.50", "-0.80 to +0.10")),
    "none": (0.0, around(-0.1, 0.1), ("0.00", "-0.10 to +0.10")),
    "rounds to none": (0.001, around(-0.1, 0.1), ("0.00", "-0.10 to +0.10")),
    "no interval": (-0.987654, None, ("-0.988", "-")),
    "equal": (0.0, around(0.0, 0.0), ("0", "0 to 0")),
    "nothing": (None, None, ("-", "-")),
}


@pytest.mark.parametrize(("value", "interval", "text"), CHANGES.values(), ids=CHANGES)
def test_changes(value, interval, text):
    assert estimated_change(value, interval) == text


def test_signs():
    assert [signed(x) for x in (1234.0, -0.5, 0.0, None)] == ["+1,234", "-0.5", "0", "-"]
    assert [percent(x) for x in (0.0123, -0.5, 0.0, None)] == ["+1.2%", "-50.0%", "0.0%", "-"]


def test_chances():
    assert [chance(p) for p in (0.0321, 1.0, 1e-9, 0.0, None)] == [
        "0.032",
        "1",
        "<1e-06",
        "<1e-06",
        "-",
    ]
