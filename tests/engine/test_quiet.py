"""pipeline/engine/vllm/quiet.py: nothing is said that a user cannot act on."""

import subprocess
import sys
from pathlib import Path

import pytest

IN_A_NOTEBOOK = """
import contextlib, sys, types
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
sys.modules["IPython"] = types.ModuleType("IPython")
sys.modules["IPython"].get_ipython = types.SimpleNamespace
sys.modules["ipywidgets"] = None
"""
LOADS = """
from pipeline.engine.vllm.tokenizer import HubTokenizer
HubTokenizer(sys.argv[1])
"""
FETCHES = """
from pipeline.engine.vllm.model import load_model
from pipeline.errors import ModelError
with contextlib.suppress(ModelError):
    load_model("nobody/nothing", revision=None, trust_remote_code=False, offline=True)
"""


@pytest.mark.parametrize("code", [LOADS, FETCHES], ids=["loads", "fetches"])
def test_a_notebook_is_not_told_to_install_widgets(code, tiny_model: Path):
    """tqdm looks for IPython's kernel where it is imported, and has no use for it here."""
    code = IN_A_NOTEBOOK + code + "assert 'tqdm.auto' in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_model], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
