"""Several engines per GPU: on a Ray that is told of GPUs it has not, with a scorer of our own.

What is real: Ray's fractions, what each worker sees of the GPUs, and the settings that reach its
engine. Memory and speed need a GPU.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import read_scores
from pipeline.engine import backends
from pipeline.engine.protocol import Engine, EngineSettings
from tests.support.unigram import Unigram, save_unigram

ROOT = Path(__file__).parents[2]
TEXTS = [f"the cat number {number} sat on the mat" for number in range(40)]
NOTES = "WINNOW_TEST_NOTES"
WINNOW = """
import functools, sys
import ray
from pipeline.engine import backends
from tests.run.test_shared_gpus import Noting
backends.BACKENDS = (Noting(), *backends.BACKENDS)
ray.init = functools.partial(ray.init, num_gpus=int(sys.argv.pop(1)))
from jobs.cli.main import main
main()
"""
"""The command, where its first argument says how many GPUs there are."""


class Noting(Unigram):
    """Writes down where its engines are started, and with what."""

    def engine(self, settings: EngineSettings) -> Engine:
        note = [os.environ.get("CUDA_VISIBLE_DEVICES"), settings.engines_per_gpu]
        (Path(os.environ[NOTES]) / str(os.getpid())).write_text(json.dumps(note))
        return super().engine(settings)


def winnow(gpus: int, notes: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    notes.mkdir(exist_ok=True)
    environment |= {"PYTHONPATH": str(ROOT), NOTES: str(notes)}
    command = [sys.executable, "-c", WINNOW, str(gpus), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture
def corpus(tmp_path) -> tuple[Path, Path]:
    folder = tmp_path / "corpus"
    folder.mkdir()
    pq.write_table(pa.table({"text": TEXTS}), folder / "0.parquet", row_group_size=10)
    return folder, save_unigram(tmp_path / "unigram", b"the cat sat on the mat")


@pytest.mark.parametrize(
    ("gpus", "asked", "seen", "said"),
    [
        (2, "auto", {"0": 2, "1": 2}, "4 engines, 2 per GPU: weights of 0 MiB, below 512 MiB"),
        (1, "3", {"0": 3}, "3 engines, 3 per GPU: as asked"),
    ],
)
def test_engines_share_gpus(corpus, tmp_path, monkeypatch, gpus, asked, seen, said):
    folder, model = corpus
    run, notes = tmp_path / "run", tmp_path / "notes"
    options = ("--out", run, "--model", model, "--engines-per-gpu", asked, "--shard-tokens", "50")
    ended = winnow(gpus, notes, "score", folder, *options)
    assert ended.returncode == 0, ended.stderr
    assert said in ended.stderr
    found = [json.loads(note.read_text()) for note in notes.iterdir()]
    assert Counter(device for device, _ in found) == seen
    assert {engines for _, engines in found} == {max(seen.values())}
    monkeypatch.setattr(backends, "BACKENDS", (Unigram(), *backends.BACKENDS))
    assert len(read_scores(run).collect()) == len(TEXTS)


def test_without_gpus_it_is_refused(corpus, tmp_path):
    folder, model = corpus
    options = ("--out", tmp_path / "run", "--model", model, "--engines-per-gpu", "2")
    ended = winnow(0, tmp_path / "notes", "score", folder, *options)
    assert ended.returncode == 2
    assert "--engines-per-gpu 2 needs a GPU, and no machine offers one" in ended.stderr
