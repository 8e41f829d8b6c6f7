"""Windows to log-probabilities, with vLLM: the Engine of protocol.py.

Owns how prompts are fed so that the engine is never idle, and what is dropped when a caller goes.
vLLM is imported here, inside what needs it, in fused.py, norms.py and pooler.py, and nowhere else.

Two paths, one answer: "fused" reduces logits to log-probabilities inside the worker (pooler.py),
"prompt_logprobs" is vLLM's public path, for every architecture.
"""

import threading
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from pipeline.engine.protocol import NO_WORK, Engine, EngineSettings, Usage, Work
from pipeline.engine.vllm.answers import pooled, prompt_logprobs
from pipeline.engine.vllm.fused import import_failure, pooling_model
from pipeline.engine.vllm.lifetimes import STARTING_OR_ENDING, ended, opened
from pipeline.engine.vllm.roofline import Meter
from pipeline.engine.vllm.sizing import engine_arguments, freeze_gc, prepare_process
from pipeline.engine.vllm.startup_check import (
    cannot_start,
    check_engine,
    check_windows,
    find_disagreement,
)
from pipeline.errors import (
    ENGINE_FAILED,
    EngineError,
    EngineMemoryError,
    ModelError,
    first_line,
    named,
)
from pipeline.schema import Window, WindowScore
from pipeline.storage.prefetch import POLL_SECONDS
from pipeline.tracing import Tracer

# Fed ahead of the engine, in steps: enough that a step is always full.
STEPS_AHEAD = 3

# 0: only the prompt's own tokens. Given at construction, where it also keeps the engine from
# reading cached prefixes. One token must be generated; it costs no forward pass.
SAMPLING: dict[str, Any] = {
    "prompt_logprobs": 0,
    "flat_logprobs": True,
    "detokenize": False,
    "max_tokens": 1,
    "temperature": 0.0,
}

_Request = tuple[str, list[int], Any]
"""Request id, prompt, and vLLM's parameters."""


@dataclass(slots=True, eq=False)
class _Caller:
    """One `score` call: what it waits for and what has arrived for it."""

    outstanding: int = 0
    arrived: list[WindowScore] = field(default_factory=list)
    failure: EngineError | None = None
    """Set if a step failed while it waited: some of its windows may have gone with that step."""


