"""Histograms, cumulative shares and bands by length against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.distributions import (
    ECDF_POINTS,
    HISTOGRAM_BINS,
    LengthTally,
    ecdf_of,
    histogram_of,
)
from pipeline.statistics.quantile import weighted_quantiles
from pipeline.statistics.sketches import FINE, bin_values
from tests.statistics.test_sketches import sketch_of

# Away from the edges of bins, where a rounded logarithm may fall on either side.
NUMBERS = st.integers(1, 2000).map(lambda n: n * 1.0000321)
SERIES = st.dictionaries(st.sampled_from("abc"), st.lists(NUMBERS, max_size=40), min_size=1)


@given(SERIES)
def test_a_histogram_counts_what_lies_between_its_edges(series):
    histogram = histogram_of("perplexity", "c", {k: sketch_of(v) for k, v in series.items()})
    if not any(series.values()):
        assert histogram is None
        return
    edges = histogram.edges
    assert 1 <= len(edges) - 1 <= HISTOGRAM_BINS
    assert edges == sorted(set(edges))
    for name, values in series.items():
        expected = np.histogram(values, [*edges[:-1], np.inf])[0]
        assert histogram.documents[name] == expected.tolist()
        assert sum(histogram.tokens[name]) == sum(range(len(values)))


@given(SERIES)
def test_cumulative_shares_are_those_of_the_values(series):
    ecdf = ecdf_of("perplexity", "c", {k: sketch_of(v) for k, v in series.items()})
    if not any(series.values()):
        assert ecdf is None
        return
    assert len(ecdf.at) <= ECDF_POINTS + 1
    assert set(ecdf.below) == {name for name, values in series.items() if values}
    for name, below in ecdf.below.items():
        values = series[name]
        assert below == pytest.approx([sum(v < at for v in values) / len(values) for at in ecdf.at])
        assert below[-1] == 1


def test_zeros_count_below_everything_and_have_no_place_on_the_axis():
    ecdf = ecdf_of("bits_per_byte", None, {"all": sketch_of([0.0, 0.0, 1.5, 3.0])})
    assert ecdf.at[0] > 1
    assert ecdf.below["all"][0] == 0.5
    histogram = histogram_of("bits_per_byte", None, {"all": sketch_of([0.0, 0.0, 1.5, 3.0])})
    assert sum(histogram.documents["all"]) == 2


def bands_of(lengths, perplexities, weight="documents", num_bytes=None):
    tally = LengthTally(FINE, weight)
    tokens = np.array(lengths)
    values = np.array(perplexities, np.float64)
    rows = {"num_tokens": tokens, "num_bytes": num_bytes}
    tally.add(rows, {"perplexity": bin_values(values, FINE)})
    return tally.bands()


def test_bands_are_quantiles_of_documents_of_about_one_length():
    rng = np.random.default_rng(0)
    lengths, values = rng.integers(0, 5000, 3000), rng.lognormal(2, 1, 3000)
    perplexities = [None if n == 0 else float(v) for n, v in zip(lengths, values, strict=True)]
    bands = bands_of(lengths, perplexities)
    assert sum(band.num_documents for band in bands) == (lengths > 0).sum()
    assert [band.low for band in bands] == sorted(band.low for band in bands)
    for band in bands:
        inside = values[(lengths >= band.low) & (lengths <= band.high)]
        assert len(inside) == band.num_documents
        found = [band.p5, band.p25, band.p50, band.p75, band.p95]
        wanted = np.quantile(inside, [0.05, 0.25, 0.5, 0.75, 0.95])
        assert found == pytest.approx(wanted, rel=1 / FINE)


@pytest.mark.parametrize("weight", ["tokens", "bytes"])
def test_bands_weigh_documents_as_the_report_does(weight):
    rng = np.random.default_rng(1)
    lengths, values = rng.integers(1, 300, 400), rng.lognormal(2, 1, 400)
    size = rng.integers(1, 4000, 400)
    weights = {"tokens": lengths, "bytes": size}[weight].astype(float)
    for band in bands_of(lengths, values.tolist(), weight, size):
        inside = (lengths >= band.low) & (lengths <= band.high)
        found = [band.p5, band.p25, band.p50, band.p75, band.p95]
        wanted = weighted_quantiles(values[inside], weights[inside], [0.05, 0.25, 0.5, 0.75, 0.95])
        assert found == pytest.approx(wanted.tolist(), rel=1e-6)
        assert band.num_documents == inside.sum()


def test_a_document_without_a_token_is_in_no_band():
    assert bands_of([0], [None]) == []
