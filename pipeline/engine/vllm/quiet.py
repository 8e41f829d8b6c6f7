"""What torch, vLLM and tqdm say of themselves as they start, which is no help to users of Winnow.

Owns keeping it out of a notebook and a terminal. Whoever sets their variables hears them again.
"""

import logging
import os
import warnings


def quieten() -> None:
    """Before torch is imported for the first time, and vLLM, and what downloads models."""
    for name in ("TORCH_CPP_LOG_LEVEL", "VLLM_LOGGING_LEVEL"):
        os.environ.setdefault(name, "ERROR")
    # What vLLM says before it has read its own setting.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    # Of what torch will drop and vLLM still looks at.
    warnings.filterwarnings("ignore", category=FutureWarning, module="vllm")
    # tqdm, of a package for its bars in notebooks: they have one without, as in a terminal.
    warnings.filterwarnings("ignore", message="IProgress not found")
