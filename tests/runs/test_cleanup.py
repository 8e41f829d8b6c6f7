"""What gc removes: unfinished files and the lock of a finished run, never what somebody needs."""

import contextlib
from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.runs.cleanup import (
    find_leftovers,
    remove_leftovers,
    removing_unfinished_parts,
)
from pipeline.runs.lock import LOCK, Holder, RunLock
from pipeline.runs.store import RunStore
from tests.support.runs import make_run

DEAD = Holder(token="t", host="elsewhere", pid=1, process_started=0.0, heartbeat=0.0)


@pytest.fixture
def store(tmp_path: Path, tiny_model: Path) -> RunStore:
    return make_run(tmp_path, tiny_model, ["one", "two", "three"])


def names(store: RunStore) -> set[str]:
    return set(store.root.files(recursive=True))


def test_unfinished_files_go_and_everything_else_stays(store):
    before = names(store)
    leftovers = {"scores/.tmp-0-part-00000.parquet": 4, ".tmp-1-manifest.json": 4}
    for name in leftovers:
        Path(store.root.full(name)).write_bytes(b"half")

    found = find_leftovers(store)
    assert found == leftovers
    remove_leftovers(store, list(found))
    assert names(store) == before
    assert find_leftovers(store) == {}


def test_the_lock_of_who_died_after_success_goes(store):
    store.root.write_bytes(LOCK, DEAD.model_dump_json().encode())
    assert list(find_leftovers(store)) == [LOCK]


def test_the_lock_of_an_unfinished_run_is_the_next_drivers(store):
    Path(store.root.full("_SUCCESS")).unlink()
    store.root.write_bytes(LOCK, DEAD.model_dump_json().encode())
    assert find_leftovers(store) == {}


def test_a_run_that_is_driven_is_left_alone(store):
    with RunLock(store.root), pytest.raises(RunError, match="cannot be cleaned up while process"):
        find_leftovers(store)


def test_what_is_no_run(tmp_path):
    (tmp_path / ".tmp-precious").touch()
    with pytest.raises(RunError, match="not a run directory"):
        find_leftovers(RunStore(str(tmp_path)))


@pytest.mark.parametrize("error", [None, OSError, KeyboardInterrupt])
def test_a_driver_removes_what_its_workers_left_however_it_ends(store, error):
    before = names(store)
    with (
        pytest.raises(error) if error else contextlib.nullcontext(),
        RunLock(store.root) as lock,
        removing_unfinished_parts(store, lock),
    ):
        Path(store.root.full("scores/.tmp-0-part-00000.parquet")).write_bytes(b"half")
        if error:
            raise error
    assert names(store) == before


def test_a_driver_whose_run_was_taken_over_leaves_the_others_parts(store):
    with RunLock(store.root) as lock, removing_unfinished_parts(store, lock):
        lock._taken_by = DEAD
        Path(store.root.full("scores/.tmp-0-part-00000.parquet")).write_bytes(b"half")
    assert list(find_leftovers(store)) == ["scores/.tmp-0-part-00000.parquet"]
