"""`buckets`: head, middle and tail, as CCNet (Wenzek et al. 2020, arXiv:1911.00359) has them.

Head is up to and including the first percentile, middle up to and including the second, tail above.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import polars as pl

from pipeline.filters.config import FilterConfig
from pipeline.filters.cutoffs import find_cutoffs, upper
from pipeline.filters.rule import Rule, group_names, label, look_up, metric_value
from pipeline.filters.spelling import Bucket

TERCILES = (Fraction(100, 3), Fraction(200, 3))


@dataclass(frozen=True)
class Buckets(Rule):
    """Those of the three that are named; every row gets its own."""

    metric: str
    kept: tuple[Bucket, ...]
    percentiles: tuple[float | Fraction, float | Fraction] = TERCILES
    within: str | None = None
    cutoffs: pl.DataFrame | None = None
    """[group, documents, head, middle]: the largest value of each."""

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def find(self, rows: pl.LazyFrame) -> Self:
        first, second = self.percentiles
        ends = {"head": upper(first), "middle": upper(second)}
        return replace(self, cutoffs=find_cutoffs(rows, self.metric, self.within, ends))

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
        ends = self.cutoffs.select("head", "middle").iter_rows()
        for name, (head, middle) in zip(names, ends, strict=True):
            where = f"{label(name, self.within)}{self.metric}"
            yield f"{where} head up to {head:.4g}, middle up to {middle:.4g}"


def make(config: FilterConfig) -> list[Rule]:
    """The buckets, if any are named."""
    if config.buckets is None:
        return []
    at = config.bucket_percentiles or TERCILES
    return [Buckets(config.chosen_metric, config.buckets, at, config.within)]
