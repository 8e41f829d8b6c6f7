"""SIGTERM and Ctrl-C as exceptions, for the commands that can be stopped and run again.

Owns that neither is lost. Compiled code which calls Python, such as Polars, may make another
exception of one that a signal raised, or drop it.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType


class Terminated(BaseException):
    """SIGTERM, as an exception, so that every `with` and `finally` block runs."""


RAISES: dict[signal.Signals, type[BaseException]] = {
    signal.SIGTERM: Terminated,
    signal.SIGINT: KeyboardInterrupt,
}
ENDS_A_WAIT = signal.SIGURG
"""Of the signals whose default is to do nothing; nothing else here uses it."""
MOMENT = 0.05
LONGEST_PAUSE = 1.0
CALLED_BY_POLARS = "/polars/datatypes/"
"""Whose classes Polars calls in the middle of a query, and prints a panic where a call fails."""
arrived: list[type[BaseException]] = []
"""What the signals that arrived so far have raised."""
waits_ended: list[int] = []
"""One for each time that the main thread has looked at its signals because of ENDS_A_WAIT."""


@contextlib.contextmanager
def stopped_at(how_far: Callable[[], str]) -> Iterator[None]:
    """What to say of a command that is stopped in here; the innermost of several knows best."""
    try:
        with as_signalled():
            yield
    except (KeyboardInterrupt, Terminated) as stop:
        if not hasattr(stop, "__notes__"):
            stop.add_note(how_far())
        raise


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """For what keeps, when it is stopped in here, what it has finished."""
    with stopped_at(lambda: "Run the same command again to continue."):
        yield


@contextlib.contextmanager
def as_signalled() -> Iterator[None]:
    """A signal that arrives inside compiled code comes out as what that makes of it: of Ray a
    SystemError, of Polars any error, or a panic, which is no Exception. Here it is the exception
    that it raised.
    """
    before = len(arrived)
    try:
        yield
    except (KeyboardInterrupt, Terminated, SystemExit):
        raise
    except BaseException:
        if len(arrived) > before:
            raise arrived[before] from None
        raise


def raise_signals() -> None:
    """From now on, in the main thread, which calls this."""
    for number in RAISES:
        signal.signal(number, on_signal)
    sys.unraisablehook = _raise_again
    # Polars takes over SIGINT as it is imported, and has waits go on after it: Python would look
    # at the signal when the wait has ended. A second one, left to Python alone, ends the wait.
    signal.signal(ENDS_A_WAIT, lambda number, _: waits_ended.append(number))
    number_of, number_from = os.pipe()
    os.set_blocking(number_from, False)
    signal.set_wakeup_fd(number_from, warn_on_full_buffer=False)
    threading.Thread(
        target=_end_waits, args=(number_of, threading.get_ident()), daemon=True
    ).start()


def _end_waits(number_of: int, main: int) -> None:
    while number := os.read(number_of, 1):
        if number[0] not in RAISES:
            continue
        # Within the first one's handler, or before the wait begins, the second ends nothing: on a
        # busy machine that may be long, so it is sent until the main thread has looked.
        before, pause = len(waits_ended), MOMENT
        time.sleep(pause)
        while len(waits_ended) == before:
            signal.pthread_kill(main, ENDS_A_WAIT)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def on_signal(number: int, frame: FrameType | None) -> None:
    """Signal handler that raises the exception."""
    if frame is not None and CALLED_BY_POLARS in frame.f_code.co_filename:
        _send_again(number)
        return
    raised = RAISES[signal.Signals(number)]
    arrived.append(raised)
    raise raised


def _raise_again(dropped: "sys.UnraisableHookArgs") -> None:
    for number, raised in RAISES.items():
        if issubclass(dropped.exc_type, raised):
            _send_again(number)
            return
    sys.__unraisablehook__(dropped)


def _send_again(number: int) -> None:
    """A little later: what is raised here would be dropped, or make compiled code panic."""
    again = threading.Timer(MOMENT, os.kill, [os.getpid(), number])
    again.daemon = True
    again.start()
