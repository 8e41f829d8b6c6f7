"""jobs/run/score.py without Ray: what a run leaves behind. With one, integration/test_faults.py."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import score
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.settings.config import ScoreConfig
from tests.support.faulty import Silent, healthy
from tests.support.plans import make_manifest

HALF = "scores/.tmp-0-part-00000.parquet"


@pytest.mark.parametrize(
    "ending", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr
)
def test_workers_that_are_killed_within_a_write_leave_nothing(
    tmp_path, tiny_model, monkeypatch, ending
):
    run = tmp_path / "run"

    @contextmanager
    def connected(address: str | None) -> Iterator[None]:
        (run / HALF).parent.mkdir(parents=True)
        (run / HALF).write_bytes(b"half")
        raise ending
        yield

    monkeypatch.setattr(score, "connected", connected)
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "corpus.parquet")
    config = ScoreConfig(
        corpus=str(tmp_path / "corpus.parquet"),
        out=str(run),
        model=str(tiny_model),
        dtype="float32",
    )
    with pytest.raises(type(ending)):
        score.run_score(config, Silent(), healthy)
    assert not [path for path in run.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("asked", "measured"),
    [
        ({"engines_per_gpu": "auto"}, 3),
        ({"engines_per_gpu": "auto", "tensor_parallel_size": 2}, None),
        ({"engines_per_gpu": "auto", "address": "192.0.2.1:6379"}, None),
        ({"engines_per_gpu": 2}, None),
        ({}, None),
    ],
)
def test_engines_per_gpu_that_were_measured_count_where_they_are_left_open_and_on_this_machine(
    monkeypatch, asked, measured
):
    found = list[EngineSettings]()

    def recall(backend: VllmBackend, settings: EngineSettings) -> int:
        found.append(settings)
        return 3

    monkeypatch.setattr(VllmBackend, "preferred_engines_per_gpu", recall)
    config = ScoreConfig(corpus="corpus", out="run", model="model", **asked)
    manifest = make_manifest()
    assert score._measured_engines(config, manifest) == measured
    assert [one.window_tokens for one in found] == [manifest.rules.window_tokens] * bool(measured)
