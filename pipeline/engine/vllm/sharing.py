"""Several engines per GPU: how many, and whether they compute side by side.

Owns the choice. What memory each of them gets is sizing.py's, and where they are put jobs/run's.
"""

import os
from pathlib import Path

from pipeline.engine.vllm.sizing import Choice

SMALL_MODEL_BYTES = 512 << 20
"""Of weights, about 250 million parameters in 16 bits. Measured: RESULTS.md, "GPUs"."""
ENGINES_OF_SMALL_MODELS = 2


def has_mps() -> bool:
    """Whether processes on this machine's GPUs compute side by side, not in turns."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return (Path(folder) / "control").exists()


def choose_engines_per_gpu(asked: int | str, weight_bytes: int, gpus_per_engine: int = 1) -> Choice:
    """How many engines share a GPU; one engine of a small model leaves it waiting for the host."""
    if asked != "auto":
        value, why = int(asked), "as asked"
    elif gpus_per_engine > 1:
        value, why = 1, "an engine has several GPUs"
    else:
        small = weight_bytes < SMALL_MODEL_BYTES
        value = ENGINES_OF_SMALL_MODELS if small else 1
        where = "below" if small else "not below"
        why = f"weights of {weight_bytes / 2**20:,.0f} MiB, {where} {SMALL_MODEL_BYTES >> 20} MiB"
    return Choice(value, why, "engines_per_gpu")
