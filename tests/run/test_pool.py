"""jobs/run/pool.py: what a worker died of, in a line."""

from ray.exceptions import ActorDiedError, RayTaskError

from jobs.run.pool import reason_of


def test_the_last_line_of_a_traceback_is_what_happened():
    """Ray puts where it was before it, in colours."""
    where = "\x1b[36mray::ScoringActor.start()\x1b[39m (pid=7)\n  File a.py, line 1"
    task = RayTaskError("start", f"{where}\nModuleNotFoundError: No module named 'x'", None)
    assert reason_of(task) == "ModuleNotFoundError: No module named 'x'"
    made = ActorDiedError(task)
    assert "in its creation task" in str(made)
    assert reason_of(made) == "ModuleNotFoundError: No module named 'x'"
    assert reason_of(ActorDiedError()).startswith("The actor died unexpectedly")
