"""The threshold curve against a filter with every cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.thresholds import NUM_CUTS, threshold_curve
from tests.statistics.test_sketches import sketch_of


@given(st.lists(st.sampled_from([0.0, 1.0, 1.001, 7.5]) | st.floats(1e-3, 1e9), max_size=300))
def test_every_cut_keeps_what_a_filter_would(values):
    curve = threshold_curve(sketch_of(values))
    tokens = range(len(values))
    for point in curve:
        kept = [
            token for value, token in zip(values, tokens, strict=True) if value <= point.perplexity
        ]
        assert point.documents_kept == len(kept)
        assert point.tokens_kept == sum(kept)
        assert point.bytes_kept == 10 * len(kept)
        assert point.documents_kept + point.documents_above == len(values)
        assert point.tokens_kept + point.tokens_above == sum(tokens)
        assert point.bytes_kept + point.bytes_above == 10 * len(values)
    cuts = [point.perplexity for point in curve]
    assert cuts == sorted(set(cuts))
    assert set(cuts) <= set(values)
    if values:
        assert cuts[-1] == max(values)


def test_cuts_are_spread_evenly_over_what_documents_weigh():
    """The k-th document has k tokens: half of all tokens are in the last 30% of the documents."""
    values = np.linspace(1, 2, 20_000)
    curve = threshold_curve(sketch_of(values.tolist(), 1 << 20), "tokens")
    shares = [one.tokens_kept / (one.tokens_kept + one.tokens_above) for one in curve]
    assert shares == pytest.approx([i / 100 for i in range(1, 101)], abs=0.002)
    assert curve[49].documents_kept == pytest.approx(20_000 * 0.5**0.5, rel=0.01)


def test_cuts_are_spread_evenly_over_documents():
    values = np.random.default_rng(0).lognormal(2.7, 0.5, 20_000)
    curve = threshold_curve(sketch_of(values.tolist(), 4096))
    assert len(curve) == NUM_CUTS
    shares = [point.documents_kept / len(values) for point in curve]
    assert shares == pytest.approx([i / 100 for i in range(1, 101)], abs=0.002)


def test_nothing_scored_has_no_curve():
    assert threshold_curve(sketch_of([])) == []
