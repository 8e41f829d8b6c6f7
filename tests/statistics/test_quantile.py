"""pipeline/statistics/quantile.py against NumPy, SciPy and the published weighted formula."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mstats

from pipeline.statistics.quantile import (
    position,
    quantile_expr,
    quantiles,
    weighted_quantile_expr,
)

AT = (0.0, 0.01, 0.05, 0.25, 1 / 3, 0.5, 0.75, 0.95, 0.99, 1.0)
VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)
WEIGHTS = st.floats(1e-3, 1e3)


def plain(values, q):
    frame = pl.DataFrame({"v": values}, schema={"v": pl.Float64})
    return frame.select(quantile_expr(pl.col("v"), q)).item()


def weighted(values, weights, q):
    frame = pl.DataFrame(
        {"v": values, "w": weights}, schema={"v": pl.Float64, "w": pl.Float64}, strict=False
    )
    return frame.select(weighted_quantile_expr(pl.col("v"), pl.col("w"), q)).item()


def by_the_paper(values, weights, q):
    """Akinshin 2023, weighted type 7: Q*(p) = sum of W*_i x_(i), W*_i = F(t_i) - F(t_{i-1})."""
    order = np.argsort(values, kind="stable")
    values, weights = np.asarray(values, float)[order], np.asarray(weights, float)[order]
    n_star = weights.sum() ** 2 / np.sum(weights**2)
    h = q * (n_star - 1) + 1

    def big_f(u):
        if u < (h - 1) / n_star:
            return 0.0
        return 1.0 if u > h / n_star else u * n_star - h + 1

    ends = [0.0, *np.cumsum(weights) / weights.sum()]
    return sum(
        (big_f(right) - big_f(left)) * x
        for left, right, x in zip(ends, ends[1:], values, strict=False)
    )


@pytest.mark.parametrize("num", [1, 2, 3, 10, 101, 4096])
def test_type_7(num):
    values = np.random.default_rng(num).lognormal(3, 2, num)
    ours = quantiles(values, AT)
    assert ours == pytest.approx(np.quantile(values, AT), rel=1e-14)
    # SciPy's alphap = betap = 1 is type 7, by a formula of its own.
    theirs = mstats.mquantiles(values, AT, alphap=1, betap=1)
    assert ours == pytest.approx(np.asarray(theirs), rel=1e-12)
    assert [plain(values, q) for q in AT] == pytest.approx(ours, rel=1e-12)
    ordered = np.sort(values)
    by_hand = [
        np.interp(position(q, num), np.arange(num), ordered) if num > 1 else ordered[0] for q in AT
    ]
    assert ours == pytest.approx(by_hand, rel=1e-12)


def test_a_place_is_exact():
    assert position(Fraction(1, 10), 11) == 1
    assert position(0.5, 2) == 0.5


@pytest.mark.parametrize("weight", [1.0, 0.1, 1 / 3, 1e9 / 7])
@pytest.mark.parametrize("num", [1, 2, 3, 101, 4096])
def test_equal_weights_are_type_7(num, weight):
    values = np.random.default_rng(num).lognormal(3, 2, num)
    found = [weighted(values, [weight] * num, q) for q in AT]
    assert found == pytest.approx(np.quantile(values, AT), rel=1e-9)


def test_a_value_far_off_does_not_leak_in():
    """At a whole place the next value has no share, not even that of a rounding error."""
    values = [*range(1, 101), 1e300]
    for weight in (1.0, 0.1, 1 / 3, 1e5 / 3):
        assert weighted(values, [weight] * 101, 0.99) == pytest.approx(100)


@given(st.lists(st.tuples(st.floats(0, 1e6), WEIGHTS), min_size=1, max_size=30), st.floats(0, 1))
def test_the_published_formula(rows, q):
    values, weights = zip(*rows, strict=True)
    expected = by_the_paper(values, weights, q)
    assert weighted(values, weights, q) == pytest.approx(expected, rel=1e-9, abs=1e-5)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), WEIGHTS), min_size=1, max_size=30),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(1e-6, 1e6),
    st.randoms(use_true_random=False),
)
def test_what_its_docstring_promises(rows, first, second, factor, random):
    values, weights = map(list, zip(*rows, strict=True))
    low, high = (weighted(values, weights, q) for q in sorted((first, second)))
    near = {"rel": 1e-9, "abs": 1e-5}
    assert low <= high or low == pytest.approx(high, **near), "rises with q"
    assert min(values) <= low or low == pytest.approx(min(values), **near)
    assert high <= max(values) or high == pytest.approx(max(values), **near)
    scaled = weighted(values, [weight * factor for weight in weights], first)
    assert scaled == pytest.approx(weighted(values, weights, first), **near), "any unit of weight"
    shuffled = rows.copy()
    random.shuffle(shuffled)
    again = weighted(*zip(*shuffled, strict=True), first)
    assert again == pytest.approx(weighted(values, weights, first), **near), "any order"
    none = weighted([*values, 5e5], [*weights, 0.0], first)
    assert none == pytest.approx(weighted(values, weights, first), **near), "no weight, no say"


def test_repeated_values_are_not_weights():
    """The property that it has not; but the difference is within a place of the repeated values."""
    assert weighted([0.0, 1.0], [2, 2], 0.25) == 0.25
    assert np.quantile([0.0, 0.0, 1.0, 1.0], 0.25) == 0.0
    random = np.random.default_rng(0)
    values, weights = random.lognormal(3, 1, 4000), random.integers(1, 6, 4000)
    repeated = np.repeat(values, weights)
    for q in AT[1:-1]:
        assert weighted(values, weights, q) == pytest.approx(np.quantile(repeated, q), rel=0.01)


def test_missing_values_have_no_weight():
    assert weighted([None, 3.0, None, 5.0], [9.0, 1.0, 9.0, 1.0], 0.5) == 4.0
    assert weighted([None, None], [1.0, 1.0], 0.5) is None
    assert weighted([], [], 0.5) is None
    assert plain([None, 3.0, 5.0], 0.5) == 4.0
    assert plain([], 0.5) is None


def test_by_group():
    frame = pl.DataFrame(
        {"g": ["a", "b", "a", "b", "b"], "v": [1.0, 7.0, 2.0, None, 9.0], "w": [1.0, 2, 1, 5, 2]}
    )
    expr = weighted_quantile_expr(pl.col("v"), pl.col("w"), 0.5).alias("q")
    assert dict(frame.group_by("g").agg(expr).iter_rows()) == {"a": 1.5, "b": 8.0}
