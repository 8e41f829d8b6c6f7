"""Precision and recall of drawn judgements, against the truth and against arithmetic by hand."""

import numpy as np
import pytest

from pipeline.explore.estimate import (
    FEWEST,
    Sample,
    estimate,
    propose,
    why_no_interval,
    why_none,
)

SIZE = 2000
"""Documents of a band."""
WORLDS = {
    "less and less good": ([0.98, 0.97, 0.97, 0.96, 0.95, 0.93, 0.9, 0.8, 0.6, 0.2], 8, 0.5),
    "bad at the end alone": ([1.0] * 9 + [0.1], 9, 0.1),
    "a score that says nothing": ([0.9] * 10, 5, 0.5),
    "good nearly everywhere": ([0.99] * 10, 9, 0.5),
    "good where it is cut": ([0.05] * 9 + [0.6], 9, 0.5),
    "bad at both ends": ([0.1] + [0.95] * 8 + [0.1], 9, 0.3),
}
"""Share of the good by band; the band the cut goes through, and the part of it that is kept."""
DRAWS = {
    "3 of each": [3] * 10,
    "10 of each": [10] * 10,
    "many near the cut": [3] * 8 + [40, 3],
}
CLOSE = 1e-12


def drawn(rng, good, keep, numbers) -> Sample:
    found = np.zeros((3, len(good), 2), np.int64)
    for band, number in enumerate(numbers):
        np.add.at(found[0, band], keep[band].astype(int), 1)
        chosen = rng.choice(len(good[band]), number, replace=False)
        np.add.at(found[1, band], keep[band][chosen].astype(int), 1)
        np.add.at(found[2, band], keep[band][chosen].astype(int), good[band][chosen].astype(int))
    return Sample(*found)


def covered(name: str, numbers: list[int], repeats: int = 300):
    """{figure: (share of intervals that hold the truth, mean error)}."""
    shares, band, part = WORLDS[name]
    rng = np.random.default_rng(11)
    good = [rng.random(SIZE) < share for share in shares]
    keep = [np.arange(SIZE) < SIZE * (i < band or part * (i == band)) for i in range(len(shares))]
    every, kept = np.concatenate(good), np.concatenate(keep)
    truth = {"precision": every[kept].mean(), "recall": kept[every].mean()}
    hits, errors = ({name: [] for name in truth} for _ in range(2))
    for _ in range(repeats):
        quality = estimate(drawn(rng, good, keep, numbers))
        for figure, value in truth.items():
            found = getattr(quality, figure)
            if found is not None:  # None of them was good
                hits[figure].append(found.low - CLOSE <= value <= found.high + CLOSE)
                errors[figure].append(found.value - value)
    return {name: (np.mean(hits[name]), np.mean(errors[name])) for name in truth}


def test_where_it_holds_the_truth_least_often():
    """Few draws from a band where the good are rare, and all of them removed: 88 in 100."""
    share, error = covered("less and less good", [10] * 8 + [60, 10], repeats=1000)["recall"]
    assert share >= 0.85
    assert abs(error) < 0.01


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("numbers", DRAWS.values(), ids=DRAWS)
def test_the_interval_holds_the_truth_as_often_as_it_says(name, numbers):
    for share, error in covered(name, numbers).values():
        assert share >= 0.91
        assert abs(error) < 0.03


def test_on_the_whole_it_holds_it_in_95_of_100():
    shares = [
        covered(name, [10] * 10)[figure][0] for name in WORLDS for figure in ("precision", "recall")
    ]
    assert np.mean(shares) >= 0.945


def test_the_weights_are_the_bands_shares():
    """By hand: 60 draws, 50 of them near the cut, where one in five documents is."""
    documents = [[0, 800], [100, 100]]
    sample = Sample(*map(np.array, (documents, [[0, 10], [25, 25]], [[0, 9], [5, 20]])))
    quality = estimate(sample)
    kept, removed = 800 * 9 / 10 + 100 * 20 / 25, 100 * 5 / 25
    assert quality.precision.value == pytest.approx(kept / 900)
    assert quality.recall.value == pytest.approx(kept / (kept + removed))
    # Unweighted it would be 29 of 35, and 29 of 34.
    assert abs(quality.precision.value - 29 / 35) > 0.05


