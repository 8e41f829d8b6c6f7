"""pipeline/statistics/weighted.py against the exact weighted quantile, and counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statistics.quantile import weighted_quantiles
from pipeline.statistics.sketches import COARSE, FINE, SketchTally, bin_values
from pipeline.statistics.weighted import quantile_of, share_below

AT = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def sketch_of(values, tokens, resolution=FINE):
    tally = SketchTally(resolution)
    codes = np.zeros(len(values), np.int64)
    tally.add(codes, bin_values(values, resolution), tokens, 4 * tokens)
    return tally.whole()


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 500)),
        min_size=1,
        max_size=60,
        unique_by=lambda pair: pair[0],
    )
)
def test_the_quantile_is_the_exact_one_where_values_have_bins_of_their_own(pairs):
    values = np.array([1.5 ** (one / 4) for one, _ in pairs])
    tokens = np.array([size for _, size in pairs])
    sketch = sketch_of(values, tokens)
    exact = weighted_quantiles(values, tokens.astype(float), AT)
    for weight in ("tokens", "bytes"):  # bytes are in proportion
        found = [quantile_of(sketch, q, weight) for q in AT]
        assert found == pytest.approx(exact.tolist(), rel=1e-9)


def test_equal_weights_are_no_weights():
    values = np.random.default_rng(0).lognormal(3, 1, 5000)
    for resolution in (FINE, COARSE):
        sketch = sketch_of(values, np.full(5000, 7), resolution)
        for q in AT:
            assert quantile_of(sketch, q, "tokens") == pytest.approx(sketch.value_at(q), rel=1e-9)


def test_coarse_bins_are_within_their_width_of_the_exact_value():
    random = np.random.default_rng(1)
    values, tokens = random.lognormal(3, 1, 100_000), random.integers(1, 1000, 100_000)
    sketch = sketch_of(values, tokens, COARSE)
    inner = AT[1:-1]
    for q, exact in zip(
        inner, weighted_quantiles(values, tokens.astype(float), inner), strict=True
    ):
        assert quantile_of(sketch, q, "tokens") == pytest.approx(exact, rel=sketch.relative_error)


def test_shares_of_the_weight_below():
    values, tokens = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 2, 3, 4])
    sketch = sketch_of(values, tokens)
    assert share_below(sketch, sketch.bins, "tokens").tolist() == [0, 0.1, 0.3, 0.6]
    assert share_below(sketch, sketch.bins, "documents").tolist() == [0, 0.25, 0.5, 0.75]
    assert quantile_of(sketch_of(np.empty(0), np.empty(0, np.int64)), 0.5, "bytes") is None
