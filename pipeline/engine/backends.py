"""The kinds of scorers, a line each.

Owns which kind a model is, and which kind a record is of. No setting chooses: a model tells.
"""

from pipeline.engine.protocol import ScorerBackend
from pipeline.engine.rules import ScoringRules
from pipeline.engine.vllm.backend import VllmBackend

BACKENDS: tuple[ScorerBackend, ...] = (VllmBackend(),)
"""Kinds of scorers, in the order in which they are tried; a model belongs to the first that accepts
it, and the last accepts all."""
FIRST_KIND = "causal"
"""Kind of rules that do not name one: 0.1.0 knew no other."""


def backend_for(model: str) -> ScorerBackend:
    """The kind of a model, as the user gave it."""
    return next(one for one in BACKENDS if one.takes(model))


def backend_of(rules: ScoringRules) -> ScorerBackend:
    """The kind of scorer that goes by these rules."""
    return next(one for one in BACKENDS if one.kind == rules.kind)


def rules_of_kind(kind: str) -> type[ScoringRules] | None:
    """How rules of a kind are read; None if this Winnow does not have it."""
    return next((one.rules for one in BACKENDS if one.kind == kind), None)
