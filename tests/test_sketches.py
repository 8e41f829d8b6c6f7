"""Sketches against NumPy on the values themselves."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.sketches import (
    COARSE,
    FINE,
    FINE_ROWS,
    ZERO_BIN,
    Sketch,
    as_sketch,
    resolution_of,
    sketch_query,
)

VALUES = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.sampled_from([1.0, 2.0, 5e-324])),
    max_size=60,
)


def sketch_of(values: list[float | None], resolution: int = COARSE) -> Sketch:
    frame = pl.LazyFrame(
        {
            "metric": pl.Series(values, dtype=pl.Float64),
            "num_tokens": pl.Series(range(len(values)), dtype=pl.Int64),
            "num_bytes": pl.Series([10] * len(values), dtype=pl.Int64),
        }
    )
    return as_sketch(sketch_query(frame, "metric", resolution).collect(), resolution)


@given(VALUES, st.floats(0, 1), st.sampled_from([FINE, COARSE]))
def test_quantiles_are_those_of_numpy_to_within_a_bin(values, q, resolution):
    found = sketch_of(values, resolution).quantile(q)
    if not values:
        assert found is None
        return
    assert found == pytest.approx(np.quantile(values, q), rel=1.01 / resolution, abs=1e-323)


@given(st.lists(st.integers(0, 600), unique=True, min_size=1), st.floats(0, 1))
def test_quantiles_are_exact_where_no_bin_holds_more_than_two(exponents, q):
    values = [2.0 ** (e / 2) for e in exponents for _ in range(2)]
    assert sketch_of(values).quantile(q) == pytest.approx(np.quantile(values, q), rel=1e-12)


def test_quantiles_of_many_are_far_better_than_a_bin():
    values = np.random.default_rng(0).lognormal(2.7, 0.5, 200_000)
    sketch = sketch_of(values.tolist())
    for q in (0.01, 0.05, 0.5, 0.95, 0.99):
        assert sketch.quantile(q) == pytest.approx(np.quantile(values, q), rel=1e-3)


@given(VALUES)
def test_every_document_is_in_the_bin_that_it_belongs_to(values):
    sketch = sketch_of(values)
    assert sketch.num_documents == len(values)
    assert sketch.tokens.sum() == sum(range(len(values)))
    assert sketch.num_bytes.sum() == 10 * len(values)
    assert sorted(set(sketch.bins)) == list(sketch.bins)
    lower, upper = sketch.edges(sketch.bins), sketch.edges(sketch.bins + 1)
    for i, number in enumerate(sketch.bins):
        if number == ZERO_BIN:
            assert (sketch.low[i], sketch.high[i]) == (0.0, 0.0)
        elif sketch.low[i] > 1e-300:
            assert lower[i] * (1 - 1e-9) <= sketch.low[i] <= sketch.high[i]
            assert sketch.high[i] <= upper[i] * (1 + 1e-9)
    assert sketch.positive().num_documents == sum(value > 0 for value in values)


def test_documents_without_a_score_are_in_no_bin():
    assert sketch_of([None, 2.0, None]).num_documents == 1


def test_sketches_of_parts_add_up():
    rng = np.random.default_rng(1)
    frame = pl.LazyFrame(
        {
            "metric": rng.lognormal(2, 1, 500),
            "num_tokens": rng.integers(1, 9, 500),
            "num_bytes": rng.integers(1, 9, 500),
            "source": rng.integers(0, 3, 500),
        }
    )
    parts = as_sketch(sketch_query(frame, "metric", COARSE, pl.col("source")).collect(), COARSE)
    whole = as_sketch(sketch_query(frame, "metric", COARSE).collect(), COARSE)
    for name in ("bins", "documents", "tokens", "num_bytes", "low", "high"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()


@given(st.lists(st.floats(1e-3, 1e6), min_size=1), st.floats(0, 1))
def test_a_range_above_a_quantile_has_a_document(values, q):
    sketch = sketch_of(values)
    value = sketch.quantile(q)
    ranges = sketch.above(value, 3)
    inside = [v for v in values if any(low <= v <= high for low, high in ranges)]
    # The last digit of an interpolated value may lie above the largest.
    assert [v for v in inside if v >= value * (1 - 1e-12)]


def test_the_resolution_is_by_the_number_of_rows():
    rows = pl.LazyFrame({"a": pl.zeros(FINE_ROWS + 1, dtype=pl.UInt8, eager=True)})
    assert resolution_of(rows) == COARSE
    assert resolution_of(rows.head(FINE_ROWS)) == FINE
