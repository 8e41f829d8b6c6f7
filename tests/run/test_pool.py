"""jobs/run/pool.py: what a worker died of, in a line; how it is replaced."""

from types import SimpleNamespace

from ray.exceptions import ActorDiedError, RayTaskError

from jobs.run.pool import Worker, WorkerPool, reason_of
from jobs.run.worker import WorkerSettings
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.backend import VllmBackend
from tests.support.fakes import FakeEngine
from tests.support.plans import make_manifest


def test_the_last_line_of_a_traceback_is_what_happened():
    """Ray puts where it was before it, in colours."""
    where = "\x1b[36mray::ScoringActor.start()\x1b[39m (pid=7)\n  File a.py, line 1"
    task = RayTaskError("start", f"{where}\nModuleNotFoundError: No module named 'x'", None)
    assert reason_of(task) == "ModuleNotFoundError: No module named 'x'"
    made = ActorDiedError(task)
    assert "in its creation task" in str(made)
    assert reason_of(made) == "ModuleNotFoundError: No module named 'x'"
    assert reason_of(ActorDiedError()).startswith("The actor died unexpectedly")


def test_shards_that_ran_out_of_memory_together_halve_the_steps_once(monkeypatch):
    """Two are in flight; the second's answer arrives where the actor is replaced already."""
    killed = []
    monkeypatch.setattr("ray.kill", killed.append)
    fresh = SimpleNamespace(actor="fresh", starting="starts")
    pool = WorkerPool.__new__(WorkerPool)
    monkeypatch.setattr(pool, "_start_actor", lambda number, settings: fresh)
    engine = EngineSettings("model", "float32", 64, 300, max_num_batched_tokens=4096)
    settings = WorkerSettings("run", make_manifest(), engine, VllmBackend(), FakeEngine)
    worker = Worker(0, "first", settings, step_tokens=4096)
    assert pool.shrink(worker)
    assert pool.shrink(worker)
    assert killed == ["first"]
    assert worker.settings.engine.max_num_batched_tokens == 2048
