"""Areas and cuts of judged draws against every pair and every cut, and against all documents."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.reports.judged import Side, area_between, separate_judged
from pipeline.reports.report import build_report
from pipeline.runs.judgements import NAME, SCHEMA, Judgement, Judgements, Key
from pipeline.runs.scores import read_scores
from pipeline.runs.store import RunStore
from tests.support.made_runs import hash_of, row, write_run

NUM_BANDS = 5


def made(folder: Path, perplexities: np.ndarray) -> RunStore:
    rows = [row(10, 10 * float(np.log(one)), 40) for one in perplexities]
    return write_run(folder, {"a": rows})


def judged(
    store: RunStore, values: np.ndarray, is_bad: np.ndarray, per_band: list[int], rng
) -> dict[int, float]:
    """Draw so many of each fifth and judge them. The row of each, with its weight."""
    rows, weights = [], {}
    place = np.argsort(np.argsort(values)) * NUM_BANDS // len(values)
    for band, number in enumerate(per_band):
        own = np.flatnonzero(place == band)
        for draw, at in enumerate(rng.permutation(own)[:number], start=1):
            key = Key("a", int(at), hash_of("a", int(at)))
            said = Judgement(not is_bad[at], "these", "perplexity", band, len(own), draw)
            rows.append((*key, *said))
            weights[int(at)] = len(own) / number
    pl.DataFrame(rows, SCHEMA, orient="row").write_parquet(Path(store.location, NAME))
    return weights


def of_pairs(values, is_bad, weights: dict[int, float]) -> float:
    """The area, pair by pair."""
    wins = total = 0.0
    for bad in (at for at in weights if is_bad[at]):
        for good in (at for at in weights if not is_bad[at]):
            pair = weights[bad] * weights[good]
            wins += pair * ((values[bad] > values[good]) + (values[bad] == values[good]) / 2)
            total += pair
    return wins / total


def youden_of(values, is_bad, weights: dict[int, float]) -> float:
    """The largest difference of what a bound on either side removes."""

    def removed(side: bool, cut) -> float:
        own = [at for at in weights if is_bad[at] == side]
        return sum(weights[at] for at in own if cut(values[at])) / sum(weights[at] for at in own)

    cuts = [lambda value, end=end: value > end for end in values]
    cuts += [lambda value, end=end: value < end for end in values]
    return max(removed(True, cut) - removed(False, cut) for cut in cuts)


@pytest.mark.parametrize("seed", range(4))
def test_areas_and_cut_are_those_of_weighted_pairs(tmp_path, seed):
    rng = np.random.default_rng(seed)
    values = np.round(rng.lognormal(3, 1, 100), 0) + 1  # with ties
    is_bad = rng.random(100) < 1 / (1 + np.exp(-(np.log(values) - 3) * (1, -1)[seed % 2]))
    store = made(tmp_path / "run", values)
    weights = judged(store, values, is_bad, [3, 9, 12, 5, 4], rng)
    found = separate_judged(read_scores(store.location), store, None)
    area = of_pairs(values, is_bad, weights)
    assert found.together.auc["perplexity"] == pytest.approx(area)
    assert found.together.num_scored == sum(bool(is_bad[at]) for at in weights)
    assert found.judged.num_bad + found.judged.num_good == 33
    assert (found.judged.num_bands, found.judged.num_documents) == (NUM_BANDS, 100)
    cut = found.cut
    kept = lambda value: (cut.low or -1) <= value <= (cut.high or np.inf)  # noqa: E731
    told = {one.value: one for one in cut.removed}
    for name, side in (("bad", True), ("good", False)):
        own = [at for at in weights if is_bad[at] == side]
        gone = sum(weights[at] for at in own if not kept(values[at]))
        assert told[name].num_scored == round(sum(weights[at] for at in own))
        assert told[name].documents_removed == round(gone)
        assert told[name].tokens_removed == round(10 * gone)
    if cut.low is None or cut.high is None:
        assert cut.youden_j == pytest.approx(youden_of(values, is_bad, weights))


def test_of_a_lopsided_sample_the_area_is_that_of_all_documents(tmp_path):
    """Many draws near the top, few elsewhere: without weights the area is another."""
    rng = np.random.default_rng(1)
    values = rng.lognormal(3, 1, 400)
    is_bad = rng.random(400) < 1 / (1 + np.exp(-2 * (np.log(values) - 3.5)))
    all_equal = dict.fromkeys(range(400), 1.0)
    store = made(tmp_path / "run", values)
    plain, weighted = [], []
    for seed in range(60):
        weights = judged(store, values, is_bad, [8, 8, 8, 8, 60], np.random.default_rng(seed))
        plain.append(of_pairs(values, is_bad, dict.fromkeys(weights, 1.0)))
        weighted.append(of_pairs(values, is_bad, weights))
        if seed < 5:
            found = separate_judged(read_scores(store.location), store, None)
            assert found.together.auc["perplexity"] == pytest.approx(weighted[-1])
    truth = of_pairs(values, is_bad, all_equal)
    assert abs(np.mean(weighted) - truth) < 0.02
    assert abs(np.mean(plain) - truth) > 0.03


def test_where_nothing_separates_few_claims_are_made():
    """Of labels by chance, about one area in twenty is further from 0.5 than is said."""
    from pipeline.reports.areas import chance_of

    rng, claims = np.random.default_rng(2), 0
    for _ in range(1000):
        values, weights = rng.random(120), np.repeat([1.0, 2.0, 6.0], 40)
        is_bad = rng.random(120) < 0.4
        sides = []
        for own in (is_bad, ~is_bad):
            order = np.argsort(values[own])
            sides.append(Side(values[own][order], weights[own][order], weights[own][order]))
        area = area_between(*sides)
        claims += abs(area - 0.5) > chance_of(*(side.effective for side in sides))
    assert 30 <= claims <= 70


def test_equal_weights_are_no_weights():
    side = Side(np.arange(9.0), np.full(9, 7.0), np.ones(9))
    assert side.effective == pytest.approx(9)


def test_what_does_not_count_is_told(tmp_path):
    values = np.linspace(2, 50, 50)
    store, rng = made(tmp_path / "run", values), np.random.default_rng(0)
    weights = judged(store, values, values > 30, [2, 2, 2, 2, 2], rng)
    kept = Judgements(store.root)
    others = [at for at in range(50) if at not in weights]
    drawn = Judgement(None, "these", "perplexity", 0, 10, 3)
    kept.put(Key("a", others[0], hash_of("a", others[0])), drawn)
    kept.put(Key("a", others[1], hash_of("a", others[1])), Judgement(False))
    kept.put(
        Key("a", others[2], hash_of("a", others[2])), drawn._replace(bands="old", is_good=True)
    )
    kept.put(Key("a", others[3], 12345), drawn._replace(is_good=False))
    kept.put(Key("gone", 0, 1), Judgement(True))
    report = build_report(store, separate="judgement", text=False)
    told = report.separation.judged
    assert (told.num_bad + told.num_good, told.num_unsure) == (10, 1)
    assert (told.num_others, told.num_elsewhere) == (3, 2)
    assert report.separation.together.auc["perplexity"] == 1
    assert report.separation.cut.labelled_removed == 1


def test_without_judgements_it_says_what_to_do(tmp_path, winnow):
    store = made(tmp_path / "run", np.linspace(2, 9, 20))
    for own in ({}, {"judgements": str(tmp_path / "nowhere/mine.parquet")}):
        file = own.get("judgements", f"{store.location}/{NAME}")
        with pytest.raises(ConfigError, match=f"^there is no file {file}\n") as raised:
            build_report(store, separate="judgement", text=False, **own)
        assert "winnow explore" in raised.value.hint
    pl.DataFrame(schema=SCHEMA).write_parquet(Path(store.location, NAME))
    with pytest.raises(ConfigError, match="was drawn at random and judged good") as raised:
        build_report(store, separate="judgement", text=False)
    assert "winnow explore" in raised.value.hint
    code, _, err = winnow("report", store.location, "--judgements", "mine.parquet", "--no-text")
    assert code == 2
    assert "--judgements is given, but --separate is not 'judgement'" in err


def test_judgements_of_one_run_tell_of_another(tmp_path, winnow):
    """Bands are those that were drawn from; the scores may be other ones."""
    values, rng = np.linspace(2, 50, 60), np.random.default_rng(3)
    first, other = made(tmp_path / "first", values), made(tmp_path / "other", values[::-1])
    weights = judged(first, values, values > 30, [4, 1, 4, 3, 4], rng)
    file = tmp_path / "first/judgements.parquet"
    report = build_report(other, separate="judgement", judgements=str(file), text=False)
    expected = of_pairs(values[::-1], values > 30, weights)
    assert report.separation.together.auc["perplexity"] == pytest.approx(expected)
    options = ("--separate", "judgement", "--judgements", file)
    code, out, err = winnow("report", other.location, *options, "--no-text", "--md")
    assert code == 0, err
    assert "judged good. 1 or 0 is a perfect" in out
    assert "each for its share of one of 5 bands of perplexity, together 60 documents." in out
    assert "Numbers are estimates." in out
