"""The documents at a cut, against a search of all of them."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import ConfigError
from pipeline.explore.bins import group_of
from pipeline.explore.examples import MOST, find_examples, read_document
from pipeline.explore.rule import Asked, decide
from pipeline.explore.run import open_run
from tests.support.runs import score_corpus

BAND = Asked("perplexity", "source", "value", 4.8, 5.3)


def found(scored, asked, place, **options):
    run = open_run(scored.location)
    return find_examples(
        run, decide(run, asked), place, groups=group_of(run, asked.by).groups, **options
    )


def values(examples) -> list[float]:
    return [one["value"] for one in examples]


def all_values(scored, **equal) -> pl.Series:
    rows = open_run(scored.location).rows().filter(pl.col("perplexity").is_not_null(), **equal)
    return rows.collect()["perplexity"].sort()


@pytest.mark.parametrize("group", [None, "books"])
def test_the_nearest_on_either_side_of_each_edge(scored, group):
    names = group_of(open_run(scored.location), "source").groups
    options = {} if group is None else {"group": names.index(group)}
    every = all_values(scored, **({} if group is None else {"source": group}))
    low, high = (found(scored, BAND, place, **options) for place in ("low", "high"))
    inside = every.filter((every >= 4.8) & (every <= 5.3))
    assert values(low.kept) == inside.head(MOST).to_list()
    assert values(low.removed) == every.filter(every < 4.8).reverse().head(MOST).to_list()
    assert values(high.kept) == inside.reverse().head(MOST).to_list()
    assert values(high.removed) == every.filter(every > 5.3).head(MOST).to_list()


@pytest.mark.parametrize("unit", ["percentile", "within"])
def test_the_edges_of_percentiles(scored, unit):
    asked = Asked("perplexity", "source", unit, 20.0, 80.0)
    run = open_run(scored.location)
    rows = run.rows().with_columns(decide(run, asked).kept(run.rows()).collect()["keep"])
    rows = rows.filter(pl.col("perplexity").is_not_null()).collect()
    over = "source" if unit == "within" else pl.lit(0)
    least = pl.col("perplexity").filter("keep").min().over(over)
    away = rows.with_columns(away=pl.col("perplexity") - least)
    low = found(scored, asked, "low")
    nearest = away.filter("keep").sort("away").head(MOST)
    assert sorted(values(low.kept)) == pytest.approx(nearest["perplexity"].sort().to_list())
    beyond = away.filter(~pl.col("keep"), pl.col("away") < 0).sort("away", descending=True)
    assert sorted(values(low.removed)) == beyond.head(MOST)["perplexity"].sort().to_list()


EACH = (("web", (4.9, None)), ("books", (None, 5.0)), ("code", (4.8, 5.2)), ("(null)", (9.0, None)))


@pytest.mark.parametrize("place", ["low", "high"])
def test_the_edges_of_each_group(scored, place):
    """Nearest to its own group's edge; a group that is open there has none."""
    at, sign = (0, 1) if place == "low" else (1, -1)
    rows = open_run(scored.location).rows().filter(pl.col("perplexity").is_not_null()).collect()
    inside, beyond = [], []
    for value, source in rows.select("perplexity", "source").iter_rows():
        band = dict(EACH)[source or "(null)"]
        if band[at] is not None:
            low, high = (one if one is not None else value for one in band)
            (inside if low <= value <= high else beyond).append(sign * (value - band[at]))
    told = found(scored, Asked("perplexity", "source", "each", None, None, None, EACH), place)
    for shown, expected in (
        (told.kept, sorted(inside)),
        (told.removed, sorted((one for one in beyond if one < 0), reverse=True)),
    ):
        away = [sign * (one["value"] - dict(EACH)[one["group"]][at]) for one in shown]
        assert away == pytest.approx(expected[:MOST])


def test_of_a_group_that_is_open_there_is_its_end(scored):
    asked = Asked("perplexity", "source", "each", None, None, None, EACH)
    names = group_of(open_run(scored.location), "source").groups
    told = found(scored, asked, "low", group=names.index("books"))
    every = all_values(scored, source="books")
    assert values(told.kept) == every.filter(every <= 5.0).head(MOST).to_list()
    assert told.removed == []


def test_a_condition_narrows_both_sides(scored):
    asked = Asked("perplexity", "source", "value", 4.8, 5.3, 'source == "code" and num_tokens > 20')
    for place in ("low", "high", "random"):
        told = found(scored, asked, place)
        for one in (*told.kept, *told.removed):
            assert one["group"] == "code"
            assert one["num_tokens"] > 20
    rows = open_run(scored.location).rows().filter(pl.col("num_tokens") > 20, source="code")
    every = rows.collect()["perplexity"].sort()
    assert values(found(scored, asked, "low").kept) == (
        every.filter((every >= 4.8) & (every <= 5.3)).head(MOST).to_list()
    )


def test_without_a_cut_there_are_the_ends(scored):
    every = all_values(scored)
    low = found(scored, Asked("perplexity", None, "value", None, None), "low")
    assert (values(low.kept), low.removed) == (every.head(MOST).to_list(), [])


def test_chance_is_seeded_and_on_both_sides(scored):
    first, again, other = (found(scored, BAND, "random", seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.kept != other.kept
    assert all(4.8 <= one <= 5.3 for one in values(first.kept))
    assert all(not 4.8 <= one <= 5.3 for one in values(first.removed))
    assert len(first.kept) == len(first.removed) == MOST


def test_a_document_is_shown_as_it_was_scored(scored):
    [one, *_] = found(scored, BAND, "low").kept
    table = pl.read_parquet(Path(scored.location, "../corpus", one["file"]))
    text, source = table.select("text", "source").row(one["row"])
    assert text.startswith(one["excerpt"])
    assert one["group"] == source
    whole = read_document(open_run(scored.location), one["file"], one["row"])
    assert whole.text == text
    assert whole.scores["perplexity"] == one["value"]
    assert whole.scores["source"] == source


def test_columns_of_the_corpus_are_shown_as_they_are(tiny_model, tmp_path):
    """A year is no number that a comma belongs in."""
    (tmp_path / "corpus").mkdir()
    columns = {"text": ["one", "two"], "year": [2020, None], "fine": [True, False]}
    pl.DataFrame(columns).write_parquet(tmp_path / "corpus/0.parquet")
    score_corpus(tmp_path / "corpus", tmp_path / "run", tiny_model, carry=("year", "fine", "text"))
    shown = read_document(open_run(str(tmp_path / "run")), "0.parquet", 0).scores
    assert (shown["year"], shown["fine"]) == ("2020", True)
    assert "text" not in shown


def test_a_text_that_was_changed_is_not_shown(scored, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(Path(scored.location, "../corpus"), corpus)
    for file in corpus.iterdir():
        table = pl.read_parquet(file)
        table.with_columns(text=pl.col("text") + "!").write_parquet(file)
    run = open_run(scored.location, corpus=str(corpus))
    told = find_examples(run, decide(run, BAND), "low")
    for one in (*told.kept, *told.removed):
        assert one["excerpt"] is None
        assert one["missing"] == "the text is not the one that was scored"


def test_a_document_without_a_text_and_one_that_is_not_there(scored):
    run = open_run(scored.location)
    row = run.rows().filter(status="null").collect().row(0, named=True)
    whole = read_document(run, row["file"], row["row"])
    assert (whole.text, whole.missing) == (None, "the row has no text")
    with pytest.raises(ConfigError, match="no document 999 of"):
        read_document(run, row["file"], 999)
