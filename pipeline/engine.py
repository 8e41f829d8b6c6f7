"""Windows to log-probabilities: the Engine protocol, and vLLM behind it.

Owns everything that is vLLM's: how it is sized and started, how prompts are fed so that it never
runs dry, and how its answer is checked. The only module that imports vLLM, and only inside the
class that needs it.

Prompt log-probabilities are a path that vLLM's memory profiling does not see: a step makes logits
of [step tokens, vocabulary], so the step is sized here from the vocabulary and the memory there is.
"""

import gc
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import psutil

from pipeline.errors import EngineError, ModelError
from pipeline.schema import Window, WindowScore

# Per token and vocabulary entry of a step: logits in 2 or 4 bytes, their float32 log-softmax, and
# one byte for the comparison that ranks the token.
LOGITS_BYTES = 8
CPU_LOGITS_BYTES = 1 << 30
GPU_LOGITS_BYTES = 4 << 30
MEMORY_SHARE = 8
SMALLEST_STEP = 256
LARGEST_CPU_STEP = 4096
LARGEST_GPU_STEP = 16384
MAX_NUM_SEQS = 256
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


class Engine(Protocol):
    """Anything that scores windows."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        """Score keyed windows, in any order, pulling no more of them than keeps it busy.

        Safe to call from several threads; each gets its own windows' scores. Raises EngineError
        when the engine is beyond use.
        """
        ...


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is started with; nothing here is left for vLLM to guess."""

    folder: str
    dtype: str
    window_tokens: int
    vocab_size: int
    trust_remote_code: bool = False
    num_threads: int | None = None
    """CPU threads; by default all that this process may use."""
    max_num_batched_tokens: int | None = None
    """Tokens a step; by default `choose_step_tokens`."""


