"""Which runs may be explored, and what is said of them."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import CorpusError, RunError
from pipeline.explore.run import open_run
from tests.support.made_runs import row, write_run
from tests.support.runs import score_corpus


def test_metrics_and_columns(scored):
    run = open_run(scored.location)
    assert run.metrics[0] == "perplexity"
    assert {"bits_per_byte", "num_tokens", "min_k_logprob"} < set(run.metrics)
    assert not {"text_hash", "row", "token_logprobs"} & set(run.metrics)
    assert run.columns == ["source"]
    assert run.default_column() == "source"


def test_a_column_of_one_value_is_no_default(tmp_path):
    rows = {"a": [row(10, 10.0, 40, source="one") for _ in range(3)]}
    run = open_run(write_run(tmp_path / "run", rows).location)
    assert run.default_column() is None
    assert run.columns == ["source"]


def test_an_id_is_no_default_and_the_text_no_group(tmp_path, tiny_model):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    number = 12
    table = {
        "uid": [f"id-{i}" for i in range(number)],
        "kind": ["ab"[i % 2] for i in range(number)],
        "text": ["a text of some words"] * number,
    }
    pq.write_table(pa.table(table), corpus / "a.parquet")
    store = score_corpus(corpus, tmp_path / "run", tiny_model, carry=("uid", "text", "kind"))
    run = open_run(store.location)
    assert run.default_column() == "kind"
    assert run.columns == ["uid", "kind"]


def test_an_unfinished_run_is_refused_unless_partial(tmp_path):
    store = write_run(tmp_path / "run", {"a": [row(10, 10.0, 40)]}, finished=False)
    with pytest.raises(RunError, match="is not finished"):
        open_run(store.location)
    run = open_run(store.location, partial=True)
    assert not run.parts.is_complete
    assert run.num_rows == 1


def test_a_corpus_that_is_gone_is_said(tmp_path):
    store = write_run(tmp_path / "run", {"a": [row(10, 10.0, 40)]})
    run = open_run(store.location)
    assert run.corpus is None
    assert "/data/corpus/a is no longer in the corpus" in (run.corpus_fault or "")
    with pytest.raises(CorpusError):
        open_run(store.location, corpus=str(tmp_path / "nowhere"))


def test_a_run_that_is_scored_anew_is_another(scored, tmp_path):
    shutil.copytree(scored.location, tmp_path / "run")
    run = open_run(str(tmp_path / "run"))
    assert not run.has_changed()
    part = next(Path(tmp_path, "run/scores").iterdir())
    part.unlink()
    assert run.has_changed()
    shutil.rmtree(tmp_path / "run")
    assert run.has_changed()
