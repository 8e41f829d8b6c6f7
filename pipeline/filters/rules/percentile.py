"""`percentile`: the band between two percentiles of all scored documents, or of their group's."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import polars as pl

from pipeline.filters.config import FilterConfig
from pipeline.filters.cutoffs import find_cutoffs, in_hundreds, lower, upper
from pipeline.filters.rule import MOST_NAMED, Rule, group_names, label, look_up, metric_value
from pipeline.reports.groups import label_of
from pipeline.settings.weights import UNWEIGHTED, Weight


@dataclass(frozen=True)
class Percentile(Rule):
    """Between two percentiles, both included: they are statistics/quantile.py's."""

    metric: str
    low: float
    high: float
    within: str | None = None
    weight: Weight = UNWEIGHTED
    cutoffs: pl.DataFrame | None = None
    """Columns [group, documents, low, high]: the smallest and the largest value that is kept."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        ends = {"low": lower(self.low), "high": upper(self.high)}
        found = find_cutoffs(rows, self.metric, self.within, ends, self.weight)
        return replace(self, cutoffs=found)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        assert self.cutoffs is not None
        value = metric_value(self.metric)
        kept = (value >= pl.col("low")) & (value <= pl.col("high"))
        beside = look_up(rows, self.cutoffs.drop("documents"), self.within)
        return beside.with_columns(kept.alias(name)).drop("low", "high")

    def words(self) -> Iterable[str]:
        assert self.cutoffs is not None
        names = group_names(self.cutoffs["group"])
        yield from in_hundreds(self.low, self.high)
        ends = self.cutoffs.select("low", "high").iter_rows()
        empty = []
        for name, (low, high) in zip(names, ends, strict=True):
            if low > high:  # no document lies between the two percentiles
                empty.append(label_of(name))
            else:
                yield f"{label(name, self.within)}{self.metric} from {low:.4g} to {high:.4g}"
        if empty:
            first = ", ".join(empty[:MOST_NAMED])
            more = f" and {len(empty) - MOST_NAMED:,} more" if len(empty) > MOST_NAMED else ""
            where = "" if self.within is None else f"{self.within} {first}{more}: "
            yield f"{where}too few documents for these percentiles: none lies between them"


def make(config: FilterConfig) -> list[Rule]:
    """The band, if there is one."""
    if config.percentile is None:
        return []
    return [
        Percentile(config.chosen_metric, *config.percentile, config.within, config.chosen_weight)
    ]
