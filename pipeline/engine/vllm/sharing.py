"""Several engines per GPU: how many, and whether they compute side by side.

Owns the choice. What memory each of them gets is sizing.py's, and where they are put jobs/run's.
"""

import os
from dataclasses import replace
from pathlib import Path

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.fitting import require_fit
from pipeline.engine.vllm.sizing import Choice, Machine, choose_sizes
from pipeline.errors import ModelError

TRIED_MODEL_BYTES = 2 << 30
"""Of weights, about a billion parameters in 16 bits: larger models leave a GPU nothing to share."""
SMALL_MODEL_BYTES = 512 << 20
"""Of weights, about 250 million parameters in 16 bits. Measured: RESULTS.md, "GPUs"."""
ENGINES_OF_SMALL_MODELS = 2


def has_mps() -> bool:
    """Whether processes on this machine's GPUs compute side by side, not in turns."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return (Path(folder) / "control").exists()


def may_share(
    settings: EngineSettings, weight_bytes: int, machine: Machine
) -> EngineSettings | None:
    """Such an engine as one of two on a GPU, if that is worth measuring; None if not."""
    alone = settings.tensor_parallel_size > 1 or weight_bytes > TRIED_MODEL_BYTES
    if machine.gpu_bytes is None or alone:
        return None
    shared = replace(settings, engines_per_gpu=ENGINES_OF_SMALL_MODELS)
    try:
        require_fit(shared, machine.gpu_bytes // ENGINES_OF_SMALL_MODELS)
    except ModelError:
        return None
    tokens = int(choose_sizes(shared, machine).step_tokens.value)
    return replace(shared, max_num_batched_tokens=tokens)


def choose_engines_per_gpu(
    asked: int | str, weight_bytes: int, gpus_per_engine: int = 1, measured: int | None = None
) -> Choice:
    """How many engines share a GPU; one engine of a small model leaves it waiting for the host.

    `measured` is how many were the fastest for this model on this machine, if that is known.
    """
    if asked != "auto":
        value, why = int(asked), "as asked"
    elif gpus_per_engine > 1:
        value, why = 1, "an engine has several GPUs"
    elif measured:
        value, why = measured, "the fastest of those measured on this machine"
    else:
        small = weight_bytes < SMALL_MODEL_BYTES
        value = ENGINES_OF_SMALL_MODELS if small else 1
        where = "below" if small else "not below"
        why = f"weights of {weight_bytes / 2**20:,.0f} MiB, {where} {SMALL_MODEL_BYTES >> 20} MiB"
    return Choice(value, why, "engines_per_gpu")
