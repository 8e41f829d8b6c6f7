"""One driver a run: a holder that lives keeps the lock, one that is gone loses it."""

import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from pyarrow import fs

from pipeline.errors import RunError
from pipeline.runs import lock
from pipeline.runs.lock import GONE_SECONDS, LOCK, Holder, RunLock, is_alive, read_holder
from pipeline.storage.filesystem import Root, open_root, remote_root

PATIENCE = 60.0
"""Seconds until a test gives up; never waited for when all is well."""
ELSEWHERE = "another-host.invalid"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "run"))


@pytest.fixture
def bucket(tmp_path: Path) -> Root:
    """Not a LocalFileSystem to the code under test."""
    (tmp_path / "bucket").mkdir()
    return remote_root(
        fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket", "s3://bucket"
    )


@pytest.fixture(params=["local", "object store"])
def any_root(request: pytest.FixtureRequest) -> Root:
    return request.getfixturevalue("root" if request.param == "local" else "bucket")


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def this_process(**changes: object) -> Holder:
    """A lock that this very process could have written, except for `changes`."""
    holder = Holder(
        token="of another lock",
        host=socket.gethostname(),
        pid=os.getpid(),
        process_started=psutil.Process().create_time(),
        heartbeat=time.time(),
    )
    return holder.model_copy(update=changes)


def write_holder(root: Root, holder: Holder) -> None:
    root.write_bytes(LOCK, holder.model_dump_json().encode())


def try_to_take(root: Root) -> None:
    with RunLock(root):
        pass


def test_a_free_run_is_taken_and_released(any_root):
    with RunLock(any_root):
        holder = read_holder(any_root)
        assert holder is not None
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        assert is_alive(holder)
    assert read_holder(any_root) is None
    assert not any_root.exists(LOCK)
    try_to_take(any_root)


def test_a_live_process_is_refused_by_name(any_root):
    held = re.escape(
        f"{any_root.location} is being written by process {os.getpid()} on {socket.gethostname()}"
    )
    with RunLock(any_root):
        before = any_root.read_bytes(LOCK)
        with pytest.raises(RunError, match=held) as raised:
            try_to_take(any_root)
        # Whoever was refused must neither take nor remove the other's lock.
        assert any_root.read_bytes(LOCK) == before
    assert "wait for that process or stop it" in raised.value.hint


def test_a_live_process_is_refused_however_old_its_heartbeat(root):
    # A driver that was suspended, or whose disk hung, still writes when it wakes up.
    write_holder(root, this_process(heartbeat=0.0))
    with pytest.raises(RunError, match="is being written by process"):
        try_to_take(root)


def test_a_dead_process_is_taken_over(any_root, dead_pid):
    write_holder(any_root, this_process(pid=dead_pid))
    with RunLock(any_root):
        holder = read_holder(any_root)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert not any_root.exists(LOCK)


def test_a_recycled_process_id_is_taken_over(root):
    # The same number, but a process that began at another time, as after a reboot.
    started = psutil.Process().create_time()
    write_holder(root, this_process(process_started=started - 3600))
    try_to_take(root)


@pytest.mark.parametrize("age", [0.0, GONE_SECONDS - 5], ids=["now", "almost too old"])
def test_a_fresh_heartbeat_of_another_host_is_refused(any_root, dead_pid, age):
    # The process id means nothing here, where another process may have it or none.
    write_holder(any_root, this_process(host=ELSEWHERE, pid=dead_pid, heartbeat=time.time() - age))
    with pytest.raises(RunError, match=f"process {dead_pid} on {ELSEWHERE}"):
        try_to_take(any_root)


def test_a_stale_heartbeat_of_another_host_is_taken_over(any_root):
    write_holder(any_root, this_process(host=ELSEWHERE, heartbeat=time.time() - GONE_SECONDS - 1))
    with RunLock(any_root):
        holder = read_holder(any_root)
        assert holder is not None
        assert holder.host == socket.gethostname()


@pytest.mark.parametrize(
    "content", [b"", b'{"token": "x"', b"[]", b'{"pid": "many"}', b"\xff"], ids=repr
)
def test_a_torn_lock_has_no_holder(root, content):
    root.write_bytes(LOCK, content)
    assert read_holder(root) is None


@pytest.mark.parametrize("content", [b"", b'{"token": "x"'], ids=["empty", "torn"])
def test_a_torn_lock_does_not_close_a_run_for_good(root, content):
    # A full disk, or a kill between creating the file and filling it, leaves such a file.
    root.write_bytes(LOCK, content)
    long_ago = time.time() - GONE_SECONDS - 1
    os.utime(root.full(LOCK), (long_ago, long_ago))
    try_to_take(root)
    assert not root.exists(LOCK)


