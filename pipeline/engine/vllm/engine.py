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
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.protocol import NO_WORK, Engine, EngineSettings, Usage, Work
from pipeline.engine.vllm.answers import failure, pooled, prompt_logprobs
from pipeline.engine.vllm.fused import import_failure, pooling_model
from pipeline.engine.vllm.lifetimes import STARTING_OR_ENDING, ended, opened
from pipeline.engine.vllm.roofline import Meter
from pipeline.engine.vllm.sizing import engine_arguments, freeze_gc, prepare_process
from pipeline.engine.vllm.startup_check import cannot_start, check_engine, check_fused
from pipeline.errors import EngineError, ModelError
from pipeline.schema import Window, WindowScore
from pipeline.storage.prefetch import POLL_SECONDS
from pipeline.tracing import Tracer

T = TypeVar("T")
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
        self._llm: Any = None
        try:
            self._result(self._thread.submit(self._open, settings))
            check_engine(self, settings)
            if self._fused:
                check_fused(self._answers, settings)
            self._busy_seconds, self._stepped = 0.0, None
            self._meter = self._result(self._thread.submit(Meter, settings))
        except Exception:
            self.close()
            raise
        except BaseException:
            # Ctrl-C ends the wait, not the load: what it has loaded is let go of when it ends.
            self._begin_to_close()
            raise

    def _result(self, asked: Future[T]) -> T:
        """What the engine's thread makes. Ctrl-C ends the wait, and not what is waited for."""
        while not wait([asked], POLL_SECONDS).done:
            pass
        return asked.result()

    def _open(self, settings: EngineSettings) -> None:
        with STARTING_OR_ENDING:
            self._start(settings)
            self._if_not_closed = opened(self, self._llm.engine_core)

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
        self._llm = llm.llm_engine
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
        self._begin_to_close().result()
        self._thread.shutdown()

    def _begin_to_close(self) -> Future[None]:
        self._is_closed = True
        stopping = self._thread.submit(self._stop)
        self._thread.shutdown(wait=False)
        return stopping

    def _stop(self) -> None:
        if self._llm is None:
            return  # it could not be loaded
        self._if_not_closed.detach()
        core, self._llm = self._llm.engine_core, None
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
                    # The next caller takes its answers where Ctrl-C ends the wait.
                    outputs = self._result(self._advancing)
                except Exception as error:
                    self._advancing = None
                    if self._is_closed:
                        raise EngineError("the engine was closed while it scored") from error
                    for waiting, _, _ in self._waiting.values():
                        waiting.failure = failure(error)
                    raise failure(error) from error
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

    def _answers(self, asked: Sequence[tuple[Window, bool]]) -> list[NDArray[np.float32]]:
        """Of the fused path, as they are, to (window, whole rows). Raises EngineError."""
        try:
            return self._result(self._thread.submit(self._advance_until_answered, asked))
        except Exception as error:
            raise failure(error) from error

    def _advance_until_answered(
        self, asked: Sequence[tuple[Window, bool]]
    ) -> list[NDArray[np.float32]]:
        requests = [
            (f"check-{index}", window.prompt, self._parameters(window, whole_rows=whole))
            for index, (window, whole) in enumerate(asked)
        ]
        outputs = self._advance(requests)
        while len(outputs) < len(requests):
            outputs += self._advance([])
        data = {output.request_id: output.outputs.data.numpy() for output in outputs}
        return [data[request_id] for request_id, _, _ in requests]

    def _deliver(self, output: Any) -> None:
        caller, key, window = self._waiting.pop(output.request_id)
        self._in_flight_tokens -= len(window.prompt)
        if self._meter is not None:
            self._meter.add(window)
        caller.outstanding -= 1
        logprobs = (pooled if self._fused else prompt_logprobs)(output, window)
        caller.arrived.append(WindowScore(key, logprobs))
