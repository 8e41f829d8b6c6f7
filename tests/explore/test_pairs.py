"""Two runs: which are paired, what a rule over both keeps, and the density against NumPy."""

import json
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.explore.export import as_command, as_toml
from pipeline.errors import ConfigError, RunError
from pipeline.explore.bins import fill_bins, group_of
from pipeline.explore.counting import count
from pipeline.explore.judging import Judging
from pipeline.explore.pairs import MOST_CELLS, find_density, open_two
from pipeline.explore.rule import Asked, decide, exported
from pipeline.runs.judgements import Judgements
from tests.support.made_runs import row, unscored, write_run

RULES = {
    "a difference": Asked("difference", "source", "value", -0.1, 0.35),
    "a ratio": Asked("ratio", "source", "value", None, 1.1),
    "percentiles of a ratio": Asked("ratio", "source", "within", 5.0, 60.0),
    "a condition on a difference": Asked(
        "perplexity", "source", "value", 4.8, None, "difference < 0"
    ),
    "a condition alone": Asked(
        "perplexity", None, "value", None, None, "ratio > 1 and num_tokens > 9"
    ),
    "each its own": Asked(
        "difference",
        "source",
        "each",
        None,
        None,
        None,
        (("web", (-0.1, 0.2)), ("books", (None, 0.1)), ("code", (None, None)), ("(null)", (0, 1))),
    ),
    "neither": Asked("perplexity", "source", "value", 4.8, None),
}


@pytest.mark.parametrize("form", ["command", "toml"])
@pytest.mark.parametrize("asked", RULES.values(), ids=RULES)
def test_what_is_taken_away_keeps_what_was_counted(
    scored, other, winnow, tmp_path, monkeypatch, asked, form
):
    two = open_two(scored.location, other.location)
    bins = fill_bins(two.run, asked.metric, group_of(two.run, asked.by))
    decision = decide(two.run, asked, bins)
    kept = count(two.run, decision, bins)
    settings = exported(two.run, asked)
    if asked.file is not None:
        monkeypatch.chdir(tmp_path)
        Path(asked.file).write_text(decision.table.model_dump_json(exclude_defaults=True))
    arguments = shlex.split(as_command(settings) or "")[1:]
    place = arguments.index("--out")
    del arguments[place : place + 2]  # a placeholder, for the reader to change
    if form == "toml":
        file = tmp_path / "cut.toml"
        file.write_text(as_toml(settings))
        arguments = ["filter", "--config", str(file)]
    code, out, err = winnow(*arguments, "--json", "--out", tmp_path / "kept")
    assert code == 0, err
    record = json.loads(out)
    assert record["after"] == kept.after.model_dump()
    assert 0 < kept.after.documents < kept.before.documents
    assert pl.read_parquet(tmp_path / "kept/*.parquet").height == kept.after.documents


def test_a_filter_takes_one_of_the_two(scored, other):
    two = open_two(scored.location, other.location)
    with pytest.raises(ConfigError, match="contradict each other"):
        decide(two.run, Asked("difference", None, "value", 0.0, None, "ratio > 1"))


@pytest.mark.parametrize("metric", ["difference", "ratio", "perplexity", "min_k_logprob"])
@pytest.mark.parametrize("where", [None, 'source == "web"'])
def test_the_density_has_every_document_once(scored, other, metric, where):
    two = open_two(scored.location, other.location)
    found = find_density(two, metric, where)
    own = metric if metric in ("perplexity", "min_k_logprob") else "bits_per_byte"
    pair = [
        run.rows().select("file", "row", "source", own).collect() for run in (two.run, two.other)
    ]
    joined = pair[0].join(pair[1], on=["file", "row"]).drop_nulls([own, f"{own}_right"])
    if where:
        joined = joined.filter(source="web")
    values = joined.select(own, f"{own}_right").to_numpy()
    if found.scale.kind == "log":
        values = np.log(values)
    assert found.scale.kind == ("linear" if metric in ("difference", "min_k_logprob") else "log")
    side = len(found.counts)
    assert side <= MOST_CELLS
    places = np.floor((values - found.scale.start) / found.scale.width + 1e-9)
    expected = np.zeros((side, side), int)
    np.add.at(expected, tuple(places.clip(0, side - 1).astype(int).T), 1)
    assert found.counts.sum() == len(values)
    assert np.array_equal(found.counts, expected)


def test_a_few_far_away_do_not_squeeze_the_others(tmp_path):
    rows = [row(10, 10 + i % 40 / 10, 40) for i in range(4000)] + [row(1, 500.0, 1), unscored()]
    for name in ("a", "b"):
        write_run(tmp_path / name, {"f": rows}, weights=name * 64)
    two = open_two(str(tmp_path / "a"), str(tmp_path / "b"))
    found = find_density(two, "difference")
    assert found.scale.width * len(found.counts) < 0.5
    assert found.counts.sum() == 4001
    assert found.counts[-1, -1] >= 1