def test_the_lock_is_released_after_an_error(any_root):
    with pytest.raises(ZeroDivisionError), RunLock(any_root):
        _ = 1 // 0
    assert not any_root.exists(LOCK)


def test_a_lock_that_another_took_over_is_not_released(root):
    with RunLock(root):
        taken = this_process(host=ELSEWHERE)
        write_holder(root, taken)
    assert read_holder(root) == taken


def test_an_empty_folder_that_it_made_is_removed(root):
    with RunLock(root):
        assert Path(root.path).is_dir()
    assert not Path(root.path).exists()


def test_a_folder_that_holds_anything_stays(root):
    with RunLock(root):
        root.write_bytes("manifest.json", b"{}")
    assert list(root.files()) == ["manifest.json"]


def test_a_refused_driver_leaves_the_folder_as_it_was(root):
    write_holder(root, this_process())
    with pytest.raises(RunError):
        try_to_take(root)
    assert list(root.files()) == [LOCK]


def test_who_loses_the_race_for_creation_is_refused(root, monkeypatch):
    # The other one takes the lock just after this one has seen that it is free.
    winner = this_process(host=ELSEWHERE)

    def seen_too_early(root: Root) -> Holder | None:
        seen = read_holder(root)
        write_holder(root, winner)
        return seen

    monkeypatch.setattr(lock, "read_holder", seen_too_early)
    with pytest.raises(RunError, match=r"another process started on .* at the same moment"):
        try_to_take(root)
    assert read_holder(root) == winner
    assert list(root.files()) == [LOCK]


def test_who_loses_the_race_on_an_object_store_is_refused(bucket, monkeypatch):
    # There the last to write wins: what is read back is another's.
    winner = this_process(host=ELSEWHERE)
    write = Root.write_bytes

    def overtaken(root: Root, name: str, content: bytes) -> None:
        write(root, name, content)
        write(root, name, winner.model_dump_json().encode())

    monkeypatch.setattr(Root, "write_bytes", overtaken)
    with pytest.raises(RunError, match=f"process {os.getpid()} on {ELSEWHERE} started on"):
        try_to_take(bucket)
    assert read_holder(bucket) == winner


def test_the_heartbeat_is_renewed_and_ends_with_the_lock(root, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with RunLock(root):
        first = read_holder(root)
        assert first is not None
        deadline = time.monotonic() + PATIENCE
        while (holder := read_holder(root)) is None or holder.heartbeat == first.heartbeat:
            assert time.monotonic() < deadline
        # The same holder, only later.
        assert holder.model_copy(update={"heartbeat": first.heartbeat}) == first
    assert [thread for thread in threading.enumerate() if thread.name == "heartbeat"] == []
    assert not root.exists(LOCK)


def test_a_heartbeat_that_cannot_be_written_does_not_end_the_run(root, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    failures = queue.Queue()

    def full_disk(root: Root, name: str, content: bytes) -> None:
        failures.put(name)
        raise OSError("No space left on device")

    with RunLock(root):
        monkeypatch.setattr(Root, "write_bytes", full_disk)
        # The second shows that it tries again after a failure.
        assert [failures.get(timeout=PATIENCE) for _ in range(2)] == [LOCK, LOCK]
        assert read_holder(root) is not None
    assert not root.exists(LOCK)


def test_a_heartbeat_goes_on_after_the_lock_could_not_be_read(root, monkeypatch):
    # A store that does not answer for a moment must not make this driver look dead.
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    beats = queue.Queue()
    refusals = iter(range(2))
    read, write = Root.read_bytes, Root.write_bytes

    def read_sometimes(root: Root, name: str) -> bytes:
        if next(refusals, None) is not None:
            raise OSError("connection reset")
        return read(root, name)

    def count(root: Root, name: str, content: bytes) -> None:
        write(root, name, content)
        beats.put(name)

    with RunLock(root):
        monkeypatch.setattr(Root, "read_bytes", read_sometimes)
        monkeypatch.setattr(Root, "write_bytes", count)
        assert [beats.get(timeout=PATIENCE) for _ in range(4)] == [LOCK] * 4


def test_a_heartbeat_does_not_take_back_a_lock_that_was_taken_over(root, monkeypatch):
    # A driver that was suspended for minutes wakes up after another one has replaced it.
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with RunLock(root):
        taken = this_process(host=ELSEWHERE)
        # A beat that was under way writes once more; the next one sees the other, and is the last.
        [beating] = [one for one in threading.enumerate() if one.name == "heartbeat"]
        deadline = time.monotonic() + PATIENCE
        while beating.is_alive():
            assert time.monotonic() < deadline
            write_holder(root, taken)
            beating.join(0.05)
        assert read_holder(root) == taken


def test_the_holder_is_named_for_people():
    assert str(this_process(pid=17, host="node-3")) == "process 17 on node-3"
