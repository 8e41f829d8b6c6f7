"""What makes a field of FilterConfig a rule: which module makes it, and what it looks at.

Owns the mark, and when a rule reads `metric`. Settings and help are made from it without Polars.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def never(config: Any) -> bool:
    """It never does."""
    return False


@dataclass(frozen=True)
class Decides:
    """Of a field: it is a rule, which pipeline/filters/rules/`rule`.py makes of the settings."""

    rule: str
    reads_metric: Callable[[Any], bool] = never
    """Whether the rule reads `metric`."""
    in_groups: bool = False
    """Whether the rule can treat the groups of `within` one by one."""
    by_percentile: bool = False
    """Whether the rule takes percentiles, which `weight` weighs."""

    @property
    def can_read_metric(self) -> bool:
        """Whether some setting makes the rule read `metric`."""
        return self.reads_metric is not never


def always(config: Any) -> bool:
    """It always does."""
    return True


def if_ranked(config: Any) -> bool:
    """A budget does, unless it is spent in a random order."""
    return bool(config.prefer != "random")


def if_best(config: Any) -> bool:
    """What drops copies does, unless the first one stays."""
    return bool(config.drop_copies != "first")
