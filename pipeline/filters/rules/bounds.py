"""`max` and `min`: values up to a bound, or from one on."""

from dataclasses import dataclass

import polars as pl

from pipeline.filters.config import FilterConfig
from pipeline.filters.rule import Rule, metric_value


@dataclass(frozen=True)
class Bounds(Rule):
    """Between two values, both included; None is no bound."""

    metric: str
    low: float | None = None
    high: float | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        value, kept = metric_value(self.metric), pl.lit(True)
        if self.low is not None:
            kept &= value >= self.low
        if self.high is not None:
            kept &= value <= self.high
        return rows.with_columns(kept.alias(name))


def make(config: FilterConfig) -> list[Rule]:
    """One for each metric."""
    metrics = dict.fromkeys([*config.min, *config.max])
    return [Bounds(metric, config.min.get(metric), config.max.get(metric)) for metric in metrics]
