"""What an engine in this process prints, kept off the screen.

Owns where it goes. An engine of a worker prints into its worker's log; one that `verify` and `plan`
start themselves would print over their own messages.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

OURS = ("pipeline", "jobs")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what others print to descriptors 1 and 2, log and warn of; WINNOW_DEBUG shows it.

    Our own messages are seen: `begin_process` gave them descriptors of their own.
    """
    if os.environ.get("WINNOW_DEBUG"):
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    with tempfile.TemporaryFile("w") as log, contextlib.redirect_stdout(log), _ours_alone():
        kept = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in kept:
                os.dup2(log.fileno(), number)
            yield
        finally:
            for number, own in kept.items():
                os.dup2(own, number)
                os.close(own)


@contextlib.contextmanager
def _ours_alone() -> Iterator[None]:
    """Show what our own modules log, and no warnings for developers."""

    def is_ours(record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in OURS

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(is_ours)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_ours)
