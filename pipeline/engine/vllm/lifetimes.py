"""The engines of this process that are open: vLLM keeps state for all that ends with any of them.

Owns when what vLLM keeps is let go of: with the last engine, whether it was closed or is only held
by nobody any more, as the first is where a notebook's cell makes a scorer again.
"""

import threading
import weakref
from typing import Any

from pipeline.engine.vllm.sizing import unfreeze_gc

STARTING_OR_ENDING = threading.Lock()
_open: list[Any] = []
_ended: list[Any] = []
"""vLLM's part of engines that ended while others of this process were open."""


def opened(engine: object, core: Any) -> "weakref.finalize[[], object]":
    """Keep vLLM's part of an engine until `ended`, which the finalizer sees to if nobody else does.

    For a caller that holds the lock.
    """
    _open.append(core)
    # A thread of its own: garbage may be collected where the lock is held.
    ending = threading.Thread(target=ended, args=(core,), daemon=True)
    finalizer = weakref.finalize(engine, ending.start)
    finalizer.atexit = False
    return finalizer


def ended(core: Any) -> None:
    """An engine is over; after the last one their memory is free."""
    with STARTING_OR_ENDING:
        _open.remove(core)
        _ended.append(core)
        if not _open:
            for one in _ended:
                one.shutdown()
            _ended.clear()
            unfreeze_gc()
