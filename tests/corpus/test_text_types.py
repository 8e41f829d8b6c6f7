"""A text column that is bytes or nothing but nulls: every row has its score row, all the way."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.filters.config import load_filter_config
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.planning.plan import open_run
from pipeline.reports.report import build_report
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig
from tests.support.edits import touch
from tests.support.runs import score_corpus

TEXTS = ["one", "größer 日本", "", None, "five five"]
METRICS = ["status", "nll", "num_bytes", "num_chars", "text_hash"]


def score(folder: Path, model: Path, column: pa.Array) -> RunStore:
    (folder / "corpus").mkdir(parents=True)
    pq.write_table(pa.table({"text": column}), folder / "corpus/a.parquet")
    return score_corpus(folder / "corpus", folder / "run", model)


def metrics(store: RunStore) -> list[tuple]:
    return scan_scores(store, store.require_manifest()).select(METRICS).collect().rows()


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int8(), pa.binary())],
    ids=str,
)
def test_bytes_that_are_text_score_as_the_text(tiny_model, tmp_path, kind):
    raw = [None if text is None else text.encode() for text in TEXTS] + [b"\xff\xfe"]
    column = pa.array(raw, pa.binary()).cast(kind)
    store = score(tmp_path / "bytes", tiny_model, column)
    plain = score(tmp_path / "text", tiny_model, pa.array(TEXTS))
    assert metrics(store)[:-1] == metrics(plain)
    last = scan_scores(store, store.require_manifest()).collect().row(-1, named=True)
    assert (last["status"], last["error"], last["nll"]) == ("error", "not UTF-8", None)


def test_bytes_go_through_a_report_a_filter_and_a_resume(tiny_model, tmp_path):
    column = pa.array([b"one", b"two two", b"\xff", None])
    store = score(tmp_path, tiny_model, column)
    excerpts = {one.row: one.excerpt for one in build_report(store).examples}
    assert excerpts == {0: "one", 1: "two two"}
    options = {"run": store.location, "out": str(tmp_path / "out"), "min": ["num_tokens=4"]}
    rules = load_filter_config(None, options | {"unscored": "keep"})
    FilterWriter(decide(rules), str(tmp_path / "out")).write()
    kept = pq.read_table(tmp_path / "out/a.parquet")["text"]
    assert kept.to_pylist() == [b"two two", b"\xff", None]
    touch(tmp_path / "corpus/a.parquet")
    config = ScoreConfig(
        corpus=str(tmp_path / "corpus"),
        out=store.location,
        model=str(tiny_model),
        dtype="float32",
        shard_tokens=20,
    )
    assert open_run(config, store, default_shard_tokens=20)[1] is False


def test_a_text_of_type_null_is_a_row_each(tiny_model, tmp_path):
    store = score(tmp_path, tiny_model, pa.nulls(3))
    assert {row[0] for row in metrics(store)} == {"null"}
    assert len(metrics(store)) == 3
    report = build_report(store)
    assert report.overall.num_documents == 3
    touch(tmp_path / "corpus/a.parquet")
    config = ScoreConfig(
        corpus=str(tmp_path / "corpus"),
        out=store.location,
        model=str(tiny_model),
        dtype="float32",
        shard_tokens=20,
    )
    assert open_run(config, store, default_shard_tokens=20)[1] is False