def test_all_judged_is_the_truth_itself():
    documents = np.array([[20, 30], [10, 5]])
    good = np.array([[3, 30], [0, 4]])
    quality = estimate(Sample(documents, documents, good))
    for figure, value in ((quality.precision, 34 / 35), (quality.recall, 34 / 37)):
        assert (figure.value, figure.low, figure.high) == pytest.approx((value,) * 3)


def test_nothing_removed_loses_nothing():
    documents = np.array([[0, 1000]] * 10)
    quality = estimate(Sample(documents, np.array([[0, 4]] * 10), np.array([[0, 2]] * 10)))
    assert (quality.recall.value, quality.recall.low) == (1.0, 1.0)


def test_none_seen_among_the_removed_is_no_certainty():
    sample = Sample(*map(np.array, ([[0, 900], [100, 0]], [[0, 40], [10, 0]], [[0, 40], [0, 0]])))
    recall = estimate(sample).recall
    assert recall.value == 1.0
    assert 0.9 < recall.low < 0.99
    assert recall.high == pytest.approx(1.0)


@pytest.mark.parametrize("number", [FEWEST - 1, FEWEST])
def test_few_judged_have_no_interval(number):
    sample = Sample(*(np.array([[0, one], [0, one]]) for one in (500, 0, 0)))
    sample.judged[:, 1] = number // 2, number - number // 2
    sample.good[:, 1] = 5
    figure = estimate(sample).precision
    assert figure.value == pytest.approx((5 / (number // 2) + 5 / (number - number // 2)) / 2)
    assert (figure.low is None) == (number < FEWEST)
    assert (why_no_interval(sample) is None) == (number >= FEWEST)


def test_a_band_without_a_draw_is_not_guessed():
    sample = Sample(*(np.array([[0, one], [0, other]]) for one, other in ((9, 9), (9, 0), (9, 0))))
    assert why_none(sample) == "1 of 2 score bands have no judged document yet: draw from all"
    quality = estimate(sample)
    assert (quality.precision, quality.recall) == (None, None)


def line(rng, per_band: int):
    """Documents by value 0 to 9999, good below 8000; a sample for each cut `value <= cut`."""
    value = np.arange(10_000)
    chosen = np.concatenate(
        [rng.choice(1000, per_band, replace=False) + 1000 * i for i in range(10)]
    )

    def sample_at(cut: float) -> Sample:
        found = np.zeros((3, 10, 2), np.int64)
        for at, rows in ((0, value), (1, chosen), (2, chosen[chosen < 8000])):
            np.add.at(found[at], (rows // 1000, (rows <= cut).astype(int)), 1)
        return Sample(*found)

    return sample_at


@pytest.mark.parametrize(("aim", "share"), [("recall", 0.9), ("precision", 0.9)])
def test_the_proposed_cut_serves_its_aim(aim, share):
    sample_at = line(np.random.default_rng(3), 200)
    likely, sure = propose(range(9999, 0, -50), sample_at, aim, share)
    truth = 7200 if aim == "recall" else 8889
    assert likely is not None
    assert sure is not None
    assert abs(likely.cut - truth) < 250
    # The careful one errs on the other side.
    assert sure.cut > likely.cut if aim == "recall" else sure.cut <= likely.cut
    assert getattr(likely.quality, aim).value >= share
    assert getattr(sure.quality, aim).low >= share


def test_an_aim_that_no_cut_serves():
    sample_at = line(np.random.default_rng(3), 20)

    def all_bad(cut: float) -> Sample:
        found = sample_at(cut)
        return Sample(found.documents, found.judged, found.good * 0)

    assert propose(range(9999, 0, -50), all_bad, "precision", 0.5) == (None, None)
