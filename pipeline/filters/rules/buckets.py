"""`buckets`: head, middle and tail, as CCNet (Wenzek et al. 2020, arXiv:1911.00359) has them.

Head is up to and including the first percentile, middle up to and including the second, tail above.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import polars as pl

from pipeline.errors import ConfigError, named
from pipeline.filters.config import FilterConfig
from pipeline.filters.cutoff_file import digest, load_table, of_groups
from pipeline.filters.cutoffs import find_cutoffs, in_hundreds, upper
from pipeline.filters.record import CutoffTable
from pipeline.filters.rule import Rule, group_names, label, look_up, metric_value
from pipeline.filters.spelling import Bucket
from pipeline.runs.manifest import Value
from pipeline.settings.weights import UNWEIGHTED, Weight

TERCILES = (Fraction(100, 3), Fraction(200, 3))


@dataclass(frozen=True)
class Buckets(Rule):
    """Those of the three that are named; every row gets its own."""

    metric: str
    kept: tuple[Bucket, ...]
    percentiles: tuple[float | Fraction, float | Fraction] = TERCILES
    within: str | None = None
    weight: Weight = UNWEIGHTED
    table: CutoffTable | None = None
    """Cut-offs to take instead of percentiles."""
    cutoffs: pl.DataFrame | None = None
    """Columns [group, documents, head, middle]: the largest value of each bucket."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    @property
    def identity(self) -> dict[str, Value]:
        return {} if self.table is None else {"cut-offs": digest(self.table)}

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        if self.table is not None:
            found = of_groups(rows, self.within, self.table, "head", "middle")
            return replace(self, cutoffs=found)
        first, second = self.percentiles
        ends = {"head": upper(first), "middle": upper(second)}
        found = find_cutoffs(rows, self.metric, self.within, ends, self.weight)
        return replace(self, cutoffs=found)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        assert self.cutoffs is not None
        value = metric_value(self.metric)
        bucket = (
            pl.when(value <= pl.col("head"))
            .then(pl.lit("head"))
            .when(value <= pl.col("middle"))
            .then(pl.lit("middle"))
            .otherwise(pl.lit("tail"))
        )
        beside = look_up(rows, self.cutoffs.drop("documents"), self.within)
        named = beside.with_columns(bucket=pl.when("scored").then(bucket)).drop("head", "middle")
        return named.with_columns(pl.col("bucket").is_in(self.kept).alias(name))

    def words(self) -> Iterable[str]:
        assert self.cutoffs is not None
        names = group_names(self.cutoffs["group"])
        if self.table is None:
            yield from in_hundreds(*map(float, self.percentiles))
        ends = self.cutoffs.select("head", "middle").iter_rows()
        for name, (head, middle) in zip(names, ends, strict=True):
            where = f"{label(name, self.within)}{self.metric}"
            yield f"{where}: head up to {head:.4g}, middle up to {middle:.4g}"


def make(config: FilterConfig) -> list[Rule]:
    """The buckets, if any are named."""
    if config.buckets is None:
        return []
    table = load_table(config)
    if table and any(None in (one.head, one.middle) for one in table.cutoffs):
        raise ConfigError(
            f"{config.cutoffs} has no value for head or middle in some group",
            hint=f"fill it in, or write the file again: a dry run with {named('buckets')} without "
            f"{named('cutoffs')}",
        )
    at = config.bucket_percentiles or TERCILES
    rule = Buckets(config.chosen_metric, config.buckets, at, config.within, config.chosen_weight)
    return [replace(rule, table=table)]
