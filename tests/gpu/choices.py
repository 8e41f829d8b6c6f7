"""What is chosen for each GPU, model and scoring path: by us, to be held against choices.tsv.

`tests.gpu.check` adds what vLLM makes of it; this half needs no vLLM.
"""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jobs.gpu_plan import machine_with
from pipeline.engine.devices import DEVICES
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.fitting import gpu_share, memory_need, model_bytes, require_fit
from pipeline.engine.vllm.model import choose_window_tokens, load_model
from pipeline.engine.vllm.shape import read_shape
from pipeline.engine.vllm.sizing import choose_sizes
from pipeline.errors import ModelError
from tests.support.gpu_models import CONFIGS, save_config

TABLE = Path(__file__).with_name("choices.tsv")
ONE_GPU = ("a100-40gb", "a100-80gb", "h100", "h200", "b200", "l4", "l40s", "rtx4090")
SEVERAL = {"h100": 2, "l40s": 4}
SPLIT = ("Mistral-7B-v0.1", "Llama-3.1-8B", "Qwen3-14B", "Qwen2.5-32B", "Llama-3.1-70B")
"""Models that are worth more than one GPU."""
KEYS = ("device", "gpus", "model", "path")
OURS = ("step", "share", "logits_gib", "need_gib", "verdict", "why")
THEIRS = ("runner", "v2", "graphs", "compiled", "async")
"""What vLLM makes of our arguments; empty where an engine is refused before it is asked."""


class Case(NamedTuple):
    """One engine that might be started."""

    device: str
    gpus: int
    model: str
    path: str


def cases() -> Iterator[Case]:
    """Every engine of the table."""
    pairs = [(device, 1, tuple(CONFIGS)) for device in ONE_GPU]
    pairs += [(device, gpus, SPLIT) for device, gpus in SEVERAL.items()]
    for device, gpus, models in pairs:
        for model in models:
            for path in ("fused", "prompt_logprobs"):
                yield Case(device, gpus, model, path)


def settings_of(case: Case, folder: Path) -> EngineSettings | None:
    """What the engine would be started with; None where the path is not for this architecture."""
    where = str(save_config(folder, case.model))
    model = load_model(where, revision=None, trust_remote_code=False, config_only=True)
    if case.path == "fused" and VllmBackend().choose_path("auto", model) != "fused":
        return None
    window = choose_window_tokens(None, model, 1)
    settings = EngineSettings(
        *(where, model.dtype, window, model.vocab_size),
        scoring="fused" if case.path == "fused" else "prompt_logprobs",
        architecture=model.architecture,
    )
    return replace(settings, tensor_parallel_size=case.gpus)


def our_choice(case: Case, settings: EngineSettings) -> dict[str, str]:
    """Step, share of memory, room for logits, and whether it fits: as texts, for a table."""
    device = DEVICES[case.device]
    machine = machine_with(device)
    total = machine.gpu_bytes or 0
    sizes = choose_sizes(settings, machine)
    shape = read_shape(settings.folder)
    assert shape is not None
    weights = model_bytes(settings.folder, settings.dtype, shape)
    need = memory_need(shape, weights, settings, int(sizes.step_tokens.value), case.gpus)
    verdict = "fits" if need.expected <= gpu_share(total, need.logits) * total else "tight"
    try:
        require_fit(settings, total, device)
    except ModelError as error:
        verdict = f"refused: {error.hint}"
    return {
        "step": f"{sizes.step_tokens.value:.0f}",
        "share": f"{sizes.memory.value:.3f}",
        "logits_gib": f"{need.logits / 2**30:.2f}",
        "need_gib": f"{need.expected / 2**30:.1f}",
        "verdict": verdict,
        "why": f"step: {sizes.step_tokens.reason}; memory: {sizes.memory.reason}",
    }


def read_table() -> dict[Case, dict[str, str]]:
    """The table as it is held."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {Case(r["device"], int(r["gpus"]), r["model"], r["path"]): r for r in rows}


def write_table(rows: list[dict[str, str]]) -> None:
    """Hold what was found; to be read before it is committed."""
    with TABLE.open("w", newline="") as file:
        table = csv.DictWriter(file, [*KEYS, *OURS, *THEIRS], delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
