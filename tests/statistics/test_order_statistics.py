"""pipeline/statistics/order_statistics.py against sorting everything."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statistics.order_statistics import (
    from_sortable_bits,
    histogram,
    select,
    sortable_bits,
)

FLOATS = st.floats(allow_nan=False)
# Few distinct values, so that ties are the rule; and neighbours that share their leading bits.
VALUES = st.one_of(st.sampled_from([1.0, 1.5, 2.0]), st.floats(1.0, 1.0 + 1e-9), FLOATS)
ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), VALUES, st.integers(0, 9)), min_size=1, max_size=60
)


@given(st.lists(FLOATS, min_size=1))
def test_bits_sort_as_the_floats_do(values):
    frame = pl.DataFrame({"value": values}).with_columns(key=sortable_bits(pl.col("value")))
    by_key = frame.sort("key")["value"].to_list()
    assert by_key == sorted(values)
    back = frame.select(from_sortable_bits(pl.col("key"))).to_series().to_list()
    assert back == values


def test_zeros_are_equal_and_infinities_at_the_ends():
    frame = pl.DataFrame({"value": [-0.0, 0.0, math.inf, -math.inf, 5e-324, -5e-324]})
    keys = frame.select(sortable_bits(pl.col("value"))).to_series()
    assert keys[0] == keys[1]
    assert keys.arg_sort().to_list() in ([3, 5, 0, 1, 4, 2], [3, 5, 1, 0, 4, 2])


@given(ROWS, st.lists(st.integers(-1, 400), min_size=1, max_size=4, unique=True))
def test_select_is_a_walk_through_the_sorted_values(rows, targets):
    frame = pl.LazyFrame(
        rows,
        schema={"group": pl.String, "value": pl.Float64, "weight": pl.Int64},
        orient="row",
    ).select("group", key=sortable_bits(pl.col("value")), weight="weight")
    groups = sorted({group for group, _, _ in rows}, key=str)
    wanted = pl.DataFrame(
        [(group, target) for group in groups for target in targets],
        schema={"group": pl.String, "target": pl.Int64},
        orient="row",
    )
    found = select(frame, histogram(frame), wanted).with_columns(
        value=from_sortable_bits(pl.col("key"))
    )
    answers = {
        (g, t): (v, b) for g, t, v, b in found.select("group", "target", "value", "below").rows()
    }
    expected = {}
    for group in groups:
        own = [(value, weight) for g, value, weight in rows if g == group]
        for target in targets:
            for value in sorted({value for value, _ in own}):
                below = sum(weight for other, weight in own if other < value)
                if below + sum(weight for other, weight in own if other == value) > target:
                    expected[group, target] = (value, below)
                    break
    assert answers == expected


@pytest.mark.parametrize("size", [1, 2, 1000, 100_000])
def test_weights_of_one_give_order_statistics(size):
    values = np.random.default_rng(size).lognormal(3, 2, size)
    frame = pl.LazyFrame({"value": values}).select(
        key=sortable_bits(pl.col("value")),
        group=pl.lit(None, pl.String),
        weight=pl.lit(1, pl.Int64),
    )
    places = sorted({0, size // 3, size // 2, size - 1})
    targets = pl.DataFrame({"target": places}).select("target", group=pl.lit(None, pl.String))
    found = select(frame, histogram(frame), targets).sort("target")
    got = found.select(from_sortable_bits(pl.col("key"))).to_series().to_list()
    assert got == [np.partition(values, place)[place] for place in places]
    assert found["below"].to_list() == places
