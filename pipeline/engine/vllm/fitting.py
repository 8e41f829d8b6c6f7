"""Does a model fit on a GPU, with which step, and if it does not, what would? Arithmetic alone.

Owns what an engine's memory is made of. What is certain (weights, the keys and values of one
window) decides about refusing a model before an engine is started; what is estimated (the states
of a step, kernels' own memory) decides how large a step is chosen and is never refused for.
"""

from pathlib import Path
from typing import NamedTuple

from pipeline.engine.devices import DEVICES, Device
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.model import ELEMENT_BYTES, read_config, weight_bytes
from pipeline.engine.vllm.quantization import weight_bits
from pipeline.engine.vllm.shape import Shape, read_shape
from pipeline.errors import ModelError, named

GPU_SHARE = 0.92
"""Of a GPU's memory that an engine takes; the rest is for CUDA's context and what others hold."""
SMALLEST_SHARE = 0.3
LARGEST_GPU_STEP = 16384
SMALLEST_GPU_STEP = 1024
PIECE_BYTES = 1 << 30
BYTES_PER_LOGIT = 6
"""Of the fused path's logits, as pooler.py makes them on a GPU."""
LOGITS_BYTES = 8
"""Of the public path's, per token of a step and vocabulary entry: logits in 2 or 4 bytes, their
float32 log-softmax, and one byte for the comparison that ranks the token."""
STATES_PER_TOKEN = 4
"""Copies of a hidden state that are alive at once: residual, input, attention's output, norm."""
KERNEL_BYTES = 1 << 29
"""Graphs, workspaces and what a communicator holds; seen to be 0.3 to 1 GiB."""
ENGINE_GPUS = (1, 2, 4, 8)
"""GPUs per engine that are tried, in one machine."""


class Need(NamedTuple):
    """Bytes that an engine takes on each of its GPUs."""

    weights: int
    cache: int
    """Of keys and values, for one window: the engine does not start with less."""
    step: int
    """States and logits of a step, estimated."""
    logits: int
    """Of the public path, outside of what vLLM plans with."""

    @property
    def certain(self) -> int:
        """Without these nothing runs."""
        return self.weights + self.cache

    @property
    def expected(self) -> int:
        """Within the share that vLLM is given."""
        return self.certain + self.step + KERNEL_BYTES


def memory_need(
    shape: Shape, weights: int, settings: EngineSettings, step_tokens: int, num_gpus: int
) -> Need:
    """What an engine takes on each of `num_gpus`, if it steps by so many tokens."""
    element = ELEMENT_BYTES[settings.dtype]
    cached = settings.window_tokens + 1
    # Fewer heads of keys than GPUs are repeated, not split.
    split = min(num_gpus, shape.kv_heads)
    states = STATES_PER_TOKEN * shape.hidden + shape.matrices * shape.intermediate // num_gpus
    entries = settings.vocab_size
    fused = settings.scoring == "fused"
    pieces = min(PIECE_BYTES, step_tokens * BYTES_PER_LOGIT * entries // num_gpus) if fused else 0
    return Need(
        weights=weights // num_gpus,
        cache=shape.cache_bytes(cached, settings.dtype) // split,
        step=step_tokens * states * element + pieces,
        logits=0 if fused else step_tokens * LOGITS_BYTES * entries,
    )


def gpu_share(total: int, logits: int) -> float:
    """Of a GPU's memory that vLLM is given: the public path's logits are outside of its profile."""
    return max(SMALLEST_SHARE, GPU_SHARE - logits / total)


def fitting_step(
    shape: Shape, weights: int, settings: EngineSettings, total: int, largest: int
) -> int:
    """The largest step, halved from `largest`, that is expected to fit; the smallest if none."""
    step = largest
    while step // 2 >= SMALLEST_GPU_STEP:
        need = memory_need(shape, weights, settings, step, settings.tensor_parallel_size)
        if need.expected <= gpu_share(total, need.logits) * total:
            break
        step //= 2
    return step


def model_bytes(folder: str, dtype: str, shape: Shape) -> int:
    """What the weights take: of the files if they are there, else of the configuration."""
    there = any(Path(folder).glob("*.safetensors"))
    if there and (size := weight_bytes(folder, dtype)):
        return size
    if bits := weight_bits(read_config(Path(folder))):
        # Never too many, or a model that fits would be refused.
        return shape.num_parameters * bits // 8
    return shape.num_parameters * ELEMENT_BYTES[dtype]


def is_certain_not_to_fit(
    shape: Shape, weights: int, settings: EngineSettings, total: int, num_gpus: int
) -> bool:
    """Whether the weights and one window leave nothing, with the smallest step."""
    need = memory_need(shape, weights, settings, SMALLEST_GPU_STEP, num_gpus)
    return need.certain > gpu_share(total, need.logits) * total


def require_fit(settings: EngineSettings, total: int, device: Device | None = None) -> None:
    """Raises ModelError if an engine cannot start on GPUs of so much memory, with what would fit.

    A model without a shape is let through: vLLM says what it thinks.
    """
    shape = read_shape(settings.folder)
    if shape is None:
        return
    weights = model_bytes(settings.folder, settings.dtype, shape)
    num_gpus = settings.tensor_parallel_size
    if not is_certain_not_to_fit(shape, weights, settings, total, num_gpus):
        return
    need = memory_need(shape, weights, settings, SMALLEST_GPU_STEP, num_gpus)
    usable = gpu_share(total, need.logits) * total
    engines = settings.engines_per_gpu
    what = "a GPU of" if engines == 1 else f"a GPU that {engines} engines share, each with"
    where = device.name if device else f"{what} {_gib(total)}"
    split = f" on each of {num_gpus} GPUs" if num_gpus > 1 else ""
    raise ModelError(
        f"{settings.folder} does not fit on {where}: weights of {_gib(need.weights)} and the cache "
        f"of one window, {_gib(need.cache)},{split} exceed the {_gib(usable)} there are",
        hint=what_would_fit(shape, weights, settings, total),
    )


def what_would_fit(shape: Shape, weights: int, settings: EngineSettings, total: int) -> str:
    """What to type, or to use, instead."""
    if settings.engines_per_gpu > 1:
        return f"use fewer {named('engines_per_gpu')}"
    advice = []
    for num_gpus in ENGINE_GPUS:
        splits = num_gpus > settings.tensor_parallel_size and shape.heads % num_gpus == 0
        if splits and not is_certain_not_to_fit(shape, weights, settings, total, num_gpus):
            advice.append(f"{named('tensor_parallel_size')} {num_gpus}")
            break
    for device in sorted(DEVICES.values(), key=lambda one: one.memory_gib):
        there = int(device.memory_gib * 2**30)
        num_gpus = settings.tensor_parallel_size
        larger = there > total
        if larger and not is_certain_not_to_fit(shape, weights, settings, there, num_gpus):
            advice.append(f"a larger GPU ({device.name}, {device.memory_gib:.0f} GiB)")
            break
    if settings.dtype == "float32":
        advice.append(f"{named('dtype')} bfloat16")
    if not advice:
        return f"no {max(ENGINE_GPUS)} GPUs of this kind fit it: use a smaller model"
    return f"use {', or '.join(advice)}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
