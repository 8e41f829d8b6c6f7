"""`cutoffs`: the band between two values that a file gives for each group.

CCNet (Wenzek et al. 2020, arXiv:1911.00359) filters so: the cut-offs of each language are computed
once, on a sample, and then used for everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import polars as pl

from pipeline.errors import ConfigError, named
from pipeline.filters.config import FilterConfig
from pipeline.filters.cutoff_file import digest, load_table, of_groups, unused
from pipeline.filters.record import CutoffTable
from pipeline.filters.rule import Rule, group_names, label, look_up, metric_value
from pipeline.reports.groups import label_of
from pipeline.runs.manifest import Value


@dataclass(frozen=True)
class GivenCutoffs(Rule):
    """Between the `low` and the `high` of the document's group, both included; null is no bound."""

    table: CutoffTable
    cutoffs: pl.DataFrame | None = None
    """Columns [group, documents, low, high]."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.table.metric,)

    @property
    def within(self) -> str | None:  # type: ignore[override]
        return self.table.within

    @property
    def identity(self) -> dict[str, Value]:
        return {"cut-offs": digest(self.table)}

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        return replace(self, cutoffs=of_groups(rows, self.within, self.table, "low", "high"))

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        assert self.cutoffs is not None
        value, low, high = metric_value(self.table.metric), pl.col("low"), pl.col("high")
        kept = (low.is_null() | (value >= low)) & (high.is_null() | (value <= high))
        beside = look_up(rows, self.cutoffs.drop("documents"), self.within)
        return beside.with_columns(kept.alias(name)).drop("low", "high")

    def words(self) -> Iterable[str]:
        assert self.cutoffs is not None
        for name in unused(self.cutoffs["group"], self.table):
            yield f"{label_of(name)}: no document has this group; its cut-offs are unused"
        names = group_names(self.cutoffs["group"])
        for name, ends in zip(names, self.cutoffs.iter_rows(named=True), strict=True):
            if None not in (ends["low"], ends["high"]) and ends["low"] > ends["high"]:
                where = f"{label(name, self.within)}{self.table.metric}"
                yield f"{where}: none is kept, the low cut-off exceeds the high one"
                continue
            pairs = (("from", ends["low"]), ("to", ends["high"]))
            said = " ".join(f"{word} {end:.4g}" for word, end in pairs if end is not None)
            if said:
                yield f"{label(name, self.within)}{self.table.metric} {said}"


def make(config: FilterConfig) -> list[Rule]:
    """The band, if the file has one: it may have the ends of buckets only."""
    table = load_table(config)
    if table is None:
        return []
    if any(one.low is not None or one.high is not None for one in table.cutoffs):
        return [GivenCutoffs(table)]
    if config.buckets is None:
        raise ConfigError(
            f"no group in {config.cutoffs} has a value for low or high",
            hint=f"fill in low or high; or, if the file was written with {named('buckets')}, give "
            f"{named('buckets')} again",
        )
    return []
