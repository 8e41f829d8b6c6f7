"""Which document comes next, and which judgements count, over runs whose scores are known."""

import collections
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.explore.bands import NUM_BANDS, make_bands
from pipeline.explore.bins import fill_bins, group_of
from pipeline.explore.estimate import FEWEST
from pipeline.explore.judging import Judging
from pipeline.explore.rule import Asked, decide
from pipeline.explore.run import open_run
from pipeline.runs.judgements import Judgements, Key
from pipeline.storage.filesystem import open_root
from tests.support.made_runs import row, write_run

CUT = Asked("perplexity", None, "value", None, 60.0)
NUM = 400


def make_run(folder: Path, seed: int = 1, num: int = NUM) -> str:
    """Documents of two files with a perplexity from 10 to 100, in no order."""
    values = np.random.default_rng(seed).permutation(np.linspace(10, 100, num))
    rows = [row(10, 10 * math.log(value), 40, text_hash=1000 + i) for i, value in enumerate(values)]
    return write_run(folder, {"a": rows[: num // 2], "b": rows[num // 2 :]}).location


def judging(run: str, folder: Path) -> Judging:
    opened = open_run(run)

    def bins_of(metric: str):
        return fill_bins(opened, metric, group_of(opened, None))

    return Judging(opened, Judgements(open_root(str(folder))), bins_of)


@pytest.fixture
def own(tmp_path) -> Judging:
    return judging(make_run(tmp_path / "run"), tmp_path)


def value_of(own: Judging, key: Key) -> float:
    rows = own.run.rows().filter(file=key.file, row=key.row).collect()
    return rows["perplexity"][0]


def is_good(value: float) -> bool:
    """Above 70 all are bad; below, most are good."""
    return value < 70 and int(value * 1000) % 10 > 0


def judge_some(own: Judging, number: int, scope="all", asked: Asked = CUT) -> list[Key]:
    rule, found = decide(own.run, asked), []
    for _ in range(number):
        draw = own.next(rule, scope)
        assert draw is not None
        own.judge(draw.key, is_good(value_of(own, draw.key)), drawn_by=asked.metric)
        found.append(draw.key)
    return found


def test_bands_have_as_many_documents_each_and_every_one_is_in_one(own):
    bands = own.bands("perplexity")
    assert len(bands.documents) == NUM_BANDS
    assert sum(bands.documents) == NUM
    assert max(bands.documents) - min(bands.documents) <= 8
    counted = own.run.rows().select(band=bands.band()).collect()["band"].value_counts(sort=False)
    assert tuple(counted.sort("band")["count"]) == bands.documents


def test_documents_of_one_value_are_in_one_band(tmp_path):
    rows = [row(10, 5.0 if i < 90 else 10.0 + i, 40) for i in range(100)]
    run = open_run(write_run(tmp_path / "run", {"a": rows}).location)
    bands = make_bands(run, "perplexity", fill_bins(run, "perplexity", group_of(run, None)))
    assert bands.documents[0] == 90
    assert sum(bands.documents) == 100


def test_draws_over_all_take_turns_among_the_bands(own):
    keys = judge_some(own, 3 * NUM_BANDS)
    assert len(set(keys)) == len(keys)
    bands = own.bands("perplexity")
    rows = own.run.rows().select("file", "row", band=bands.band()).collect().rows()
    place = {(file, number): band for file, number, band in rows}
    counted = collections.Counter(place[key.file, key.row] for key in keys)
    assert set(counted.values()) == {3}


def test_draws_near_the_cut_are_of_the_band_it_goes_through(own):
    bands = own.bands("perplexity")
    values = [value_of(own, key) for key in judge_some(own, 12, "near")]
    at = max(i for i, start in enumerate(bands.starts) if start <= 60.0)
    assert all(bands.starts[at] <= value < bands.starts[at + 1] for value in values)
    assert min(values) < 60 < max(values)


def test_every_document_of_a_band_is_as_likely(tmp_path):
    """Over many runs the first draw is anywhere in its band."""
    firsts = []
    for number in range(60):
        folder = tmp_path / f"{number}"
        own = judging(make_run(folder / "run", seed=number, num=100), folder)
        bands = own.bands("perplexity")
        [key] = judge_some(own, 1, "near")
        rows = (
            own.run.rows()
            .filter(bands.band() == max(i for i, start in enumerate(bands.starts) if start <= 60.0))
            .collect()["perplexity"]
        )
        firsts.append((rows < value_of(own, key)).mean())
    assert 0.35 < np.mean(firsts) < 0.55
    assert np.std(firsts) > 0.2


def test_after_a_restart_the_next_is_the_same(own, tmp_path):
    judge_some(own, 7)
    rule = decide(own.run, CUT)
    expected = own.next(rule, "all")
    again = judging(own.run.store.location, tmp_path)
    assert again.next(rule, "all") == expected
    assert again.standing(rule) == own.standing(rule)


def test_the_figures_by_hand(own):
    judge_some(own, 30)
    judge_some(own, 15, "near")
    standing = own.standing(decide(own.run, CUT))
    assert (standing.num_drawn, standing.missing) == (45, None)
    # From the file and the scores alone, document by document.
    saved = pl.read_parquet(own.kept.location)
    scores = own.run.rows().collect()
    both = saved.join(scores, on=["file", "row", "text_hash"])
    starts = own.bands("perplexity").starts
    band = np.searchsorted(starts, scores["perplexity"].to_numpy(), side="right") - 1
    keep = scores["perplexity"].to_numpy() <= 60
    own_band = np.searchsorted(starts, both["perplexity"].to_numpy(), side="right") - 1
    assert own_band.tolist() == both["band"].to_list()
    good = {True: 0.0, False: 0.0}
    for i in range(len(starts)):
        for side in (True, False):
            judged = both.filter(
                pl.Series(own_band == i) & pl.Series((both["perplexity"].to_numpy() <= 60) == side)
            )
            if judged.height:
                good[side] += judged["is_good"].mean() * ((band == i) & (keep == side)).sum()
    assert standing.quality.precision.value == pytest.approx(good[True] / keep.sum())
    assert standing.quality.recall.value == pytest.approx(good[True] / sum(good.values()))
    every = np.array([is_good(value) for value in scores["perplexity"]])
    assert standing.quality.recall.low <= keep[every].mean() <= standing.quality.recall.high
    # Each says of how many it was the how-maniest.
    assert both["band_documents"].to_list() == [
        own.bands("perplexity").documents[i] for i in own_band
    ]
    for i in range(len(starts)):
        draws = both.filter(pl.Series(own_band == i))["draw"].to_list()
        assert sorted(draws) == list(range(1, len(draws) + 1))


def test_another_cut_needs_no_other_draws(own):
    judge_some(own, 40)
    for high in (30.0, 95.0):
        standing = own.standing(decide(own.run, Asked("perplexity", None, "value", 20.0, high)))
        assert standing.num_drawn == 40
    other = own.standing(decide(own.run, Asked("num_tokens", None, "value", None, 20.0)))
    assert (other.metric, other.num_drawn) == ("perplexity", 40)
    assert other.quality.recall.value == 1.0


def test_what_a_person_picked_does_not_count(own):
    judge_some(own, FEWEST)
    rule = decide(own.run, CUT)
    before = own.standing(rule)
    drawn = {key for key, _ in own.kept.items()}
    rows = own.run.rows().select("file", "row", "text_hash").collect().iter_rows()
    picked = [key for one in rows if (key := Key(*one)) not in drawn][:50]
    for key in picked:
        own.judge(key, False, drawn_by=None)
    after = own.standing(rule)
    assert after.quality == before.quality
    assert (after.num_drawn, after.num_others) == (FEWEST, 50)


def test_the_page_is_not_believed_that_a_document_was_drawn(own):
    rule = decide(own.run, CUT)
    due = own.next(rule, "all").key
    rows = own.run.rows().select("file", "row", "text_hash").collect().iter_rows()
    for key in [Key(*one) for one in rows if Key(*one) != due][:20]:
        own.judge(key, True, drawn_by="perplexity")
    bands = own.bands("perplexity")
    firsts = [key for key, one in own.kept.items() if one.bands == bands.identity]
    assert len(firsts) < NUM_BANDS  # of 20, but those that were first of a band


def test_a_picked_one_is_drawn_all_the_same(own):
    rule = decide(own.run, CUT)
    due = own.next(rule, "all")
    own.judge(due.key, False, drawn_by=None)
    again = own.next(rule, "all")
    assert (again.key, again.before.is_good) == (due.key, False)
    own.judge(due.key, True, drawn_by="perplexity")
    assert own.standing(rule).num_drawn == 1
    own.judge(due.key, False, drawn_by=None)  # said otherwise: it stays drawn
    assert own.standing(rule).num_drawn == 1


def test_undo_brings_back_what_was(own):
    rule = decide(own.run, CUT)
    [key] = judge_some(own, 1)
    own.judge(key, None, drawn_by=None)
    assert own.standing(rule).num_unsure == 1
    assert own.undo() == key
    assert own.kept.get(key).is_good is is_good(value_of(own, key))
    assert own.undo() == key
    assert own.kept.get(key) is None
    assert own.next(rule, "all").key == key
    assert own.undo() is None


def test_of_a_run_that_was_scored_again_the_draws_do_not_count(own, tmp_path):
    judge_some(own, 40)
    again = judging(make_run(tmp_path / "again", seed=2), tmp_path)
    standing = again.standing(decide(again.run, CUT))
    assert (standing.num_drawn, standing.num_others, standing.num_elsewhere) == (0, 40, 0)
    assert standing.quality.recall is None


def test_a_text_that_was_changed_is_not_judged(own, tmp_path):
    keys = judge_some(own, 40)
    rows = own.run.rows().sort("file", "row").collect()
    made = {
        file: [
            row(10, one["nll"], 40, text_hash=one["text_hash"] + (file == "a"))
            for one in rows.filter(file=file).iter_rows(named=True)
        ]
        for file in "ab"
    }
    other = judging(write_run(tmp_path / "changed", made).location, tmp_path)
    of_a = sum(key.file == "a" for key in keys)
    standing = other.standing(decide(other.run, CUT))
    assert 0 < of_a < 40
    assert (standing.num_others, standing.num_elsewhere) == (40 - of_a, of_a)


def test_the_cut_for_an_aim_does_what_it_says(own):
    judge_some(own, 200)
    rule = decide(own.run, CUT)
    for aim, share in (("recall", 0.95), ("precision", 0.88)):
        likely, sure = own.propose(rule, "high", aim, share)
        assert likely.cut is not None
        counted = own.standing(
            decide(own.run, Asked("perplexity", None, "value", None, likely.cut))
        )
        assert counted.quality == likely.quality
        assert getattr(likely.quality, aim).value >= share
        assert sure is None or sure.cut is None or getattr(sure.quality, aim).low >= share
    likely, _ = own.propose(rule, "high", "recall", 0.9)
    assert 55 < likely.cut < 72
    with pytest.raises(ConfigError, match="choose that metric"):
        own.propose(
            decide(own.run, Asked("num_tokens", None, "value", None, 9.0)), "high", "recall", 0.9
        )


def test_all_are_judged_in_the_end(tmp_path):
    own = judging(make_run(tmp_path / "run", num=40), tmp_path)
    judge_some(own, 40)
    rule = decide(own.run, CUT)
    assert own.next(rule, "all") is None
    recall = own.standing(rule).quality.recall
    values = own.run.rows().collect()["perplexity"].to_numpy()
    good = np.array([is_good(value) for value in values])
    assert (recall.low, recall.high) == pytest.approx(((values <= 60)[good].mean(),) * 2)
