"""Files left by crashed runs and killed workers in a run directory.

Owns telling leftovers from everything else: names that only an unfinished write has. A run with a
live driver is left alone, but by that driver itself: its unfinished writes are in progress.
"""

import contextlib
from collections.abc import Iterator

from pipeline.errors import RunError
from pipeline.runs.lock import LOCK, RunLock, is_alive, read_holder
from pipeline.runs.store import SCORES, RunStore
from pipeline.storage.filesystem import TEMPORARY_PREFIX


def find_leftovers(store: RunStore) -> dict[str, int]:
    """Name to size in bytes of every unfinished file, and of the lock of a finished run.

    Object stores have none: a put that was not completed is not a file there, and is cleared away
    by the bucket's own rule for incomplete uploads. Raises RunError if it is no run, or a live one.
    """
    store.require_manifest()
    holder = read_holder(store.root)
    if holder is not None and is_alive(holder):
        raise RunError(
            f"{store.location} cannot be cleaned up while {holder} is writing to it",
            hint="wait for that process, or stop it, and run the same command again",
        )
    found = store.root.files(recursive=True)
    # No driver resumes a finished run, so its lock is of one that died between the two; the lock
    # of an unfinished run is for the next driver to take over.
    is_finished = store.success() is not None
    return {
        name: info.size
        for name, info in sorted(found.items())
        if _is_unfinished(name) or (is_finished and name == LOCK)
    }


def _is_unfinished(name: str) -> bool:
    return name.rpartition("/")[2].startswith(TEMPORARY_PREFIX)


def remove_leftovers(store: RunStore, names: list[str]) -> None:
    """Delete what `find_leftovers` found."""
    for name in names:
        store.root.remove(name)


@contextlib.contextmanager
def removing_unfinished_parts(store: RunStore, lock: RunLock) -> Iterator[None]:
    """For the driver that holds the run: workers that end with the block leave no unfinished parts.

    One that is late and still writes fails at its rename, and loses a part that this driver has
    given up. Whatever ended the block matters more than a file that stays.
    """
    try:
        yield
    finally:
        with contextlib.suppress(OSError, RunError):
            lock.check()  # else they are of another driver's workers
            if store.root.is_local:
                found = store.root.files(SCORES)
                remove_leftovers(store, [name for name in found if _is_unfinished(name)])