class VllmEngine(Engine):
    """Scores with vLLM in this process, by the path that the settings name.

    One call at a time feeds windows; when it has fed its last one the next call begins to feed
    while the first one's results drain, so the engine stays full from one shard to the next.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Load the model. Raises ModelError if vLLM cannot score with it."""
        # All of vLLM lives in one thread: OpenMP keeps a team of threads for every thread that
        # computes, and two teams would fight over the cores.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._feeding = threading.Lock()
        self._stepping = threading.Lock()
        self._waiting: dict[str, tuple[_Caller, int, Window]] = {}
        self._added: list[_Request] = []
        self._in_flight_tokens = 0
        self._next_id = 0
        self._busy_seconds = 0.0
        self._stepped: tuple[float, float] | None = None
        self._meter: Meter | None = None
        self._tracer: Tracer | None = None
        self._advancing: Future[list[Any]] | None = None
        self._abandoned: deque[_Caller] = deque()
        self._is_closed = False
        with STARTING_OR_ENDING:
            self._thread.submit(self._start, settings).result()
            self._if_not_closed = opened(self, self._llm.engine_core)
        try:
            check_engine(self, settings)
            if self._fused:
                self._thread.submit(self._check_fused, settings).result()
        except BaseException:
            self.close()
            raise
        self._busy_seconds, self._stepped = 0.0, None
        self._meter = self._thread.submit(Meter, settings).result()

    def _start(self, settings: EngineSettings) -> None:
        prepare_process(settings.num_threads)
        self._fused = settings.scoring == "fused"
        try:
            from vllm import LLM, PoolingParams, SamplingParams
            from vllm.inputs import tokens_input
        except ImportError as error:
            raise ModelError(
                f"vLLM cannot be imported: {error}",
                hint="install winnow-ppl[cpu] or winnow-ppl[gpu]",
            ) from error
        arguments = engine_arguments(settings)
        self.step_tokens: int = arguments["max_num_batched_tokens"]
        self._num_seqs: int = arguments["max_num_seqs"]
        try:
            if self._fused:
                arguments["hf_overrides"]["architectures"] = [pooling_model(settings)]
            llm = LLM(**arguments)
        except Exception as error:  # vLLM and pydantic raise many unrelated kinds
            cause = import_failure(settings.architecture) or error
            raise cannot_start(settings, cause) from error
        self._llm: Any = llm.llm_engine
        self._prompt: Any = tokens_input
        self._sampling = SamplingParams(**SAMPLING)
        self._pooling: Any = PoolingParams
        freeze_gc()

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        caller = _Caller()
        try:
            with self._feeding:
                for key, window in windows:
                    while self._is_full():
                        yield from self._step(caller)
                    self._add(caller, key, window)
            # The last results drain while the next caller already feeds.
            while caller.outstanding or caller.arrived:
                yield from self._step(caller)
        except BaseException:
            # Ctrl-C, or a caller that closes this: the next step drops its windows. No lock is
            # taken here, since it may be garbage collection that closes it.
            self._abandoned.append(caller)
            raise

    def usage(self) -> Usage:
        """How much of its time, from the first step to the last, this engine computed, at least:
        a GPU that was given a step ahead computes between two steps as well.
        """
        if self._stepped is None:
            return Usage(0.0, 0.0)
        first, last = self._stepped
        return Usage(self._busy_seconds, last - first)

    def take_work(self) -> Work:
        """What the model needed and the device could have done since the last call."""
        return self._meter.take(self.usage().seconds) if self._meter else NO_WORK

    def trace(self, tracer: Tracer) -> None:
        """From now on, record when this engine computes."""
        self._tracer = tracer

    def close(self) -> None:
        """Free the model; the engine cannot be used afterwards.

        vLLM keeps state that the engines of a process share and that ends with any of them: the
        memory of one that is closed while others are open is freed with the last.
        """
        self._is_closed = True
        self._if_not_closed.detach()
        self._thread.submit(self._stop).result()
        self._thread.shutdown()

    def _stop(self) -> None:
        core = self._llm.engine_core
        del self._llm
        ended(core)

    def _is_full(self) -> bool:
        return (
            self._in_flight_tokens >= STEPS_AHEAD * self.step_tokens
            or len(self._waiting) >= 2 * self._num_seqs
        )

    def _add(self, caller: _Caller, key: int, window: Window) -> None:
        with self._stepping:
            request_id = str(self._next_id)
            self._next_id += 1
            self._waiting[request_id] = (caller, key, window)
            self._added.append((request_id, window.prompt, self._parameters(window)))
            self._in_flight_tokens += len(window.prompt)
            caller.outstanding += 1

    def _step(self, caller: _Caller) -> list[WindowScore]:
        """Advance the engine once, for all callers, unless `caller` has results to take."""
        with self._stepping:
            if caller.failure is not None and not caller.arrived:
                raise caller.failure
            if not caller.arrived:
                try:
                    if self._advancing is None:
                        dropped = self._drop_abandoned()
                        added, self._added = self._added, []
                        self._advancing = self._thread.submit(self._advance, added, dropped)
                    # Ctrl-C may end the wait, not the step: the next caller takes its answers.
                    while not wait([self._advancing], POLL_SECONDS).done:
                        pass
                    outputs = self._advancing.result()
                except Exception as error:
                    self._advancing = None
                    if self._is_closed:
                        raise EngineError("the engine was closed while it scored") from error
                    kind = EngineMemoryError if _is_out_of_memory(error) else EngineError
                    said = f"{ENGINE_FAILED}: {first_line(error)}"
                    for waiting, _, _ in self._waiting.values():
                        waiting.failure = kind(said)
                    raise kind(said) from error
                self._advancing = None
                for output in outputs:
                    self._deliver(output)
            arrived, caller.arrived = caller.arrived, []
            return arrived

    def _drop_abandoned(self) -> list[str]:
        """Forget the windows of calls that ended early; returns their request ids."""
        if not self._abandoned:
            return []
        gone = [self._abandoned.popleft() for _ in range(len(self._abandoned))]
        dropped = [name for name, (caller, _, _) in self._waiting.items() if caller in gone]
        for name in dropped:
            self._in_flight_tokens -= len(self._waiting.pop(name)[2].prompt)
        self._added = [request for request in self._added if request[0] in self._waiting]
        return dropped

    def _advance(self, added: list[_Request], dropped: Sequence[str] = ()) -> list[Any]:
        began = time.monotonic()
        if dropped:
            self._llm.abort_request(list(dropped))
        for request_id, prompt, params in added:
            self._llm.add_request(request_id, self._prompt(prompt), params)
        finished = [output for output in self._llm.step() if output.finished]
        ended = time.monotonic()
        self._busy_seconds += ended - began
        self._stepped = (self._stepped[0] if self._stepped else began, ended)
        if self._tracer is not None:
            self._tracer.add_step(began, ended)
        return finished

    def _parameters(self, window: Window, *, whole_rows: bool = False) -> Any:
        if not self._fused:
            return self._sampling
        ids = array("i", window.prompt).tobytes()
        options = {"num_context": window.num_context, "whole_rows": whole_rows, "token_ids": ids}
        return self._pooling(task="token_classify", extra_kwargs=options)

    def _check_fused(self, settings: EngineSettings) -> None:
        """Compare the fused path's answers with whole rows. Raises ModelError if they differ."""
        windows = check_windows(settings.vocab_size, settings.window_tokens)
        asked = [(window, whole) for whole in (False, True) for window in windows]
        requests = [
            (f"check-{index}", window.prompt, self._parameters(window, whole_rows=whole))
            for index, (window, whole) in enumerate(asked)
        ]
        outputs = self._advance(requests)
        while len(outputs) < len(requests):
            outputs += self._advance([])
        data = {output.request_id: output.outputs.data.numpy() for output in outputs}
        found = [data[request_id] for request_id, _, _ in requests]
        wrong = find_disagreement(
            windows, found[: len(windows)], found[len(windows) :], settings.dtype
        )
        if wrong:
            raise ModelError(
                f"fused scoring of {settings.folder} {wrong}",
                hint=f"use {named('scoring')} prompt_logprobs",
            )

    def _deliver(self, output: Any) -> None:
        caller, key, window = self._waiting.pop(output.request_id)
        self._in_flight_tokens -= len(window.prompt)
        if self._meter is not None:
            self._meter.add(window)
        caller.outstanding -= 1
        logprobs = (pooled if self._fused else prompt_logprobs)(output, window)
        caller.arrived.append(WindowScore(key, logprobs))


def _is_out_of_memory(error: BaseException) -> bool:
    # torch has a class of its own for CUDA, and a RuntimeError from its allocator on the CPU.
    return isinstance(error, MemoryError) or any(
        phrase in str(error).lower() for phrase in ("out of memory", "can't allocate memory")
    )
