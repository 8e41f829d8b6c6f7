"""Sketches against NumPy on the values themselves."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statistics import sketches
from pipeline.statistics.sketches import (
    COARSE,
    FINE,
    FINE_ROWS,
    ZERO_BIN,
    Sketch,
    SketchTally,
    bin_values,
    merge_sketches,
    resolution_of,
)

VALUES = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.sampled_from([1.0, 2.0, 5e-324])),
    max_size=60,
)


def sketch_of(values: list[float | None], resolution: int = COARSE) -> Sketch:
    numbers = np.arange(len(values))
    tally = SketchTally(resolution)
    binned = bin_values(np.array(values, np.float64), resolution)
    tally.add(numbers * 0, binned, numbers, np.full(len(values), 10))
    return tally.whole()


@given(VALUES, st.floats(0, 1), st.sampled_from([FINE, COARSE]))
def test_quantiles_are_those_of_numpy_to_within_a_bin(values, q, resolution):
    found = sketch_of(values, resolution).value_at(q)
    if not values:
        assert found is None
        return
    assert found == pytest.approx(np.quantile(values, q), rel=1.01 / resolution, abs=1e-323)


@given(st.lists(st.integers(0, 600), unique=True, min_size=1), st.floats(0, 1))
def test_quantiles_are_exact_where_no_bin_holds_more_than_two(exponents, q):
    values = [2.0 ** (e / 2) for e in exponents for _ in range(2)]
    assert sketch_of(values).value_at(q) == pytest.approx(np.quantile(values, q), rel=1e-12)


def test_quantiles_of_many_are_far_better_than_a_bin():
    values = np.random.default_rng(0).lognormal(2.7, 0.5, 200_000)
    sketch = sketch_of(values.tolist())
    for q in (0.01, 0.05, 0.5, 0.95, 0.99):
        assert sketch.value_at(q) == pytest.approx(np.quantile(values, q), rel=1e-3)


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


def grouped_by_polars(frame: pl.DataFrame, resolution: int, *by: str) -> list[tuple]:
    index = (pl.col("value").log() * resolution).floor().clip(ZERO_BIN).cast(pl.Int64)
    return sorted(
        frame.drop_nulls("value")
        .group_by(*by, index.alias("bin"))
        .agg(
            pl.len().alias("documents"),
            pl.col("tokens", "num_bytes").sum(),
            pl.col("value").min().alias("low"),
            pl.col("value").max().alias("high"),
        )
        .rows()
    )


def rows_of(sketch: Sketch) -> list[tuple]:
    arrays = (sketch.bins, sketch.documents, sketch.tokens, sketch.num_bytes)
    return list(zip(*(a.tolist() for a in (*arrays, sketch.low, sketch.high)), strict=True))


@pytest.mark.parametrize("num_codes", [1, 3, 50_000])
@pytest.mark.parametrize("resolution", [FINE, COARSE])
@pytest.mark.parametrize("most_pending", [100, 1 << 20])
def test_batches_add_up_to_what_polars_groups(num_codes, resolution, most_pending, monkeypatch):
    """Few codes and many take two ways of counting; batches are merged now and then, or never."""
    monkeypatch.setattr(sketches, "MOST_PENDING", most_pending)
    rng = np.random.default_rng(1)
    values = [None if rng.random() < 0.1 else v for v in rng.lognormal(2, 1, 5_000).tolist()]
    values[::50] = [0.0] * 100
    frame = pl.DataFrame(
        {
            "code": rng.integers(0, num_codes, 5_000),
            "value": values,
            "tokens": rng.integers(1, 9, 5_000),
            "num_bytes": rng.integers(1, 1 << 40, 5_000),
        }
    )
    tally = SketchTally(resolution)
    for batch in frame.iter_slices(700):
        codes, values, *weights = (batch[name].to_numpy() for name in frame.columns)
        tally.add(codes, bin_values(values, resolution), *weights)
    found = tally.sketches()
    wanted = grouped_by_polars(frame, resolution, "code")
    assert [(code, *row) for code, one in found.items() for row in rows_of(one)] == wanted
    whole = grouped_by_polars(frame, resolution)
    assert rows_of(tally.whole()) == whole
    assert rows_of(merge_sketches(list(found.values()))) == whole


@given(st.lists(st.floats(1e-3, 1e6), min_size=1), st.floats(0, 1))
def test_a_range_above_a_quantile_has_a_document(values, q):
    sketch = sketch_of(values)
    value = sketch.value_at(q)
    ranges = sketch.above(value, 3)
    inside = [v for v in values if any(low <= v <= high for low, high in ranges)]
    # The last digit of an interpolated value may lie above the largest.
    assert [v for v in inside if v >= value * (1 - 1e-12)]


def test_the_resolution_is_by_the_number_of_rows():
    rows = pl.LazyFrame({"a": pl.zeros(FINE_ROWS + 1, dtype=pl.UInt8, eager=True)})
    assert resolution_of(rows) == COARSE
    assert resolution_of(rows.head(FINE_ROWS)) == FINE
