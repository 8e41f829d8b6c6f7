"""Whether the scores of runs mean the same.

Owns which settings two runs must share for their scores to be compared, of one model and of two.
"""

from collections.abc import Hashable, Sequence

from pipeline.errors import RunError
from pipeline.runs.manifest import Manifest, differences

MODEL_KEYS = ("model_config", "weights", "tokenizer")
RULES = ("prefix", "prefix_token_id", "window_tokens", "context_tokens", "long_documents")
"""Fingerprint keys that must be equal for scores of one model to be comparable."""
MODELS_OWN_RULES = ("prefix", "window_tokens", "context_tokens")
"""Keys that may differ between models: one may lack the room or the token that another has."""


def model_of(manifest: Manifest) -> Hashable:
    """The model, as its files say it."""
    return tuple(manifest.fingerprint[key] for key in MODEL_KEYS)


def check_rules(runs: Sequence[tuple[str, Manifest]]) -> None:
    """Raises RunError for runs, by the names given, that were scored by different rules."""
    for position, (name, manifest) in enumerate(runs):
        for other_name, other in runs[:position]:
            is_one = model_of(other) == model_of(manifest)
            # Which part of a long document is scored decides what the score is of.
            keys = RULES if is_one else ("long_documents",)
            old, new = (
                {key: one.fingerprint.get(key) for key in keys} for one in (other, manifest)
            )
            if changes := differences(old, new):
                raise RunError(
                    f"{other_name} and {name} ({'one model' if is_one else 'two models'}) were "
                    "scored with different settings, so their figures are not comparable: "
                    f"{'; '.join(changes)}",
                    hint="score one of the two again, into a new folder, with the settings of the "
                    "other",
                )
