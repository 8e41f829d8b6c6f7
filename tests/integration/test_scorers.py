"""A second kind of scorer, from the command line through Ray to a verified run."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import read_scores
from pipeline.engine import backends
from tests.support.unigram import Unigram, nll_of, save_unigram

TEXTS = ["the cat sat on the mat", "", None, "zzz", "日本語 " * 40]


def test_it_scores_on_ray(tmp_path, winnow, monkeypatch):
    """The kind travels to the workers with the plan."""
    # Where workers find this kind, as they would an installed one.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(backends, "BACKENDS", (Unigram(), *backends.BACKENDS))
    unigram = save_unigram(tmp_path / "unigram", b"the cat sat on the mat and the rat ate the oat")
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    corpus.mkdir()
    pq.write_table(pa.table({"text": pa.array(TEXTS, pa.string())}), corpus / "0.parquet")
    code, _, err = winnow("score", corpus, "--out", run, "--model", unigram)
    assert code == 0, err
    rows = read_scores(run).collect()
    found = dict(zip(TEXTS, rows["nll"], strict=True))
    assert found["zzz"] == pytest.approx(nll_of("zzz", unigram), rel=1e-12)
    assert winnow("verify", run)[0] == 0
