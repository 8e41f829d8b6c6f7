"""pipeline/statistics/variance.py against SciPy's analysis of variance, shuffles and resamples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.statistics.variance import Moments, between_groups


def moments_of(values, groups):
    _, at = np.unique(groups, return_inverse=True)
    return Moments(*(np.bincount(at, values**power) for power in range(5)))


def by_hand(values, groups):
    """(epsilon squared, eta squared), from means and squares."""
    kinds = np.unique(groups)
    within = sum(np.sum((values[groups == g] - values[groups == g].mean()) ** 2) for g in kinds)
    total = np.sum((values - values.mean()) ** 2)
    n, k = len(values), len(kinds)
    return 1 - (within / (n - k)) / (total / (n - 1)), 1 - within / total


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), min_size=3, max_size=40),
    st.sampled_from([0.0, 3.0, -50.0]),
)
def test_the_share_is_that_of_an_analysis_of_variance(pairs, origin):
    values, groups = (np.array(side, float) for side in zip(*pairs, strict=True))
    values += origin
    found = between_groups(moments_of(values, groups))
    kinds = np.unique(groups)
    if len(kinds) < 2 or len(kinds) == len(values) or np.ptp(values) == 0:
        assert found is None
        return
    share, eta = by_hand(values, groups)
    assert found.eta_squared == pytest.approx(eta, abs=1e-9)
    assert found.share == pytest.approx(max(0.0, share), abs=1e-9)
    assert 0 <= found.interval.low <= found.interval.high <= 1
    sides = [values[groups == kind] for kind in kinds]
    if eta < 1 - 1e-9:
        between, within = len(kinds) - 1, len(values) - len(kinds)
        f = stats.f_oneway(*sides).statistic
        assert found.eta_squared == pytest.approx(f * between / (f * between + within), abs=1e-9)


def test_labels_that_say_nothing_have_no_share_however_many_they_are():
    """The mean over shuffles is the baseline; eta squared would be 0.5 of groups of two."""
    random = np.random.default_rng(0)
    values = random.gamma(2, 1, 2000)
    shuffled = [random.permutation(np.arange(2000) // 2) for _ in range(60)]
    found = [between_groups(moments_of(values, groups)) for groups in shuffled]
    assert np.mean([one.eta_squared for one in found]) == pytest.approx(0.5, abs=0.01)
    assert np.mean([one.share for one in found]) < 0.02
    assert sum(one.interval.low > 0 for one in found) <= 3


@pytest.mark.parametrize("noise", ["normal", "skewed"])
@pytest.mark.parametrize(("groups", "each", "effect"), [(6, 40, 0.6), (12, 100, 1.5), (400, 3, 1)])
def test_the_interval_holds_the_truth_as_often_as_it_says(noise, groups, each, effect):
    random = np.random.default_rng(3)
    level = random.normal(0, effect, groups)
    truth = level.var() / (level.var() + 1)
    inside, trials = 0, 250
    for _ in range(trials):
        at = random.integers(0, groups, groups * each)
        own = (
            random.normal(0, 1, len(at)) if noise == "normal" else random.gamma(4, 0.5, len(at)) - 2
        )
        found = between_groups(moments_of(level[at] + own, at))
        inside += found.interval.low <= truth <= found.interval.high
    assert inside / trials >= 0.92


def test_the_interval_is_as_wide_as_documents_drawn_anew_make_it():
    random = np.random.default_rng(4)
    groups = random.choice(4, 1500, p=[0.6, 0.2, 0.15, 0.05])
    values = np.array([2.0, 3.0, 2.5, 5.0])[groups] + random.gamma(3, 0.3, 1500)
    drawn = []
    for _ in range(800):
        at = random.integers(0, 1500, 1500)
        drawn.append(by_hand(values[at], groups[at])[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = between_groups(moments_of(values, groups)).interval
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))


def weighted_eta(values, groups, weights):
    """Eta squared of documents that count for their weights."""
    middle = np.average(values, weights=weights)
    between = sum(
        weights[own].sum() * (np.average(values[own], weights=weights[own]) - middle) ** 2
        for own in (groups == kind for kind in np.unique(groups))
    )
    return between / (weights @ (values - middle) ** 2)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_its_width_is_the_slope_by_each_document_and_what_chance_makes(effect):
    """Slopes by changing the weight of one document a little; chance by the beta distribution that
    eta squared has where groups do not differ."""
    random = np.random.default_rng(5)
    groups = random.choice(5, 120, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    values = random.gamma(2, 1, 120) + effect * groups
    n, k, ones, step = 120, 5, np.ones(120), 1e-4
    slopes = [
        (
            weighted_eta(values, groups, ones + step * one)
            - weighted_eta(values, groups, ones - step * one)
        )
        / (2 * step)
        for one in np.eye(n)
    ]
    found = between_groups(moments_of(values, groups))
    unclipped = by_hand(values, groups)[0]
    by_chance = stats.beta((k - 1) / 2, (n - k) / 2).var() * (1 - max(0, unclipped)) ** 2
    deviation = (n - 1) / (n - k) * np.sqrt(np.sum(np.square(slopes)) + by_chance)
    high = unclipped + stats.norm.ppf(0.975) * deviation
    assert found.interval.high == pytest.approx(high, rel=1e-6)


def test_groups_of_one_document_and_one_group_say_nothing():
    values = np.arange(10.0)
    assert between_groups(moments_of(values, np.arange(10))) is None
    assert between_groups(moments_of(values, np.zeros(10))) is None
    assert between_groups(moments_of(np.full(10, 7.1), np.arange(10) % 2)) is None
    assert between_groups(moments_of(np.empty(0), np.empty(0))) is None
    for value in np.random.default_rng(6).gamma(2, 3, 50):  # what rounding leaves is no difference
        assert between_groups(moments_of(np.full(1001, value), np.arange(1001) % 3)) is None


def test_all_of_it_between_groups_is_one():
    found = between_groups(moments_of(np.repeat([1.0, 2.0, 5.0], 20), np.repeat([0, 1, 2], 20)))
    assert found.share == pytest.approx(1)
    assert found.interval.low == pytest.approx(1)
