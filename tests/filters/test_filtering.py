"""pipeline/filters/filtering.py: a run that rules are asked of again and again."""

import doctest
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import filter_run
from pipeline.errors import ConfigError, RunError
from pipeline.filters import filtering, selection
from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import PreparedRun, decide
from pipeline.filters.rules.bounds import Bounds
from pipeline.filters.rules.percentile import Percentile
from pipeline.filters.selection import Selection
from tests.support.runs import score_corpus

TEXTS = [f"text {i} of many" * (1 + i % 4) for i in range(17)] + [None, ""]


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus data/ with its run, runs/first."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "data").mkdir()
    sources = [("web", "books", None)[i % 3] for i in range(len(TEXTS))]
    table = pa.table({"text": TEXTS, "source": sources, "number": [i % 2 for i in range(19)]})
    pq.write_table(table, folder / "data/0.parquet")
    score_corpus(folder / "data", folder / "runs/first", tiny_model, carry=("source", "number"))
    return folder


@pytest.fixture
def without_corpus(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "runs/first", tmp_path / "runs/first")
    return tmp_path / "runs/first"


SETTINGS = [
    {"max": ["perplexity=5"]},
    {"percentile": "20:70", "within": "source"},
    {"percentile": "20:70", "unscored": "keep"},
    {"min": ["num_tokens=1000"], "force": True},
    {"budget_tokens": "200", "min": ["perplexity=1"]},
]


@pytest.mark.parametrize("by", [None, "source", "number", "status"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_count_is_what_filter_says(made, settings, by):
    config = load_filter_config(
        None, {"run": str(made / "runs/first"), "corpus": str(made / "data"), **settings}
    )
    said = decide(config, by=by).record()
    run = PreparedRun(made / "runs/first")
    for _ in range(2):  # the second time what there is comes from memory
        mix = run.mix(run.find(Selection.of(config)), by=said.by)
        assert (mix.before, mix.after) == (said.before, said.after)
        assert mix.unscored == said.unscored
        assert mix.groups.height == max(1, len(said.groups))
        for row, group in zip(mix.groups.iter_rows(named=True), said.groups, strict=False):
            assert group.group == (None if row["by"] is None else str(row["by"]))
            for sizes, prefix in ((group.before, ""), (group.after, "kept_")):
                assert sizes.model_dump() == {
                    name: row[prefix + name] for name in ("documents", "tokens", "bytes")
                }


@pytest.mark.parametrize(
    "settings",
    [
        {"percentile": (20, 70)},
        {"buckets": ("head",)},
        {"budget_tokens": 50},
        {"budget_tokens": 50, "percentile": (20, 70)},
    ],
    ids=str,
)
def test_cutting_within_groups_shows_the_groups(made, settings):
    asked = {"run": made / "runs/first", "corpus": made / "data", "within": "source"} | settings
    record = filter_run(**asked)
    assert record.by == "source"
    assert record.groups == filter_run(**asked, by="source").groups
    assert [one.group for one in record.groups] == ["web", "books", None]
    assert [one.group for one in filter_run(**asked, by="number").groups] == ["0", "1"]


def test_very_many_groups_are_not_broken_down_unasked(made, monkeypatch):
    monkeypatch.setattr(selection, "MOST_GROUPS_SHOWN", 2)
    asked = {"run": made / "runs/first", "corpus": made / "data", "within": "source"}
    for settings in ({"percentile": (20, 70)}, {"budget_tokens": 50}):
        record = filter_run(**asked, **settings)
        assert (record.by, record.groups) == (None, [])
        assert len(filter_run(**asked, **settings, by="source").groups) == 3


def test_it_needs_no_corpus_and_writes_nothing(without_corpus):
    before = sorted(without_corpus.rglob("*"))
    run = PreparedRun(without_corpus)
    everything = run.mix(Selection((), "keep"))
    assert everything.before == everything.after
    rules = [Bounds("perplexity", low=2.0), Percentile("nll", 10, 90, "source")]
    mix = run.mix(run.find(Selection(tuple(rules))), by="source")
    assert 0 < mix.after.documents < mix.before.documents == len(TEXTS)
    assert sorted(without_corpus.rglob("*")) == before


def test_what_scores_lack_is_named(without_corpus):
    run = PreparedRun(without_corpus)
    for rule, message in (
        (Bounds("perplxity", 1.0), "no metric 'perplxity'"),
        (Percentile("nll", 1, 9, "sauce"), "no carried column 'sauce'"),
    ):
        with pytest.raises(ConfigError, match=message) as raised:
            run.find(Selection((rule,)))
        assert "did you mean" in str(raised.value.hint)
    with pytest.raises(ConfigError, match="no carried column 'text'"):
        run.mix(Selection(()), by="text")


def test_documents_that_a_run_lacks_are_neither_seen_nor_lost(without_corpus):
    (without_corpus / "_SUCCESS").unlink()
    (without_corpus / "scores/part-00000.parquet").unlink()
    with pytest.raises(RunError, match="is not finished"):
        PreparedRun(without_corpus)
    run = PreparedRun(without_corpus, partial=True)
    for unscored, kept in (("keep", len(TEXTS)), ("drop", 0)):
        mix = run.mix(Selection((Bounds("nll", 1.0),), unscored), by="source")
        assert (mix.before.documents, mix.after.documents) == (len(TEXTS), kept)
        assert mix.groups.is_empty()


def test_a_missing_group_stays_missing(made):
    mix = PreparedRun(made / "runs/first").mix(Selection((Bounds("nll", high=-1.0),)), by="number")
    assert mix.groups["by"].to_list() == [0, 1]
    assert mix.groups.select(pl.col("^kept_.*$").sum()).row(0) == (0, 0, 0)


def test_the_example_runs(made, monkeypatch):
    monkeypatch.chdir(made)
    said: list[str] = []
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder().find(PreparedRun, "PreparedRun", filtering):
        runner.run(example, out=said.append)
    assert runner.tries > 3
    assert runner.failures == 0, "".join(said)
