"""The model on disk: whether it is one, what it is, what it allows.

Owns finding a model folder (or fetching one by name), its limits, and the digests that identify
it in a run's fingerprint. Reads JSON and hashes files; loads no weights and imports no torch.
"""

import hashlib
import json
import math
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.engine.protocol import Model
from pipeline.engine.vllm.quantization import quantization_of
from pipeline.engine.vllm.quiet import quieten
from pipeline.errors import ModelError, first_line, named
from pipeline.settings.config import Dtype
from pipeline.storage.locations import limit_hub

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
BLOB_NAME = re.compile(r"[0-9a-f]{64}")
PART_NAME = re.compile(r"(.*-)\d{5}-of-(\d{5})\.safetensors")
ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
FLOATS = frozenset(["BF16", "F16", "F32", "F64"])
"""As safetensors names them."""
DEFAULT_WINDOW_TOKENS = 2048
LARGEST_HEADER = 100 << 20
"""Largest header of a safetensors file in bytes: the format's own limit."""
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
CONFIG_FILE = ("config.json",)
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.py")
"""What is fetched. No *.bin and *.pt: pickled weights are code."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def load_model(
    name: str,
    *,
    revision: str | None,
    trust_remote_code: bool,
    offline: bool = False,
    digest_weights: bool = True,
    config_only: bool = False,
) -> Model:
    """Find the folder that `name` means and identify it. Raises ModelError.

    With `offline` the hub is not contacted: a name is looked up in the cache. Without
    `digest_weights`, which reads all of them, that digest is empty. With `config_only` nothing but
    config.json has to be there, or is fetched: enough to plan, not to score.
    """
    wanted = CONFIG_FILE if config_only else MODEL_FILES
    folder, commit = _find_folder(name, revision, offline=offline, wanted=wanted)
    config = read_config(folder)
    if _names_code(config) and not trust_remote_code:
        raise ModelError(
            f"{name} brings its own Python code (auto_map in config.json)",
            hint=f"read that code, then allow it with {named('trust_remote_code')}",
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not config_only:
        raise ModelError(
            f"{folder} has no *.safetensors weights",
            hint="convert the checkpoint to safetensors; pickled weights are not loaded",
        )
    if not config_only:
        _require_shards(folder, weights)
    if odd := [file for file in weights if not file.is_file()]:  # a pipe would be waited for
        raise ModelError(f"{odd[0]} is not a file", hint="fetch the model again")
    tokenizer = [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
    if not tokenizer and not config_only:
        raise ModelError(f"{folder} has no tokenizer (tokenizer.json or tokenizer.model)")
    text = config.get("text_config") or config
    architectures = config.get("architectures") or ["unknown"]
    vocab_size = (
        text.get("vocab_size", config.get("vocab_size")) if isinstance(text, dict) else None
    )
    if not isinstance(vocab_size, int) or not isinstance(architectures, list):
        raise ModelError(
            f"{folder}/config.json does not describe a language model",
            hint="it needs vocab_size, and architectures as a list",
        )
    lengths = [text[key] for key in LENGTH_KEYS if isinstance(text.get(key), int)]
    # Code that is allowed to run is part of what the model is.
    code = sorted(folder.glob("**/*.py")) if trust_remote_code else []
    return Model(
        name=name,
        folder=str(folder),
        revision=commit,
        architecture=str(architectures[0]),
        dtype=str(text.get("dtype") or text.get("torch_dtype") or "float32"),
        vocab_size=vocab_size,
        max_tokens=min(lengths) if lengths else None,
        config_digest=_digest([folder / "config.json", *code]),
        weights_digest=_digest(weights) if digest_weights and not config_only else "",
        tokenizer_digest=_digest(tokenizer) if not config_only else "",
        quantization=quantization_of(config),
    )


def _find_folder(
    name: str, revision: str | None, *, offline: bool, wanted: tuple[str, ...]
) -> tuple[Path, str | None]:
    what = f"{named('model')} is a folder in Hugging Face format, or ORGANISATION/NAME on the hub"
    if not name.strip():
        raise ModelError(f"{named('model')} is empty", hint=what)
    folder = Path(name).expanduser().absolute()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{name} is not a model folder: it has no config.json",
                hint=f"point {named('model')} at a folder in Hugging Face format",
            )
        return folder, None
    if folder.exists():
        raise ModelError(f"{name} is a file, not a model folder", hint=what)
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise ModelError(f"no such model folder: {name}", hint=what)
    return _fetch(name, revision, offline=offline, wanted=wanted)


def _fetch(
    name: str, revision: str | None, *, offline: bool, wanted: tuple[str, ...]
) -> tuple[Path, str | None]:
    quieten()
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE
    from huggingface_hub.errors import LocalEntryNotFoundError

    limit_hub()
    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=list(wanted), local_files_only=offline
        )
    except LocalEntryNotFoundError as error:
        if not (offline or HF_HUB_OFFLINE):
            raise _not_fetched(name, error) from error
        which = name if revision is None else f"{name} at {revision}"
        raise ModelError(
            f"{which} is not in {HF_HUB_CACHE}, and the hub is not contacted: "
            f"{named('offline')} or HF_HUB_OFFLINE is set",
            hint=f"download the model on a machine with a network: hf download {name}",
        ) from error
    except Exception as error:  # the hub client raises many unrelated kinds
        raise _not_fetched(name, error) from error
    return Path(found), Path(found).name


def _not_fetched(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"cannot fetch {name} from the hub: {first_line(error)}",
        hint=f"check the name and the connection, or point {named('model')} at a local folder",
    )


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a model configuration")
    return config


def _require_shards(folder: Path, weights: list[Path]) -> None:
    """Raises ModelError if a file is missing or empty that the index or the others' names tell of.

    Without this check the engine fails after minutes, on every machine.
    """
    named = set[str]()
    for index in folder.glob("*.safetensors.index.json"):
        try:
            named |= {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ModelError(
                f"{index} is not an index of weights", hint="fetch the model again"
            ) from None
    for file in weights if not named and not (folder / "model.safetensors").is_file() else ():
        if part := PART_NAME.fullmatch(file.name):
            total = int(part[2])
            named |= {f"{part[1]}{i + 1:05d}-of-{part[2]}.safetensors" for i in range(total)}
    paths = [folder / name for name in sorted(named)]
    if gone := [path for path in paths if not path.is_file() or not path.stat().st_size]:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        what = "is empty" if gone[0].is_file() else "is missing"
        raise ModelError(
            f"{gone[0]} {what}{more}: the model has {len(paths)} files of weights",
            hint="fetch the model again",
        )


def _names_code(config: dict[str, Any]) -> bool:
    """Whether it names Python files, at any depth."""
    waiting: list[Any] = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "auto_map" in one:
                return True
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return False


def _digest(files: list[Path]) -> str:
    """SHA-256 over names and contents."""
    with ThreadPoolExecutor() as hashers:
        digests = list(hashers.map(_sha256, files))
    total = hashlib.sha256()
    for file, digest in zip(files, digests, strict=True):
        total.update(f"{file.name} {digest}\n".encode())
    return total.hexdigest()


def _sha256(file: Path) -> str:
    # In the hub's cache large files are links to blobs that are named by their SHA-256.
    blob = file.resolve().name
    if file.is_symlink() and BLOB_NAME.fullmatch(blob):
        return blob
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def choose_dtype(asked: Dtype, model: Model) -> str:
    """The dtype to compute in; never left to the engine. Raises ModelError."""
    if asked != "auto":
        return asked
    if model.dtype in ELEMENT_BYTES:
        return model.dtype
    raise ModelError(
        f"{model.name} has the dtype {model.dtype}, which is not supported",
        hint=f"choose one with {named('dtype')}: {', '.join(ELEMENT_BYTES)}",
    )


def choose_window_tokens(asked: int | None, model: Model, context_tokens: int) -> int:
    """The longest prompt to send. Raises ModelError if what is asked does not fit the model."""
    # The engine makes one token after every prompt, which takes a position too.
    largest = None if model.max_tokens is None else model.max_tokens - 1
    if asked is not None and largest is not None and asked > largest:
        raise ModelError(
            f"{named('window_tokens')} {asked} exceeds the maximum of {model.name}, {largest}",
            hint=f"use {largest} or less; long documents are cut into windows",
        )
    chosen = asked or min(DEFAULT_WINDOW_TOKENS, largest or DEFAULT_WINDOW_TOKENS)
    if context_tokens >= chosen:
        raise ModelError(
            f"{named('context_tokens')} {context_tokens} leaves no room in windows of {chosen} "
            "tokens",
            hint=f"use a smaller {named('context_tokens')} or a larger {named('window_tokens')}",
        )
    return chosen


def weight_bytes(folder: str, dtype: str) -> int:
    """Memory that the weights take once they are loaded, in bytes. Damaged files count nothing.

    Floats are loaded in `dtype`; quantized weights stay as they are stored.
    """
    total = 0
    for file in Path(folder).glob("*.safetensors"):
        if find_damage(file) is None:
            with file.open("rb") as content:
                header = json.loads(content.read(struct.unpack("<Q", content.read(8))[0]))
            for one in (one for key, one in header.items() if key[0] != "_"):
                begin, end = one["data_offsets"]
                is_float = one["dtype"] in FLOATS
                total += math.prod(one["shape"]) * ELEMENT_BYTES[dtype] if is_float else end - begin
    return total


def find_damage(file: Path) -> str | None:
    """Why a safetensors file is not one: its header says how long it must be."""
    size = file.stat().st_size
    with file.open("rb") as content:
        start = content.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(LARGEST_HEADER, size - 8):
            return f"is not safetensors ({size:,} bytes)"
        try:
            header = json.loads(content.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[0] != "_"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return "has a damaged header"
    whole = 8 + length + max(ends, default=0)
    return None if size == whole else f"has {size:,} bytes and must have {whole:,}: it is damaged"
