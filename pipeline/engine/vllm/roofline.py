"""How much of what its device could compute an engine needed: model FLOPs utilization (MFU).

Owns counting floating-point operations, and the peak that they are divided by. Counted is what the
model asks for, two per weight and token: the body for every token of a prompt, the head for each
token that is scored, attention by each prompt's own length; not what an engine does beside it. The
peak is a GPU's data sheet's (devices.py). A CPU has none that holds for it: what products of
matrices reach is measured, when an engine starts, and the best that was seen is kept in the cache
folder, as a machine that is busy reaches less.
"""

import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.devices import find_device, processor_name
from pipeline.engine.protocol import NO_WORK, EngineSettings, Work
from pipeline.engine.vllm.model import read_config
from pipeline.engine.vllm.quantization import multiplies_quantized
from pipeline.engine.vllm.shape import read_shape
from pipeline.schema import Window
from pipeline.storage.cache import recall, remember

PEAKS = "cpu-peaks.json"
PRODUCT = (2048, 2048, 2048)
"""Rows, inputs and outputs: large enough that a CPU computes and does not wait for memory."""
MEASURED_SECONDS = 0.3
FEWEST_PRODUCTS = 2


class Operations(NamedTuple):
    """Floating-point operations of a model."""

    per_token: int
    """Of the body, attention left out."""
    per_scored_token: int
    """Of the head."""
    per_pair: int
    """Of one layer's attention: a token and one that it looks at."""
    spans: tuple[int | None, ...]
    """How far back each layer looks, itself included; None where it looks at all before it."""

    def of(self, window: Window) -> int:
        """What scoring a prompt takes."""
        length = len(window.prompt)
        pairs = sum(_pairs(length, span) for span in self.spans)
        scored = length - window.num_context
        return length * self.per_token + scored * self.per_scored_token + pairs * self.per_pair


def _pairs(length: int, span: int | None) -> int:
    if span is None or span >= length:
        return length * (length + 1) // 2
    return span * (span + 1) // 2 + (length - span) * span


def operations_of(folder: str) -> Operations | None:
    """Those of a model; None where its configuration does not tell its shape."""
    shape = read_shape(folder)
    if shape is None:
        return None
    return Operations(
        per_token=2 * shape.num_layers * shape.active_layer_parameters,
        per_scored_token=2 * shape.head_parameters,
        per_pair=4 * shape.heads * shape.head_dim,
        spans=shape.spans,
    )


class Meter:
    """Counts what one engine does; nothing, where its model or its device is not known."""

    def __init__(self, settings: EngineSettings) -> None:
        """To be made in the thread that computes."""
        import torch

        # Where activations are quantized too, the peak of the dtype is no limit.
        is_other = multiplies_quantized(read_config(Path(settings.folder)))
        self._peak = 0.0 if is_other else peak_of(settings, torch.get_num_threads()) or 0.0
        self._operations = operations_of(settings.folder) if self._peak else None
        self._done = self._taken = NO_WORK
        self._lock = threading.Lock()

    def add(self, window: Window) -> None:
        """A prompt is scored."""
        if self._operations is not None:
            with self._lock:
                flops = self._done.flops + self._operations.of(window)
                self._done = self._done._replace(flops=flops)

    def take(self, seconds: float) -> Work:
        """What was done since the last call; `seconds` are those in use since the first step."""
        if self._operations is None:
            return NO_WORK
        with self._lock:
            done, taken = self._done._replace(peak_flops=seconds * self._peak), self._taken
            self._taken = done
        return Work(done.flops - taken.flops, done.peak_flops - taken.peak_flops)


def peak_of(settings: EngineSettings, num_threads: int) -> float | None:
    """Floating-point operations per second of what an engine has; None where that is not known.

    Measures, on a CPU, in the thread and with the threads that will compute.
    """
    import torch

    if not torch.cuda.is_available():
        return _best_seen(settings.dtype, num_threads, measure_peak(settings.dtype))
    device = find_device(torch.cuda.get_device_name())
    if device is None or settings.dtype == "float32":
        return None
    return device.bf16_tflops * 1e12 * settings.tensor_parallel_size / settings.engines_per_gpu


def measure_peak(dtype: str, clock: Any = time.perf_counter) -> float:
    """What the fastest of some products of matrices reaches, in operations per second."""
    import torch

    rows, inputs, outputs = PRODUCT
    kind = getattr(torch, dtype)
    states, weights = torch.randn(rows, inputs).to(kind), torch.randn(outputs, inputs).to(kind)
    seconds = list[float]()
    with torch.inference_mode():
        while len(seconds) < FEWEST_PRODUCTS or sum(seconds) < MEASURED_SECONDS:
            began = clock()
            torch.nn.functional.linear(states, weights)
            seconds.append(clock() - began)
    return 2.0 * rows * inputs * outputs / min(seconds)


def _best_seen(dtype: str, num_threads: int, found: float) -> float:
    """The best of now and every time before, of this processor, dtype and number of threads."""
    key = f"{processor_name()}, {dtype}, {num_threads} threads"
    seen = recall(PEAKS) or {}
    best = seen.get(key)
    if isinstance(best, float) and best >= found:
        return best
    remember(PEAKS, seen | {key: found})
    return found
