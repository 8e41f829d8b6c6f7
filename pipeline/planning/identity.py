"""What a score depends on: the fingerprint, the versions, and the engine that a run asks for."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.engine.backends import BACKENDS, backend_of
from pipeline.engine.protocol import EngineSettings, Model, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.runs.manifest import Manifest, Value
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
