"""What vLLM answers to a window, by either path, and whether it is an answer to that window.

Owns the check, and what it is called where vLLM fails instead. When answers come, and for whom, is
engine.py's.
"""

from typing import Any

import numpy as np

from pipeline.errors import ENGINE_FAILED, EngineError, EngineMemoryError, first_line
from pipeline.schema import Logprobs, Window


def prompt_logprobs(output: Any, window: Window) -> Logprobs:
    """The scored tokens' log-probabilities, after checking that they are these tokens'."""
    flat = output.prompt_logprobs
    if flat is None or flat.token_ids != window.prompt[1:]:
        raise EngineError(
            "the engine returned log-probabilities of other tokens than those of the window"
        )
    return np.asarray(flat.logprobs[window.num_context - 1 :], dtype=np.float64)


def pooled(output: Any, window: Window) -> Logprobs:
    """The same from the pooler's answer."""
    logprobs = output.outputs.data.numpy()
    num_tokens, num_context = len(window.prompt), window.num_context
    if logprobs.shape != (num_tokens - num_context,):
        raise EngineError(
            f"the engine returned {logprobs.size} log-probabilities, where "
            f"{num_tokens - num_context} of the {num_tokens} tokens of a window were to be scored"
        )
    return np.asarray(logprobs, dtype=np.float64)


def failure(error: Exception) -> EngineError:
    """What made a step fail, in vLLM's own words."""
    kind = EngineMemoryError if _is_out_of_memory(error) else EngineError
    return kind(f"{ENGINE_FAILED}: {first_line(error)}")


def _is_out_of_memory(error: Exception) -> bool:
    # torch has a class of its own for CUDA, and a RuntimeError from its allocator on the CPU.
    return isinstance(error, MemoryError) or any(
        phrase in str(error).lower() for phrase in ("out of memory", "can't allocate memory")
    )
