"""The kinds of scorers, a line each.

Owns which kind a model is, and which kind a record is of. No setting chooses: a model tells.
"""

from pipeline.engine.protocol import ScorerBackend
from pipeline.engine.rules import ScoringRules
from pipeline.engine.vllm.backend import VllmBackend

BACKENDS: tuple[ScorerBackend, ...] = (VllmBackend(),)
"""A model is of the first kind that takes it; the last takes what is left."""
FIRST_KIND = "causal"
"""Of rules that do not say: there was no other when 0.1.0 wrote them."""


def backend_for(model: str) -> ScorerBackend:
    """The kind of a model, as the user gave it."""
    return next(one for one in BACKENDS if one.takes(model))


def backend_of(rules: ScoringRules) -> ScorerBackend:
    """The kind of scorer that goes by these rules."""
    return next(one for one in BACKENDS if one.kind == rules.kind)


def rules_of_kind(kind: str) -> type[ScoringRules] | None:
    """How rules of a kind are read; None if this Winnow does not have it."""
    return next((one.rules for one in BACKENDS if one.kind == kind), None)
