"""`winnow gc` removes what dead attempts left, and nothing else."""

import os
import socket
import time
from pathlib import Path

import psutil
import pytest

from pipeline.errors import RunError
from pipeline.leftovers import find_leftovers, remove_leftovers
from pipeline.lock import LOCK, Holder
from pipeline.store import RunStore
from tests.runs import make_run


@pytest.fixture
def store(tmp_path: Path, tiny_model: Path) -> RunStore:
    store = make_run(tmp_path, tiny_model, ["one", "two", None, "four"])
    for name in ("scores/.tmp-0123-part-00000.parquet", ".tmp-0456-manifest.json"):
        Path(store.location, name).write_bytes(b"half")
    return store


def files(store: RunStore) -> set[str]:
    return set(store.root.files(recursive=True))


def test_only_unfinished_files_are_leftovers(store):
    before = files(store)
    found = find_leftovers(store)
    assert found == {"scores/.tmp-0123-part-00000.parquet": 4, ".tmp-0456-manifest.json": 4}
    remove_leftovers(store, list(found))
    assert files(store) == before - found.keys()
    assert find_leftovers(store) == {}


def test_a_live_run_is_left_alone(store):
    holder = Holder(
        token="t",
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        heartbeat=time.time(),
    )
    Path(store.location, LOCK).write_text(holder.model_dump_json())
    with pytest.raises(RunError, match=f"is being written by process {os.getpid()}"):
        find_leftovers(store)


def test_what_is_no_run_is_not_touched(tmp_path):
    (tmp_path / ".tmp-mine").touch()
    with pytest.raises(RunError, match="not a run directory"):
        find_leftovers(RunStore(str(tmp_path)))