def test_bins_of_what_both_make_are_kept_for_both_alone(tmp_path):
    rows = [row(10, 10.0 + i, 40) for i in range(9)]
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, {"f": rows}, weights=name * 64, dtype="float32")
    first, second = (open_two(str(tmp_path / "a"), str(tmp_path / name)).run for name in "bc")
    assert first.identity_of("perplexity") == second.identity_of("perplexity") == first.identity
    write_run(tmp_path / "d", {"f": [row(10, 9.0 + i, 40) for i in range(9)]}, weights="d" * 64)
    third = open_two(str(tmp_path / "a"), str(tmp_path / "d")).run
    assert first.identity_of("difference") != third.identity_of("difference")
    assert not third.has_changed()
    write_run(tmp_path / "d", {"f": rows}, weights="e" * 64)
    assert third.has_changed()


def test_bins_of_a_difference_are_fine_where_documents_are(tmp_path):
    near = [row(10, 10.0 + i / 1000, 40) for i in range(2000)]
    write_run(tmp_path / "a", {"f": [*near, row(10, 700.0, 1)]})
    write_run(
        tmp_path / "b", {"f": [row(10, 11.0, 40)] * 2000 + [row(10, 1.0, 1)]}, weights="b" * 64
    )
    run = open_two(str(tmp_path / "a"), str(tmp_path / "b")).run
    bins = fill_bins(run, "difference", group_of(run, None))
    assert bins.cells["documents"].sum() == 2001
    assert bins.scale.kind == "linear"
    assert bins.cells["high"].max() == pytest.approx(699 / np.log(2))
    assert bins.cells.height > 30


def test_another_corpus_is_an_outline(tmp_path):
    write_run(tmp_path / "a", {"f": [row(10, 10.0, 40)] * 3})
    write_run(tmp_path / "b", {"f": [row(10, 10.0, 40)] * 4})
    two = open_two(str(tmp_path / "a"), str(tmp_path / "b"))
    assert not two.is_paired
    assert two.metric == "perplexity"
    assert two.said.startswith("The outline is b")
    assert "f has 3 rows and 4" in two.said
    assert "difference" not in two.run.metrics
    assert two.why_not("perplexity") is None


def test_changed_texts_are_an_outline(tmp_path):
    write_run(tmp_path / "a", {"f": [row(10, 10.0, 40, text_hash=i) for i in range(3)]})
    write_run(tmp_path / "b", {"f": [row(10, 10.0, 40, text_hash=i // 2) for i in range(3)]})
    assert "with different texts" in open_two(str(tmp_path / "a"), str(tmp_path / "b")).said


def test_figures_per_token_of_two_tokenizers_are_not_drawn_together(tmp_path):
    rows = [row(10, 10.0 + i, 40) for i in range(3)]
    write_run(tmp_path / "a", {"f": rows})
    write_run(tmp_path / "b", {"f": rows}, tokenizer="u" * 64, model_config="d" * 64)
    two = open_two(str(tmp_path / "a"), str(tmp_path / "b"))
    assert two.is_paired
    assert "different tokenizers" in two.said
    assert "per token" in str(two.why_not("perplexity"))
    assert two.why_not("bits_per_byte") is None
    decision = decide(two.run, Asked("difference", None, "value", None, 0.1))
    kept = two.run.prepared.mix(decision.selection)
    assert kept.after.documents == 3


def test_an_unfinished_run_is_an_outline_if_asked_for(tmp_path):
    rows = [row(10, 10.0 + i, 40) for i in range(3)]
    write_run(tmp_path / "a", {"f": rows})
    write_run(tmp_path / "b", {"f": rows}, finished=False)
    pair = (str(tmp_path / "a"), str(tmp_path / "b"))
    for two in (pair, pair[::-1]):
        with pytest.raises(RunError, match="b is not finished"):
            open_two(*two)
        found = open_two(*two, partial=True)
        assert not found.is_paired
        assert "b is not " in found.said


def test_the_same_run_twice(scored):
    two = open_two(scored.location, scored.location)
    assert "Both are the same run" in two.said
    found = find_density(two, "ratio")
    assert found.counts.sum() == np.trace(found.counts) == 241
    bins = fill_bins(two.run, "difference", group_of(two.run, None))
    assert bins.cells.filter(pl.col("high") == 0)["documents"].sum() == 241


def test_one_model_by_two_rules_is_refused(tmp_path):
    write_run(tmp_path / "a", {"f": [row(10, 10.0, 40)]})
    write_run(tmp_path / "b", {"f": [row(10, 10.0, 40)]}, window_tokens=32)
    with pytest.raises(RunError, match="different settings"):
        open_two(str(tmp_path / "a"), str(tmp_path / "b"))


def test_nothing_scored_is_no_error(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, {"f": [unscored()] * 2}, weights=name * 64)
    found = find_density(open_two(str(tmp_path / "a"), str(tmp_path / "b")), "difference")
    assert found.counts.sum() == 0


def test_a_difference_is_judged(scored, other, tmp_path):
    run = open_two(scored.location, other.location).run
    kept = Judgements.at(str(tmp_path / "said.parquet"))
    judging = Judging(run, kept, lambda metric: fill_bins(run, metric, group_of(run, None)))
    decision = decide(run, Asked("difference", None, "value", None, 0.2))
    for _ in range(40):
        draw = judging.next(decision, "all")
        assert draw is not None
        judging.judge(draw.key, draw.key.row % 3 > 0, drawn_by="difference")
    standing = judging.standing(decision)
    assert (standing.metric, standing.num_drawn) == ("difference", 40)
    assert standing.quality.precision is not None
