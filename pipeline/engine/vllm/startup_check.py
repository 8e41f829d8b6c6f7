"""The start-up checks: can the engine score at all, and are the answers of the fused path right?

Owns the prompts sent at start-up and the bounds for their answers. Some models load and have no
kernel to be computed with: without a check every document would be found to kill the engine.

The fused path is compared with whole rows of log-probabilities. The pooler works out by itself
which row predicts which token, so a wrong index would give a wrong score that looks like any other.
Here every prompt is sent twice in one step: once to be scored, once for all of its rows, which the
pooler cuts out by vLLM's own offsets. The scored tokens are looked up on this side.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.model import read_config
from pipeline.engine.vllm.quantization import quantization_of
from pipeline.errors import (
    ENGINE_FAILED,
    EngineError,
    EngineMemoryError,
    ModelError,
    first_line,
    named,
)
from pipeline.schema import Window, WindowScore

HINT = "vLLM must support the architecture as a causal language model"
LENGTHS_AND_CONTEXTS = ((5, 1), (17, 1), (11, 4))
"""Tokens of each prompt, and how many of them are context.

Short, because a row holds the whole vocabulary: with 262,144 entries all rows of these prompts are
35 MB. A step of fewer tokens than the requests have together prefills some of them in chunks.
"""
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest difference of a token's ln p, in nats where ln p > -1, else relative to ln p.

Measured with a random Llama and SmolLM2-135M over 13 draws of the prompts, on a CPU: right answers
differ by less than 1e-6 in float32 and bfloat16, rows or tokens off by one by more than 0.7 in some
token. The room in between is for GPUs, whose kernels round by the size of the batch.
"""


Answers = Callable[[Sequence[tuple[Window, bool]]], list[NDArray[np.float32]]]
"""The fused path's to windows; where the flag is set, whole rows."""


class Scores(Protocol):
    """What of an engine is checked."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]: ...


def cannot_start(settings: EngineSettings, error: Exception) -> ModelError:
    """Why vLLM did not take a model, in its own words."""
    quantized = quantization_of(read_config(Path(settings.folder)))
    what = f"{settings.folder}, quantized as {quantized}" if quantized else settings.folder
    # The first line of pydantic's says only how many reasons there are.
    _, _, refused = str(error).partition("Value error, ")
    reason = refused.partition(" [type=")[0] or first_line(error)
    hint = HINT
    if quantized:
        hint = f"try another {named('dtype')}, a machine that vLLM has kernels for it on, or the "
        hint += "model as it was before it was quantized"
    if isinstance(error, ModuleNotFoundError):
        # PyPI's torchvision is built for CUDA: beside a torch for CPUs, vLLM would not import.
        hint = f"install {error.name}, in the build for torch {version('torch')}: vLLM's class of "
        hint += "this architecture imports it"
    return ModelError(f"vLLM cannot score with {what}: {reason}", hint=hint)


def check_engine(engine: Scores, settings: EngineSettings) -> None:
    """Score a few harmless prompts. Raises ModelError, in the engine's own words, if that fails."""
    windows = check_windows(settings.vocab_size, settings.window_tokens)
    try:
        answers = {answer.key: answer.logprobs for answer in engine.score(enumerate(windows))}
    except EngineMemoryError:
        raise
    except EngineError as error:
        reason = _reason(error)
        raise ModelError(
            f"vLLM cannot score with {settings.folder}: {reason}", hint=HINT
        ) from error
    for key, window in enumerate(windows):
        logprobs = answers.get(key, np.empty(0))
        if logprobs.shape != (len(window.prompt) - window.num_context,):
            reason = f"{logprobs.size} log-probabilities for {len(window.prompt)} tokens"
        elif not np.isfinite(logprobs).all():
            reason = "log-probabilities that are not finite"
        else:
            continue
        raise ModelError(
            f"cannot score with {settings.folder}: a test prompt of {len(window.prompt)} random "
            f"tokens gave {reason}",
            hint=f"check that the weights are whole, or try another {named('dtype')} or "
            f"{named('scoring')}",
        )


def check_fused(answers: Answers, settings: EngineSettings) -> None:
    """Compare the fused path's answers with whole rows. Raises ModelError if they differ, or if
    there are none."""
    windows = check_windows(settings.vocab_size, settings.window_tokens)
    hint = f"use {named('scoring')} prompt_logprobs"
    try:
        found = answers([(window, whole) for whole in (False, True) for window in windows])
    except EngineMemoryError:
        raise
    except EngineError as error:
        what = f"fused scoring of {settings.folder} failed: {_reason(error)}"
        raise ModelError(what, hint=hint) from error
    wrong = find_disagreement(windows, found[: len(windows)], found[len(windows) :], settings.dtype)
    if wrong:
        raise ModelError(f"fused scoring of {settings.folder} {wrong}", hint=hint)


def _reason(error: EngineError) -> str:
    return str(error).removeprefix(f"{ENGINE_FAILED}: ")


def check_windows(vocab_size: int, window_tokens: int) -> list[Window]:
    """Random prompts that share nothing, so that no wrong row is right by chance."""
    random = np.random.default_rng(0)
    windows = []
    for length, num_context in LENGTHS_AND_CONTEXTS:
        prompt = random.integers(0, vocab_size, min(length, window_tokens)).tolist()
        windows.append(Window(prompt, min(num_context, len(prompt) - 1)))
    return windows


def find_disagreement(
    windows: Sequence[Window],
    answers: Sequence[NDArray[np.float32]],
    tables: Sequence[NDArray[np.float32]],
    dtype: str,
) -> str | None:
    """What is wrong with the answers, to follow "fused scoring of MODEL"; None where they agree.

    A table holds a row per prompt token: ln p of every token of the vocabulary to come next.
    """
    for window, answer, table in zip(windows, answers, tables, strict=True):
        num_tokens = len(window.prompt)
        num_context = window.num_context
        if answer.shape != (num_tokens - num_context,):
            return (
                f"returned {answer.size} log-probabilities, where {num_tokens - num_context} of "
                f"the {num_tokens} tokens of a window were to be scored"
            )
        if table.ndim != 2 or len(table) != num_tokens:
            return f"returned rows of shape {table.shape} for a prompt of {num_tokens} tokens"
        positions = range(num_context, num_tokens)
        expected = np.array([table[at - 1, window.prompt[at]] for at in positions], np.float64)
        errors = np.abs(answer - expected) / np.maximum(1, np.abs(expected))
        worst = int(np.argmax(errors))  # of a NaN, if there is one
        if not errors[worst] <= TOLERANCES[dtype]:
            return (
                f"is inaccurate: ln p of token {positions[worst] + 1} of {num_tokens} is "
                f"{answer[worst]:.6g}, and by the model's unfused output {expected[worst]:.6g}"
            )
    return None
