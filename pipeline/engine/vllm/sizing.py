"""What an engine is started with: threads, memory, step and arguments, for this machine.

Owns everything that is chosen before an engine exists; nothing is left to vLLM's defaults.

Prompt log-probabilities are a path that vLLM's memory profiling does not see: a step makes logits
of [step tokens, vocabulary], so the step is sized here from the vocabulary and the memory there is.
The fused path makes its logits a few rows at a time, inside that profile.
"""

import gc
import os
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.fitting import (
    LARGEST_GPU_STEP,
    LOGITS_BYTES,
    fitting_step,
    gpu_share,
    model_bytes,
    require_fit,
)
from pipeline.engine.vllm.fused import ORIGINAL
from pipeline.engine.vllm.measured import device_name, num_cpus, remembered_step
from pipeline.engine.vllm.quiet import quieten
from pipeline.engine.vllm.shape import kv_heads_of, read_shape

CPU_LOGITS_BYTES = 1 << 30
GPU_LOGITS_BYTES = 4 << 30
MEMORY_SHARE = 8
SMALLEST_STEP = 256
LARGEST_CPU_STEP = 4096
MAX_NUM_SEQS = 256
GPU_NUM_SEQS = 512
"""Of the fused path, which has two steps on their way: both are full of windows of 64 tokens."""
PLUGIN = "winnow"
"""Name of our entry point among vLLM's general plugins."""
CPU_KERNELS = {"rms_norm": "winnow", "fused_add_rms_norm": "winnow"}
"""Those of norms.py wherever they apply, vLLM's own elsewhere."""
COLLECT_AFTER = (20_000, 20, 20)
"""Number of new objects after which garbage is collected, as for `gc.set_threshold`."""
COLLECT_BEFORE = gc.get_threshold()

# Minutes of work: a cluster and a machine with a GPU are a hundred times faster.
CPU_SHARD_TOKENS = 200_000
GPU_SHARD_TOKENS = 20_000_000


class Machine(NamedTuple):
    """What an engine may use of this machine."""

    gpu_bytes: int | None
    """Bytes of memory of the accelerator; None without one."""
    free_bytes: int
    """Bytes of free main memory."""
    num_cpus: int
    device: str = ""
    """Its name, if this is the machine; what was measured on it counts."""


class Choice(NamedTuple):
    """A size, the reason for it, and what overrides it."""

    value: float
    reason: str
    setting: str | None


class Sizes(NamedTuple):
    """Everything about an engine that follows from model and machine."""

    step_tokens: Choice
    num_seqs: Choice
    memory: Choice
    """Share of the accelerator's memory, or bytes for the cache of keys and values on a CPU."""
    num_threads: Choice


