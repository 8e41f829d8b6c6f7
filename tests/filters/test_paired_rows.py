"""pipeline/filters/paired_rows.py: two runs side by side, against a join in plain Python."""

import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RunError
from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.filters.paired_rows import ScoreRows
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from tests.support.fakes import FakeEngine
from tests.support.runs import score_corpus

TEXTS = [None if i % 11 == 0 else f"{'ab' * (i % 7)} text {i * i}" for i in range(50)]


class OtherEngine(FakeEngine):
    """Surprised by other things, and by more of them."""

    def score(self, windows):
        for answer in super().score(windows):
            yield answer._replace(logprobs=answer.logprobs[::-1].cumsum() / 3 - 0.5)


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one corpus, cut into other shards."""
    folder = tmp_path_factory.mktemp("pairs")
    corpus = folder / "corpus"
    corpus.mkdir()
    for index in range(3):
        texts = pa.array(TEXTS[index * 20 : (index + 1) * 20], pa.string())
        table = pa.table({"text": texts, "other": texts})
        pq.write_table(table, corpus / f"{index}.parquet", row_group_size=4)
    score_corpus(corpus, folder / "one", tiny_model, shard_tokens=20)
    score_corpus(corpus, folder / "two", tiny_model, engine=OtherEngine(), shard_tokens=55)
    return folder


def rows_of(folder: Path, own_metric: str | None = None) -> ScoreRows:
    store = RunStore(str(folder))
    return ScoreRows(store, store.require_manifest(), [own_metric] if own_metric else [])


def expected(made: Path, metric: str) -> dict[tuple[str, int], float | None]:
    bits = []
    for name in ("one", "two"):
        store = RunStore(str(made / name))
        frame = scan_scores(store, store.require_manifest()).collect()
        bits.append({(f, r): b for f, r, b in frame.select("file", "row", "bits_per_byte").rows()})
    one, two = bits
    assert one.keys() == two.keys()
    return {
        key: None
        if one[key] is None
        else one[key] - two[key]
        if metric == "difference"
        else one[key] / two[key]
        for key in one
    }


@pytest.mark.parametrize("metric", ["difference", "ratio"])
def test_side_by_side_is_a_join(made, metric):
    one = rows_of(made / "one", metric)
    two = rows_of(made / "two")
    assert len(one.shards) != len(two.shards)
    one.pair(two)
    answers = expected(made, metric)
    whole = one.everything().select("file", "row", metric).collect()
    assert {(f, r): v for f, r, v in whole.rows()} == answers
    parts = pl.concat([one.of([i]).select("file", "row", metric).collect() for i in one.shards])
    assert parts.equals(whole)


@pytest.mark.parametrize(("option", "metric"), [("minus", "difference"), ("over", "ratio")])
def test_filter_by_two_runs(made, tmp_path, option, metric):
    out = tmp_path / "out"
    options = {option: str(made / "two"), "percentile": "0:40", "add_columns": True}
    config = load_filter_config(None, {"run": str(made / "one"), **options})
    record = FilterWriter(decide(config), str(out)).write()
    values = sorted(v for v in expected(made, metric).values() if v is not None)
    most = values[int(0.4 * (len(values) - 1))]
    got = [
        value
        for name in ("0", "1", "2")
        for value in pq.read_table(out / f"{name}.parquet")[metric].to_pylist()
    ]
    assert sorted(got) == [value for value in values if value <= most]
    assert record.metric == metric
    assert record.cutoffs[0].high == most


def test_runs_that_do_not_match_are_refused(made, tiny_model, tmp_path):
    def refused(message: str, name: str = "other") -> None:
        with pytest.raises(RunError, match=message):
            rows_of(made / "one", "ratio").pair(rows_of(tmp_path / name))

    corpus = tmp_path / "corpus"
    shutil.copytree(made / "corpus", corpus)
    score_corpus(corpus, tmp_path / "column", tiny_model, text_column="other")
    refused("the text columns are 'text' and 'other'", "column")
    score_corpus(corpus, tmp_path / "limit", tiny_model, limit=7)
    refused("the first covers 50 rows and the second 7", "limit")
    table = pq.read_table(corpus / "1.parquet")
    texts = ["changed", *table["text"].to_pylist()[1:]]
    pq.write_table(table.set_column(0, "text", [texts]), corpus / "1.parquet", row_group_size=4)
    score_corpus(corpus, tmp_path / "changed", tiny_model)
    refused("1 document with different texts in", "changed")
    pq.write_table(table.slice(1), corpus / "1.parquet")
    score_corpus(corpus, tmp_path / "short", tiny_model)
    refused("1.parquet has 20 rows and 19", "short")
    (corpus / "1.parquet").unlink()
    score_corpus(corpus, tmp_path / "fewer", tiny_model)
    refused("1.parquet is only in the first", "fewer")
    (tmp_path / "fewer" / "_SUCCESS").unlink()
    refused("fewer is not complete", "fewer")


def test_runs_of_one_model_by_different_rules_are_refused_as_compare_does(
    made, tiny_model, tmp_path
):
    score_corpus(made / "corpus", tmp_path / "short", tiny_model, window_tokens=16)
    with pytest.raises(RunError, match=r"short .*one model.* different settings.*window_tokens"):
        rows_of(made / "one", "difference").pair(rows_of(tmp_path / "short"))
