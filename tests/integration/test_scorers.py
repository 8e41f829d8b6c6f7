"""A second kind of scorer, from the command line through Ray to a verified run."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import read_scores
from pipeline.engine import backends
from tests.support.unigram import Unigram, nll_of, save_unigram

ROOT = Path(__file__).parents[2]
TEXTS = ["the cat sat on the mat", "", None, "zzz", "日本語 " * 40]
WINNOW = """
from pipeline.engine import backends
from tests.support.unigram import Unigram
backends.BACKENDS = (Unigram(), *backends.BACKENDS)
from jobs.cli.main import main
main()
"""
"""The command where this kind is installed."""


def winnow(*arguments: str | Path) -> None:
    # A cluster that ran in this process has left its token's settings.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    # Workers find the kind where it is installed.
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", WINNOW, *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr


def test_it_scores_on_ray(tmp_path, monkeypatch):
    """The kind travels to the workers with the plan."""
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    corpus.mkdir()
    unigram = save_unigram(tmp_path / "unigram", b"the cat sat on the mat and the rat ate the oat")
    pq.write_table(pa.table({"text": pa.array(TEXTS, pa.string())}), corpus / "0.parquet")
    winnow("score", corpus, "--out", run, "--model", unigram)
    winnow("verify", run)
    monkeypatch.setattr(backends, "BACKENDS", (Unigram(), *backends.BACKENDS))
    rows = read_scores(run).collect()
    found = dict(zip(TEXTS, rows["nll"], strict=True))
    assert found["zzz"] == pytest.approx(nll_of("zzz", unigram), rel=1e-12)
