"""Settings of a filter that contradict each other or have no effect.

Owns the checks that need no run. What a setting may be by itself, its field in config.py says.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, named
from pipeline.filters.rule_fields import Decides
from pipeline.filters.spelling import BUCKETS

if TYPE_CHECKING:  # it is checked where it is loaded
    from pipeline.filters.config import FilterConfig


def check_rules(config: "FilterConfig", rules: Mapping[str, Decides]) -> None:
    """Raises ConfigError for settings that contradict each other or have no effect; `rules` are all
    the rules that could be asked for."""
    if not config.rules():
        *others, last = map(named, rules)
        raise ConfigError(
            "no rule says which documents to keep", hint=f"give {', '.join(others)} or {last}"
        )
    if config.budget_tokens and config.budget_bytes:
        raise ConfigError(
            f"{named('budget_tokens')} and {named('budget_bytes')} contradict each other",
            hint="give one of them",
        )
    for name in ("prefer", "shares"):
        if getattr(config, name) and config.budget is None:
            raise ConfigError(
                f"{named(name)} needs a budget",
                hint=f"add {named('budget_tokens')} or {named('budget_bytes')}, or leave out "
                f"{named(name)}",
            )
    if isinstance(config.shares, dict) and not any(config.shares.values()):
        raise ConfigError(f"{named('shares')} are all 0", hint="give at least one share above 0")
    if config.weight and not any(rule.by_percentile for rule in config.rules().values()):
        raise ConfigError(
            f"{named('weight')} is given, but no rule takes percentiles",
            hint=f"add {_any_of(rules, 'by_percentile')}, or leave out {named('weight')}",
        )
    if config.minus and config.over:
        raise ConfigError(
            f"{named('minus')} and {named('over')} contradict each other", hint="give one of them"
        )
    own, named_by_where = config.own_metric, _columns_of_where(config)
    if own and own not in [*config.metrics(), *named_by_where]:
        second = named("minus" if config.minus else "over")
        raise ConfigError(
            f"{second} is given, but no rule uses the metric {own}",
            hint=f"add {named('min')} or {named('max')} of {own}, or leave out {second}",
        )
    in_groups = any(rule.in_groups for rule in config.rules().values())
    for first, is_used, trait in (
        ("metric", config.reads_metric, "can_read_metric"),
        ("within", in_groups, "in_groups"),
    ):
        if getattr(config, first) and not is_used:
            raise ConfigError(
                f"{named(first)} is given, but no rule uses it",
                hint=f"add {_any_of(rules, trait)}, or leave out {named(first)}",
            )
    for other in ("percentile", "bucket_percentiles"):
        if config.cutoffs and getattr(config, other):
            raise ConfigError(
                f"{named('cutoffs')} and {named(other)} contradict each other",
                hint="give one of them: the file has the values already",
            )
    for option, needed in (
        ("bucket_percentiles", "buckets"),
        ("bucket_folders", "buckets"),
        ("shares", "within"),
    ):
        if getattr(config, option) and getattr(config, needed) is None:
            shown, wanted = named(option), named(needed)
            raise ConfigError(f"{shown} needs {wanted}", hint=f"add {wanted}, or leave out {shown}")
    for name in ("percentile", "bucket_percentiles"):
        low, high = getattr(config, name) or (0, 100)
        if low > high:
            raise ConfigError(f"{named(name)} {low:g}:{high:g}: LOW must not exceed HIGH")
    if config.sample_toward and config.sample_toward[1] <= 0:
        raise ConfigError(f"the standard deviation of {named('sample_toward')} must be above 0")
    if not (config.buckets is None or config.buckets):
        raise ConfigError(
            f"{named('buckets')} names no bucket", hint=f"known: {', '.join(BUCKETS)}"
        )
    for metric in config.min.keys() & config.max.keys():
        if config.min[metric] > config.max[metric]:
            raise ConfigError(
                f"no {metric} is both at least {config.min[metric]:g} "
                f"and at most {config.max[metric]:g}"
            )


def _any_of(rules: Mapping[str, Decides], trait: str) -> str:
    return " or ".join(named(name) for name, rule in rules.items() if getattr(rule, trait))


def _columns_of_where(config: "FilterConfig") -> list[str]:
    """The columns that `where` names. Raises ConfigError, pointing at what cannot be read."""
    if config.where is None:
        return []
    from pipeline.filters.rules.where import Where  # with Polars: not to show settings

    return Where(config.where).names
