"""pipeline/comparisons/drift.py against SciPy, and against sums done another way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.comparisons import drift
from pipeline.comparisons.drift import distances, ks_statistic, psi, wasserstein

VALUES = st.lists(st.floats(-50, 50).map(lambda x: round(x, 1)), min_size=1, max_size=60)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(drift, "CHUNK", 3)


def arrays(*sides):
    return [np.sort(np.asarray(side, dtype=np.float64)) for side in sides]


@given(VALUES, VALUES, st.sampled_from([1, 2, 7, 1000]))
def test_ks_and_wasserstein_are_the_textbooks_and_scipys(a, b, chunk):
    a, b = arrays(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "CHUNK", chunk)
        apart = max(abs(np.mean(a <= v) - np.mean(b <= v)) for v in [*a, *b])
        assert ks_statistic(a, b) == pytest.approx(apart, abs=1e-12)
        moved = stats.wasserstein_distance(a, b)
        assert wasserstein(a, b) == pytest.approx(moved, rel=1e-9, abs=1e-9)
        assert 0 <= distances(a, b).ks_p_value <= 1


@pytest.mark.parametrize("sizes", [(40, 60), (1000, 999), (3000, 4000), (100_000, 70_000)])
def test_the_p_value_is_scipys(sizes):
    random = np.random.default_rng(5)
    a, b = arrays(random.normal(0, 1, sizes[0]), random.normal(0.05, 1, sizes[1]))
    method = "exact" if max(sizes) <= drift.MOST_EXACT else "asymp"
    expected = stats.ks_2samp(a, b, method=method)
    answer = distances(a, b)
    assert answer.ks_statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert answer.ks_p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_equal_samples_do_not_differ(small_chunks):
    (a,) = arrays([1, 2, 2, 3, 5, 8, 8, 8])
    answer = distances(a, a)
    assert (answer.ks_statistic, answer.ks_p_value, answer.wasserstein) == (0, 1, 0)
    assert answer.psi.value == 0


def test_apart_is_as_far_as_it_goes(small_chunks):
    a, b = arrays(range(10), range(100, 110))
    answer = distances(a, b)
    assert answer.ks_statistic == 1
    assert answer.wasserstein == pytest.approx(100)


def test_psi_by_hand():
    """Baseline 0..99: deciles at 9.9, 19.8, ...; the other has all but 1 of its 50 in bin one."""
    a, b = arrays(range(100), [*np.linspace(0, 9, 49), 95])
    found = psi(a, b)
    p = [0.1] * 10
    q = [49 / 50] + [0.5 / 50] * 8 + [1 / 50]
    assert found.value == pytest.approx(
        math.fsum((y - x) * math.log(y / x) for x, y in zip(p, q, strict=True))
    )
    assert found.num_bins == 10
    assert found.by_chance == pytest.approx(16.918977604620448 * (1 / 100 + 1 / 50))


@given(VALUES, VALUES)
def test_psi_is_a_sum_over_bins_and_never_negative(a, b):
    a, b = arrays(a, b)
    edges = sorted({float(np.quantile(a, k / 10)) for k in range(1, 10)})
    bins = [[sum(edge < value for edge in edges) for value in side] for side in (a, b)]
    terms = []
    for k in sorted({*bins[0], *bins[1]}):
        p, q = (max(side.count(k), 0.5) / len(side) for side in bins)
        terms.append((q - p) * math.log(q / p))
    found = psi(a, b)
    assert found.num_bins == len(terms)
    assert found.value == pytest.approx(math.fsum(terms), abs=1e-9)
    assert found.value >= 0


def test_psi_where_every_document_has_one_value():
    found = psi(*arrays([3.0] * 40, [3.0] * 20))
    assert (found.value, found.num_bins, found.by_chance) == (0, 1, 0)


def test_psi_by_chance_is_exceeded_by_one_in_twenty():
    random = np.random.default_rng(11)
    above = 0
    for _ in range(400):
        a, b = arrays(random.normal(size=900), random.normal(size=600))
        found = psi(a, b)
        above += found.value > found.by_chance
    assert 0.02 <= above / 400 <= 0.09


@pytest.mark.parametrize("sides", [([], [1.0]), ([1.0], []), ([], [])])
def test_nothing_has_no_distance(sides):
    assert distances(*arrays(*sides)) is None