def choose_step_tokens(vocab_size: int, memory_bytes: int, largest: int) -> int:
    """Tokens per step so that the logits of one step fit in `memory_bytes`; a multiple of 256."""
    fitting = memory_bytes // (LOGITS_BYTES * max(vocab_size, 1))
    return max(SMALLEST_STEP, min(largest, fitting // SMALLEST_STEP * SMALLEST_STEP))


@dataclass(slots=True)
class _Caller:
    """One `score` call: what it waits for and what has arrived for it."""

    outstanding: int = 0
    arrived: list[WindowScore] = field(default_factory=list)


class VllmEngine:
    """Scores through vLLM's public prompt log-probabilities, in this process.

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
        self._added: list[tuple[str, list[int]]] = []
        self._in_flight_tokens = 0
        self._next_id = 0
        self._thread.submit(self._start, settings).result()

    def _start(self, settings: EngineSettings) -> None:
        prepare_process(settings.num_threads)
        try:
            from vllm import LLM, SamplingParams
            from vllm.inputs import tokens_input
        except ImportError as error:
            raise ModelError(
                f"vLLM cannot be imported: {error}",
                hint="install winnow-ppl[cpu] or winnow-ppl[gpu]",
            ) from error
        arguments = engine_arguments(settings)
        self.step_tokens: int = arguments["max_num_batched_tokens"]
        try:
            llm = LLM(**arguments)
        except Exception as error:  # vLLM and pydantic raise many unrelated kinds
            raise ModelError(
                f"vLLM cannot score with {settings.folder}: {_reason(error)}",
                hint="vLLM must support the architecture as a causal language model",
            ) from error
        self._llm: Any = llm.llm_engine
        self._prompt: Any = tokens_input
        self._params = SamplingParams(**SAMPLING)
        # vLLM's heap is large and lasting; scanning it on every collection would cost more than
        # handling the results.
        gc.collect()
        gc.freeze()

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        caller = _Caller()
        with self._feeding:
            for key, window in windows:
                while self._is_full():
                    yield from self._step(caller)
                self._add(caller, key, window)
        # The last results drain while the next caller already feeds.
        while caller.outstanding or caller.arrived:
            yield from self._step(caller)

    def close(self) -> None:
        """Stop the engine thread; the engine cannot be used afterwards."""
        self._thread.shutdown()

    def _is_full(self) -> bool:
        return (
            self._in_flight_tokens >= STEPS_AHEAD * self.step_tokens
            or len(self._waiting) >= 2 * MAX_NUM_SEQS
        )

    def _add(self, caller: _Caller, key: int, window: Window) -> None:
        with self._stepping:
            request_id = str(self._next_id)
            self._next_id += 1
            self._waiting[request_id] = (caller, key, window)
            self._added.append((request_id, window.prompt))
            self._in_flight_tokens += len(window.prompt)
            caller.outstanding += 1

    def _step(self, caller: _Caller) -> list[WindowScore]:
        """Advance the engine once, for everybody, unless `caller` has results to take."""
        with self._stepping:
            if not caller.arrived:
                added, self._added = self._added, []
                try:
                    outputs = self._thread.submit(self._advance, added).result()
                except Exception as error:
                    raise EngineError(f"the engine failed: {_reason(error)}") from error
                for output in outputs:
                    self._deliver(output)
            arrived, caller.arrived = caller.arrived, []
            return arrived

    def _advance(self, added: list[tuple[str, list[int]]]) -> list[Any]:
        for request_id, prompt in added:
            self._llm.add_request(request_id, self._prompt(prompt), self._params)
        return [output for output in self._llm.step() if output.finished]

    def _deliver(self, output: Any) -> None:
        caller, key, window = self._waiting.pop(output.request_id)
        self._in_flight_tokens -= len(window.prompt)
        caller.outstanding -= 1
        caller.arrived.append(WindowScore(key, _logprobs(output, window)))


def _logprobs(output: Any, window: Window) -> Any:
    """The scored tokens' log-probabilities, after checking that they are these tokens'."""
    flat = output.prompt_logprobs
    if flat is None or flat.token_ids != window.prompt[1:]:
        raise EngineError("the engine answered with log-probabilities of other tokens")
    return np.asarray(flat.logprobs[window.num_context - 1 :], dtype=np.float64)


def prepare_process(num_threads: int | None = None) -> None:
    """Set what vLLM reads from the environment and torch from its thread; before importing vLLM."""
    import torch

    defaults = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if not torch.cuda.is_available():
        defaults |= {
            # In this process: dies with it, and starts in seconds.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            # The default leaves one core idle, and binds every actor to the same ones.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # The one compiled function of this path counts ranks nobody reads; compiling it needs
            # g++ and takes longer than it ever saves.
            "TORCH_COMPILE_DISABLE": "1",
        }
        torch.set_num_threads(num_threads or len(os.sched_getaffinity(0)))
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """The arguments of `vllm.LLM`, sized for this machine."""
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.mem_get_info()[1]
        memory, largest = min(GPU_LOGITS_BYTES, total // MEMORY_SHARE), LARGEST_GPU_STEP
    else:
        available = psutil.virtual_memory().available
        memory, largest = min(CPU_LOGITS_BYTES, available // MEMORY_SHARE), LARGEST_CPU_STEP
    step_tokens = settings.max_num_batched_tokens or choose_step_tokens(
        settings.vocab_size, memory, largest
    )
    if torch.cuda.is_available():
        # The logits are outside of vLLM's memory profile: leave their room out of its share.
        room = step_tokens * LOGITS_BYTES * settings.vocab_size
        sizing: dict[str, Any] = {"gpu_memory_utilization": max(0.3, 0.92 - room / total)}
    else:
        # A document holds its cache only until its last token is scored, so a few steps' worth is
        # plenty; vLLM would take gigabytes and fill them with zeros at start-up.
        tokens = settings.window_tokens + 4 * max(step_tokens, settings.window_tokens)
        cache_bytes = max(64 << 20, tokens * _kv_bytes_per_token(settings))
        sizing = {"enforce_eager": True, "kv_cache_memory_bytes": cache_bytes}
    return {
        "model": settings.folder,
        "dtype": settings.dtype,
        # Generation needs room for the one token it makes after the prompt.
        "max_model_len": settings.window_tokens + 1,
        "max_num_batched_tokens": step_tokens,
        "max_num_seqs": min(MAX_NUM_SEQS, step_tokens),
        "enable_chunked_prefill": True,
        # Never read for prompt log-probabilities, yet every block would be hashed.
        "enable_prefix_caching": False,
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "trust_remote_code": settings.trust_remote_code,
        "seed": 0,
        **sizing,
    }


def _kv_bytes_per_token(settings: EngineSettings) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        settings.folder, trust_remote_code=settings.trust_remote_code
    ).get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    element = 4 if settings.dtype == "float32" else 2
    return int(2 * config.num_hidden_layers * heads * size * element)


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