def has_gpu() -> bool:
    """Whether this machine has an accelerator that vLLM can use, without importing torch."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()


def default_shard_tokens(address: str | None = None) -> int:
    """The size of a shard where none is asked for, on a cluster or on this machine."""
    return GPU_SHARD_TOKENS if address or has_gpu() else CPU_SHARD_TOKENS


def this_machine() -> Machine:
    """The memory and CPUs of this machine that are free now. Imports torch."""
    import torch

    gpu_bytes = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else None
    return Machine(gpu_bytes, psutil.virtual_memory().available, num_cpus(), device_name())


def choose_sizes(settings: EngineSettings, machine: Machine) -> Sizes:
    """Every size with its reason: what an engine is started with."""
    fused, on_gpu = settings.scoring == "fused", machine.gpu_bytes is not None
    engines = settings.engines_per_gpu
    total = machine.gpu_bytes // engines if machine.gpu_bytes is not None else machine.free_bytes
    most_bytes = GPU_LOGITS_BYTES if on_gpu else CPU_LOGITS_BYTES
    largest = LARGEST_GPU_STEP if on_gpu else LARGEST_CPU_STEP
    room = min(most_bytes, total // MEMORY_SHARE)
    if settings.max_num_batched_tokens:
        tokens, why = settings.max_num_batched_tokens, "as asked"
    elif fused:
        tokens = largest
        why = f"the largest step on {'a GPU' if on_gpu else 'a CPU'}: logits are computed in pieces"
    else:
        tokens = choose_step_tokens(settings.vocab_size, room, largest)
        why = (
            f"logits of a step take {LOGITS_BYTES} bytes for each of {settings.vocab_size:,} "
            f"vocabulary entries per token, and may take {room / 2**30:.2g} GiB"
        )
    shape = read_shape(settings.folder) if on_gpu else None
    if shape is not None and not settings.max_num_batched_tokens:
        weights = model_bytes(settings.folder, settings.dtype, shape)
        fitting = fitting_step(shape, weights, settings, total, tokens)
        if fitting < tokens:
            tokens, why = fitting, "what the weights leave room for"
    measured = remembered_step(settings, machine.device)
    if measured and measured < tokens and not settings.max_num_batched_tokens:
        tokens, why = measured, "the fastest of those measured on this machine"
    if on_gpu:
        # The public path's logits are outside of vLLM's memory profile: leave room for them.
        logits = 0 if fused else tokens * LOGITS_BYTES * settings.vocab_size
        share = gpu_share(total, logits)
        left = "no extra room for logits" if fused else f"{logits / 2**30:.2g} GiB left for logits"
        whole = f"{engines * total / 2**30:.3g} GiB"
        shared = f", of {engines} engines" if engines > 1 else ""
        memory = Choice(share / engines, f"share of {whole}{shared}; {left}", None)
    else:
        size, cached = _cache_bytes(settings, tokens)
        memory = Choice(
            size, f"bytes of KV cache, for {cached:,} tokens: enough for a few steps", None
        )
    threads = settings.num_threads or machine.num_cpus
    most_seqs = GPU_NUM_SEQS if fused and on_gpu else MAX_NUM_SEQS
    return Sizes(
        step_tokens=Choice(tokens, why, "max_num_batched_tokens"),
        num_seqs=Choice(
            min(most_seqs, tokens),
            f"at most {most_seqs}, and no more than there are tokens per step",
            None,
        ),
        memory=memory,
        num_threads=Choice(threads, f"this process may use {machine.num_cpus} CPUs", "workers"),
    )


def choose_step_tokens(vocab_size: int, memory_bytes: int, largest: int) -> int:
    """Tokens per step so that the logits of one step fit in `memory_bytes`; a multiple of 256."""
    fitting = memory_bytes // (LOGITS_BYTES * max(vocab_size, 1))
    return max(SMALLEST_STEP, min(largest, fitting // SMALLEST_STEP * SMALLEST_STEP))


def prepare_process(num_threads: int | None = None) -> None:
    """Set what vLLM reads from the environment and torch from its thread; before importing vLLM."""
    quieten()
    import torch
    import torch._dynamo.config

    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # In this process: dies with it, starts sooner, and fails with the error itself; from a
        # process of vLLM's own only "initialization failed" or "engine dead" arrives, which hides
        # that memory ran out. Not slower: RESULTS.md, "GPUs".
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    if not torch.cuda.is_available():
        defaults |= {
            # The default leaves one core idle, and binds every actor to the same ones.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # The one compiled function of this path computes unused ranks; compiling it needs
            # g++ and takes longer than it ever saves.
            "TORCH_COMPILE_DISABLE": "1",
        }
        torch.set_num_threads(num_threads or num_cpus())
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Read when it was imported, which in a Ray worker it has been by now.
    torch._dynamo.config.disable = os.environ.get("TORCH_COMPILE_DISABLE") == "1"


def freeze_gc() -> None:
    """Make garbage collection cheap for this process, now that what lasts has been made.

    vLLM's heap is large; scanning it on every collection would cost more than handling the results.
    Documents on their way are many small objects, hardly ever garbage in cycles: looking for it
    every 700 of them, as Python does, takes a fifth of our own time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def unfreeze_gc() -> None:
    """As it was before: what was frozen, the caller's own too, would never be collected."""
    gc.unfreeze()
    gc.set_threshold(*COLLECT_BEFORE)


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """The arguments of `vllm.LLM`, sized for this machine.

    Raises ModelError if the model is certain not to fit on its GPUs.
    """
    machine = this_machine()
    if machine.gpu_bytes is not None:
        require_fit(settings, machine.gpu_bytes // settings.engines_per_gpu)
    sizes = choose_sizes(settings, machine)
    if machine.gpu_bytes is not None:
        sizing: dict[str, Any] = {
            "gpu_memory_utilization": sizes.memory.value,
            # The next step is prepared while the GPU computes this one. Off by default for pooling.
            "async_scheduling": True,
        }
        if settings.engines_per_gpu > 1:
            # vLLM would measure what is free while the others are starting.
            cache, _ = _cache_bytes(settings, int(sizes.step_tokens.value))
            sizing["kv_cache_memory_bytes"] = cache
    else:
        sizing = {"enforce_eager": True, "kv_cache_memory_bytes": int(sizes.memory.value)}
        if _loads_our_plugin():
            sizing["ir_op_priority"] = CPU_KERNELS
    return {
        "model": settings.folder,
        "dtype": settings.dtype,
        # Whatever else is in the folder: pickled weights are code.
        "load_format": "safetensors",
        # Generation needs room for the one token it makes after the prompt.
        "max_model_len": settings.window_tokens + 1,
        "max_num_batched_tokens": int(sizes.step_tokens.value),
        "max_num_seqs": int(sizes.num_seqs.value),
        "enable_chunked_prefill": True,
        # Never read for prompt log-probabilities, yet every block would be hashed.
        "enable_prefix_caching": False,
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "trust_remote_code": settings.trust_remote_code,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "seed": 0,
        **sizing,
        # Inside a Ray actor vLLM might ask Ray for actors of its own; the GPUs are this actor's.
        **({"distributed_executor_backend": "mp"} if settings.tensor_parallel_size > 1 else {}),
        **(_fused_arguments(settings.architecture) if settings.scoring == "fused" else {}),
    }


def _loads_our_plugin() -> bool:
    """Whether vLLM calls fused.py's `register`: VLLM_PLUGINS, where set, is all that it loads."""
    named = os.environ.get("VLLM_PLUGINS")
    return named is None or PLUGIN in named.split(",")


def _fused_arguments(architecture: str) -> dict[str, Any]:
    # head_dtype: pooling models compute their head in float32 unless told otherwise; the same
    # dtype on both paths gives the same scores.
    overrides = {ORIGINAL: architecture, "head_dtype": "model"}
    return {"runner": "pooling", "hf_overrides": overrides}


def _cache_bytes(settings: EngineSettings, step_tokens: int) -> tuple[int, int]:
    """The size of a cache of keys and values, and for how many tokens that is.

    A document holds its cache only until its last token is scored, so a few steps' worth is plenty;
    vLLM would take gigabytes and on a CPU fill them with zeros at start-up.
    """
    cached = settings.window_tokens + 4 * max(step_tokens, settings.window_tokens)
    return max(64 << 20, cached * _kv_bytes_per_token(settings)), cached


def _kv_bytes_per_token(settings: EngineSettings) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        settings.folder, trust_remote_code=settings.trust_remote_code
    ).get_text_config()
    # Of some models layers differ, and the configuration of all refuses to say.
    layers = getattr(config, "per_layer_config", None) or [config] * config.num_hidden_layers
    element = 4 if settings.dtype == "float32" else 2
    return int(2 * element * sum(map(_layer_elements, layers)))


def _layer_elements(config: Any) -> int:
    """Keys of a token in a layer, or its values."""
    heads = getattr(config, "num_attention_heads", None) or 1  # without attention there are none
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(kv_heads_of(lambda name: getattr(config, name, None), heads) * size)
