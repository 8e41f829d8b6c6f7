"""Prefetch: ahead but bounded, errors where the item would be, no thread left behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.storage.prefetch import Prefetch
from tests.support.interrupts import interrupts_that_restart_waits

PATIENCE = 60.0
"""Seconds until a test gives up on a thread; never waited for when all is well."""


class CountingSource(Iterator[int]):
    """Counts from 0 and lets a test wait until a number has been made."""

    def __init__(self, stop: int = 10**9) -> None:
        self.made = 0
        self._stop = stop
        self._changed = threading.Condition()

    def __next__(self) -> int:
        with self._changed:
            if self.made == self._stop:
                raise StopIteration
            self.made += 1
            self._changed.notify_all()
            return self.made - 1

    def wait_for(self, made: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.made >= made, PATIENCE)


class Unreadable(Exception):
    """An error with something to tell."""


def fails_after(*items: int, error: BaseException) -> Iterator[int]:
    yield from items
    raise error


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    for thread in prefetch_threads():
        thread.join(PATIENCE)
    assert prefetch_threads() == []


@pytest.mark.parametrize("ahead", [1, 2, 100], ids="ahead {}".format)
def test_every_item_arrives_once_in_order(ahead):
    assert list(Prefetch(iter(range(50)), ahead)) == list(range(50))


def test_an_empty_source_ends_at_once():
    assert list(Prefetch(iter(()), 2)) == []


def test_none_is_an_item_and_not_the_end():
    assert list(Prefetch(iter([None, None]), 1)) == [None, None]


def test_an_exception_as_an_item_is_passed_on_and_not_raised():
    error = Unreadable("an item")
    assert list(Prefetch(iter([error, error]), 1)) == [error, error]


def test_runs_ahead_before_anything_is_asked_for():
    source = CountingSource()
    prefetch = Prefetch(source, 3)
    source.wait_for(3)
    prefetch.close()


def test_runs_no_further_ahead_than_it_may():
    source = CountingSource()
    prefetch = Prefetch(source, 2)
    # Two wait to be taken, one more is held by the thread that cannot put it down.
    source.wait_for(3)
    for taken in range(1, 20):
        assert next(prefetch) == taken - 1
        source.wait_for(taken + 3)
        assert source.made == taken + 3
    prefetch.close()


def test_waits_without_asking_for_more():
    # Long enough for the thread to have tried several times to put its item down.
    source = CountingSource()
    prefetch = Prefetch(source, 1)
    source.wait_for(2)
    threading.Event().wait(0.35)
    assert source.made == 2
    assert next(prefetch) == 0
    prefetch.close()


@pytest.mark.parametrize(
    "error",
    [Unreadable("row group 7"), KeyboardInterrupt(), SystemExit(3)],
    ids=["Exception", "KeyboardInterrupt", "SystemExit"],
)
def test_an_error_is_raised_where_its_item_would_have_been(error):
    prefetch = Prefetch(fails_after(1, 2, error=error), 10)
    assert [next(prefetch), next(prefetch)] == [1, 2]
    with pytest.raises(type(error)) as raised:
        next(prefetch)
    assert raised.value is error


def test_an_error_of_the_first_item_waits_to_be_asked_for():
    prefetch = Prefetch(fails_after(error=Unreadable("not Parquet")), 1)
    with pytest.raises(Unreadable, match="not Parquet"):
        next(prefetch)


@pytest.mark.parametrize(
    "source",
    [iter([1]), fails_after(1, error=Unreadable("torn"))],
    ids=["after the end", "after an error"],
)
def test_it_stays_ended(source):
    prefetch = Prefetch(source, 1)
    assert next(prefetch) == 1
    with pytest.raises((StopIteration, Unreadable)):
        next(prefetch)
    with pytest.raises(StopIteration):
        next(prefetch)


def test_close_ends_the_thread_when_nothing_was_consumed():
    prefetch = Prefetch(CountingSource(), 2)
    assert len(prefetch_threads()) == 1
    prefetch.close()
    assert prefetch_threads() == []


def test_close_ends_the_thread_in_the_middle():
    source = CountingSource()
    prefetch = Prefetch(source, 2)
    assert [next(prefetch), next(prefetch)] == [0, 1]
    prefetch.close()
    assert prefetch_threads() == []
    made = source.made
    assert list(prefetch) == []  # what was made ahead is dropped
    assert source.made == made


def test_close_after_the_end_and_twice_does_no_harm():
    prefetch = Prefetch(CountingSource(stop=3), 1)
    assert list(prefetch) == [0, 1, 2]
    prefetch.close()
    prefetch.close()


def test_an_error_that_nobody_asks_for_does_not_hold_the_thread():
    Prefetch(fails_after(1, 2, 3, error=Unreadable("unseen")), 1).close()
    assert prefetch_threads() == []


@pytest.mark.timeout(120)
def test_an_interrupt_ends_the_wait_for_an_item():
    """The kernel goes on with a wait: somebody has to look."""
    asking, released, given = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        released.wait(20)
        given.set()
        yield 1

    def interrupt() -> None:
        asking.wait()
        time.sleep(0.3)  # it waits by then; if not, it is interrupted before it does
        os.kill(os.getpid(), signal.SIGINT)

    def ask() -> None:
        asking.set()
        next(items)

    with interrupts_that_restart_waits():
        threading.Thread(target=interrupt, daemon=True).start()
        items = Prefetch(source(), 2)
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert not given.is_set()
    released.set()
    items.close()
