"""One driver per run: a lock file in the run directory that names its holder.

Owns taking, keeping and releasing `RUN/_LOCK`. A holder proves that it lives by its process id on
its own host, and by a heartbeat to everybody else; only a holder that is gone is replaced.
"""

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import psutil
from pydantic import Field, FiniteFloat

from pipeline.errors import RunError, WinnowError
from pipeline.runs.records import Record, load, save
from pipeline.storage.filesystem import TEMPORARY_PREFIX, Root, naming

log = logging.getLogger(__name__)

LOCK = "_LOCK"
HEARTBEAT_SECONDS = 15.0
GONE_SECONDS = 120.0


class Holder(Record):
    """The driver that holds a run."""

    token: str
    host: str
    pid: Annotated[int, Field(ge=0, lt=2**31)]
    process_started: FiniteFloat
    """Start of the process in seconds since the epoch; a later process with the same id has
    another."""
    heartbeat: FiniteFloat
    """Time of the last heartbeat in seconds since the epoch, by the holder's clock."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class RunLock:
    """Context manager: holds the run's lock, or raises RunError naming who does."""

    def __init__(self, root: Root) -> None:
        self._root = root
        # A heartbeat is soon followed by another, so a store that is down must not block the end.
        self._briefly = root.retrying_for(0.0)
        self._stopped = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._token = uuid.uuid4().hex
        self._taken_by: Holder | None = None

    def __enter__(self) -> Self:
        held = read_holder(self._root)
        if held is not None and is_alive(held):
            raise RunError(
                f"{self._root.location} is being written by {held}",
                hint="wait for that process or stop it; its lock expires once it has stopped",
            )
        # A lock that is there and cannot be read is torn: it appears with its content, so nobody
        # who lives is still writing it.
        # The second look is for whoever took the place of a dead holder in the meantime.
        if (held is not None and read_holder(self._root) == held) or _is_torn(self._root):
            self._root.remove(LOCK)
        self._create()
        # Object stores have no exclusive creation here: whoever wrote last holds the lock.
        now = read_holder(self._root)
        if now is None or now.token != self._token:
            raise RunError(
                f"{now or 'another process'} started on {self._root.location} at the same moment"
            )
        self._beating.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._beating.join()
        try:
            held = read_holder(self._briefly)
            if held is not None and held.token == self._token:
                self._briefly.remove(LOCK)
        except WinnowError as failure:
            # Whatever ended the run matters more, and a lock whose heartbeat stops expires.
            log.warning(
                "the lock of the run could not be removed, and expires by itself: %s", failure
            )
        if self._root.is_local:
            # A run that never began leaves nothing behind; a folder with anything in it stays.
            try:
                Path(self._root.path).rmdir()
            except OSError:
                return

    def check(self) -> None:
        """Raises RunError if another driver has taken the run over."""
        if self._taken_by is not None:
            raise RunError(
                f"this process stopped: it did not renew its lock on {self._root.location} in "
                f"time, and {self._taken_by} continues the run",
                hint="nothing to do: the rest is scored there",
            )

    def _holder(self) -> Holder:
        return Holder(
            token=self._token,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            heartbeat=time.time(),
        )

    def _create(self) -> None:
        if not self._root.is_local:
            save(self._root, LOCK, self._holder())
            return
        content = self._holder().to_json().encode()
        path = Path(self._root.full(LOCK))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_name(f"{TEMPORARY_PREFIX}{self._token}-{LOCK}")
        try:
            with naming(path):
                whole.write_bytes(content)
            # A link appears with its content, and only if the name is free.
            try:
                path.hardlink_to(whole)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                with path.open("xb") as file:
                    file.write(content)
        except FileExistsError:
            raise RunError(
                f"another process started on {self._root.location} at the same moment",
                hint="wait for that process, or stop it and run the same command again",
            ) from None
        finally:
            whole.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            try:
                held = read_holder(self._briefly)
                if held is not None and held.token != self._token:
                    self._taken_by = held  # silent for too long to be believed alive
                    return
                save(self._briefly, LOCK, self._holder())
            except (OSError, WinnowError):
                continue  # a full disk or a lost store shows where it matters, in the parts


def read_holder(root: Root) -> Holder | None:
    """Who holds the lock, dead or alive; None if it is free or cannot be read."""
    with contextlib.suppress(RunError):
        return _load(root)
    return None


def _is_torn(root: Root) -> bool:
    try:
        _load(root)
    except RunError:
        return True
    return False


def _load(root: Root) -> Holder | None:
    return load(root, LOCK, Holder, hint="delete it if no process is scoring the run")


def is_alive(holder: Holder) -> bool:
    """Whether the holder is still running."""
    if holder.host != socket.gethostname():
        return time.time() - holder.heartbeat < GONE_SECONDS
    try:
        started: float = psutil.Process(holder.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return abs(started - holder.process_started) < 1.0
