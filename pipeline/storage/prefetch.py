"""Run an iterator in a thread of its own, a few items ahead of its consumer.

Owns the thread, the bound on how far ahead it runs, and passing errors on. Used so that reading
and tokenizing never wait for the engine, nor the engine for them.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.1
"""The longest wait: with the handler that Polars installs, Ctrl-C is seen only after one."""


class Prefetch(Iterator[T], Generic[T]):
    """Iterates over `source`; up to `ahead` items are made before they are asked for.

    The thread starts at once, not at the first item, and ends with the source or at `close`. An
    error in the source is raised where its item would have been.
    """

    def __init__(self, source: Iterator[T], ahead: int) -> None:
        self._source = source
        self._items: queue.Queue[tuple[T] | BaseException] = queue.Queue(maxsize=ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="prefetch", daemon=True)
        self._thread.start()

    def _produce(self) -> None:
        try:
            for item in self._source:
                if not self._offer((item,)):
                    return
            self._offer(StopIteration())
        except BaseException as error:  # handed over, whatever it is
            self._offer(error)

    def _offer(self, entry: tuple[T] | BaseException) -> bool:
        while not self._closed.is_set():
            try:
                self._items.put(entry, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> T:
        if self._closed.is_set():
            raise StopIteration
        entry = self._next_entry()
        if isinstance(entry, BaseException):
            self._closed.set()
            raise entry
        return entry[0]

    def _next_entry(self) -> tuple[T] | BaseException:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._items.get(timeout=POLL_SECONDS)

    def close(self) -> None:
        """End the thread; what it had made ahead is dropped."""
        self._closed.set()
        while self._thread.is_alive():
            self._thread.join(POLL_SECONDS)
