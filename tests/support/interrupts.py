"""Ctrl-C as it arrives where Polars has been imported."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_that_restart_waits() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, but the kernel goes on with the wait that it interrupted.

    Also where it was ignored, as what a script starts in the background does.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.siginterrupt(signal.SIGINT, False)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
