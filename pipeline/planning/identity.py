"""What a score depends on: the fingerprint, the versions, and the engine that a run asks for."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.corpus.columns import names_in
from pipeline.engine.backends import BACKENDS, backend_of
from pipeline.engine.protocol import EngineSettings, Model, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.errors import ModelError
from pipeline.runs.manifest import Manifest, Value, differences
from pipeline.schema import SCORE_VERSION
from pipeline.settings.config import ScoringConfig


def vocabulary_warning(tokenizer: Tokenizer, vocab_size: int) -> str | None:
    """What to say of a tokenizer that makes tokens which the model does not have; None if not."""
    beyond = tokenizer.tokens_beyond(vocab_size)
    if not beyond:
        return None
    token = min(beyond, key=lambda one: beyond[one])
    others = f", and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
    return (
        f"the tokenizer has {token!r} (id {beyond[token]}{others}), and the model has "
        f"{vocab_size:,} ids: documents with it become error rows (token_out_of_vocabulary)"
    )


def asked_engine(config: ScoringConfig, model: Model, rules: ScoringRules) -> EngineSettings:
    """What an engine needs to score as asked, where there is no run. Raises ModelError."""
    return EngineSettings(
        folder=model.folder,
        dtype=rules.dtype,
        window_tokens=rules.window_tokens,
        vocab_size=model.vocab_size,
        trust_remote_code=config.trust_remote_code,
        scoring=backend_of(rules).choose_path(config.scoring, model),
        architecture=model.architecture,
        tensor_parallel_size=config.tensor_parallel_size,
        max_num_batched_tokens=config.max_num_batched_tokens,
    )


def engine_settings(manifest: Manifest, **sizing: Any) -> EngineSettings:
    """What an engine needs to score this run; `sizing` is of EngineSettings."""
    model, rules = manifest.model, manifest.rules
    return EngineSettings(
        folder=model.folder,
        dtype=rules.dtype,
        window_tokens=rules.window_tokens,
        vocab_size=model.vocab_size,
        trust_remote_code=model.trust_remote_code,
        scoring=manifest.scoring,
        architecture=model.architecture,
        **sizing,
    )


TOKENIZER = "tokenizer"
MODEL_KEYS = {
    "model_config": "configuration of the model",
    "weights": "model",
    TOKENIZER: "tokenizer",
}
"""Of a fingerprint, and what people call it."""


def require_model(manifest: Manifest, *, to_score: bool, trust_remote_code: bool = False) -> Model:
    """The run's model, if what lies in its folder is still the same. Raises ModelError.

    Unless it is `to_score`, its tokenizer alone matters, and weights are not read.
    """
    folder = manifest.model.folder
    if not Path(folder).is_dir():
        raise ModelError(f"the model's folder, with its tokenizer, is not here: {folder}")
    config = ScoringConfig(model=folder, offline=True, trust_remote_code=trust_remote_code)
    found = backend_of(manifest.rules).load_model(config, digest_weights=to_score)
    now = fingerprint(found, manifest.rules, manifest.text_column)
    for key, name in MODEL_KEYS.items():
        if (to_score or key == TOKENIZER) and now[key] != manifest.fingerprint[key]:
            raise ModelError(f"the {name} in {folder} is no longer the one of this run")
    return found


def fingerprint(model: Model, rules: ScoringRules, text_column: str) -> dict[str, Value]:
    """What changes a score: a part may be kept only if all of this is the same."""
    return {
        "model_config": model.config_digest,
        "weights": model.weights_digest,
        "tokenizer": model.tokenizer_digest,
        **rules.model_dump(),
        "text_column": text_column,
        "schema_version": SCORE_VERSION,
    }


def changes_since(
    manifest: Manifest, identity: dict[str, Value], request: dict[str, Value]
) -> list[str]:
    """What is asked for and what scores depend on, where it is not as in a run that is there."""
    then, now = (
        _as_meant(found, manifest)
        for found in (manifest.fingerprint | manifest.request, identity | request)
    )
    return differences(then, now)


def _as_meant(found: dict[str, Value], manifest: Manifest) -> dict[str, Value]:
    """The same, written in one way: columns may be named one by one, in one text, or twice."""
    if not isinstance(carry := found.get("carry"), list):
        return found
    return found | {"carry": list(names_in(carry, manifest.carried))}


def installed_versions() -> dict[str, str]:
    """Versions of what takes part in a score."""
    of_engines = [package for backend in BACKENDS for package in backend.packages]
    packages = ("winnow-ppl", *of_engines, "ray", "pyarrow", "polars")
    found = {package: installed_version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}


def installed_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
