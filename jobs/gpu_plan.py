"""How a model would be scored with on a GPU that need not be here: rows for `winnow doctor --gpu`.

Owns the words. What fits and which sizes follow is pipeline/engine/vllm/fitting.py's and
sizing.py's: an engine on such a GPU starts with what is shown.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pipeline.engine.devices import Device
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.fitting import (
    ENGINE_GPUS,
    KERNEL_BYTES,
    gpu_share,
    is_certain_not_to_fit,
    memory_need,
    model_bytes,
    require_fit,
)
from pipeline.engine.vllm.model import choose_dtype, choose_window_tokens, load_model
from pipeline.engine.vllm.shape import Shape, read_shape
from pipeline.engine.vllm.sharing import choose_engines_per_gpu
from pipeline.engine.vllm.sizing import Machine, Sizes, choose_sizes
from pipeline.rendering.formats import size
from pipeline.settings.fields import option_of

Status = Literal["ok", "warning", "problem"]
Row = tuple[str, Status, str, str]
"""Name, status, what was found, what to do."""
HOST = (64 << 30, 16)
"""Memory and CPUs of a machine with a GPU, as far as sizes depend on them."""


def machine_with(device: Device) -> Machine:
    """A machine that has this GPU."""
    return Machine(int(device.memory_gib * 2**30), *HOST)


def plan_on_gpu(name: str, device: Device) -> Iterator[Row]:
    """The plan in rows. Raises ModelError."""
    yield (
        *("GPU", "ok"),
        f"{device.name}: {device.memory_gib:.3g} GiB, {device.bf16_tflops:,.0f} TFLOPS in bfloat16"
        f", {device.bandwidth_gbs:,.0f} GB/s",
        device.source,
    )
    model = load_model(name, revision=None, trust_remote_code=False, config_only=True)
    dtype, window_tokens = choose_dtype("auto", model), choose_window_tokens(None, model, 1)
    scoring = VllmBackend().choose_path("auto", model)
    settings = EngineSettings(
        *(model.folder, dtype, window_tokens, model.vocab_size),
        scoring=scoring,
        architecture=model.architecture,
    )
    shape = read_shape(model.folder)
    if shape is None:
        found = f"{model.architecture}: its memory does not follow from its config.json"
        yield "model", "warning", found, "try it on the GPU"
        return
    machine = machine_with(device)
    total = machine.gpu_bytes or 0
    weights = model_bytes(model.folder, dtype, shape)
    settings = replace(
        settings, tensor_parallel_size=_fewest_gpus(shape, weights, settings, total) or 1
    )
    require_fit(settings, total, device)
    num_gpus = settings.tensor_parallel_size
    billions = f"{shape.num_parameters / 1e9:.3g} billion parameters"
    held = f"{size(weights)} in {dtype}"
    if model.quantization:
        held = f"at least {size(weights)} as {model.quantization}"
    found = f"{model.architecture}, {billions}, {held}"
    yield "model", "ok", found, ""
    yield "scoring path", "ok", str(scoring), f"set it with {option_of('scoring')}"
    todo = f"{option_of('tensor_parallel_size')} {num_gpus}" if num_gpus > 1 else ""
    yield "GPUs per engine", "ok", f"{num_gpus}: the fewest that the model fits on", todo
    sizes = choose_sizes(settings, machine)
    auto = choose_engines_per_gpu("auto", weights, num_gpus)
    found = f"1, and {auto.value:.0f} where auto is asked for: {auto.reason}"
    yield "engines per GPU", "ok", found, f"set it with {option_of('engines_per_gpu')}"
    yield _memory(shape, weights, settings, total, int(sizes.step_tokens.value))
    for row, found, todo in rows_of(sizes):
        if row != "num threads":  # of a machine that is not here
            yield row, "ok", found, todo


def rows_of(sizes: Sizes) -> Iterator[tuple[str, str, str]]:
    """Each size: its name, the value with its reason, and what sets it."""
    for key, choice in sizes._asdict().items():
        value = f"{choice.value:,.0f}" if choice.value > 1 else f"{choice.value:.2f}"
        todo = f"set it with {option_of(choice.setting)}" if choice.setting else ""
        yield key.replace("_", " "), f"{value}: {choice.reason}", todo


def _fewest_gpus(shape: Shape, weights: int, settings: EngineSettings, total: int) -> int | None:
    for num_gpus in ENGINE_GPUS:
        splits = shape.heads % num_gpus == 0
        if splits and not is_certain_not_to_fit(shape, weights, settings, total, num_gpus):
            return num_gpus
    return None


def _memory(
    shape: Shape, weights: int, settings: EngineSettings, total: int, step_tokens: int
) -> Row:
    need = memory_need(shape, weights, settings, step_tokens, settings.tensor_parallel_size)
    share = gpu_share(total, need.logits) * total
    parts = f"weights {size(need.weights)}, cache of a window {size(need.cache)}"
    parts += f", a step about {size(need.step + KERNEL_BYTES)}"
    if need.logits:
        parts += f", its logits {size(need.logits)} beside them"
    found = f"{parts}; of {size(int(share))} of {size(total)}"
    if need.expected > share:
        return "memory per GPU", "warning", f"{found}: it may not suffice", "use more GPUs"
    return "memory per GPU", "ok", found, ""
