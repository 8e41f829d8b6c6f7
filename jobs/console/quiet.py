"""What an engine in this process prints, kept off the screen.

Owns where it goes. An engine of a worker prints into its worker's log; one that `verify` and `plan`
start themselves would print over their own messages.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what others print to descriptors 1 and 2; WINNOW_DEBUG shows it.

    Our own messages are seen: `begin_process` gave them descriptors of their own.
    """
    if os.environ.get("WINNOW_DEBUG"):
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    with tempfile.TemporaryFile("w") as log, contextlib.redirect_stdout(log):
        kept = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in kept:
                os.dup2(log.fileno(), number)
            yield
        finally:
            for number, own in kept.items():
                os.dup2(own, number)
                os.close(own)
