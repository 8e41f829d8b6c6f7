"""Which documents the rules keep: cut-offs first, then one expression a row.

Owns what each rule means. Cut-offs are found in a few streaming passes over the columns needed; a
row is then decided by itself, so a part of the run can be decided when its documents are written.

    bounds       value >= min, value <= max
    percentile   the band between two percentiles of all scored documents, or of their group's.
                 Percentiles are statistics/quantile.py's; a bound is inclusive, so equal values
                 share a fate. Cut-offs are stated as the outermost values that are kept.
    buckets      as CCNet (Wenzek et al. 2020, arXiv:1911.00359): head up to and including the first
                 percentile, middle up to and including the second, tail above
    sample       each document is kept with probability exp(-((x - mean) / sd)^2 / 2), x its metric:
                 the Gaussian of BERTIN (De la Rosa et al. 2022, arXiv:2207.06814), which multiplies
                 the density of x and does not replace it. There x is the perplexity, the mean its
                 median. For a Gaussian over log perplexity take `bits_per_token`, which is its
                 base-2 logarithm.
    budget       of what all other rules keep, the most that fits: the lowest or highest values
                 first, equal ones in a random order; or, middle first, dropping as many tokens at
                 either end; or in a random order. It ends at the first document that does not fit.

A document without a score, or without a value that a rule reads, is decided by `unscored` alone. A
metric that exceeds a float64 is the largest value, not a missing one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

import polars as pl

from pipeline.filters.config import FilterConfig
from pipeline.schema import LARGEST, RATIOS, SCORED
from pipeline.statistics.columns import column_named, nan_as_null
from pipeline.statistics.hashing import row_hash, uniform
from pipeline.statistics.order_statistics import (
    from_sortable_bits,
    histogram,
    select,
    sortable_bits,
)
from pipeline.statistics.quantile import position

FLOATS = dict.fromkeys(("low", "high", "head", "middle"), pl.Float64())
DECIDED = ("file", "row", "status", "by", "tokens", "bytes", "scored")
MOST_TIED = 1 << 20
"""Documents with the value at an edge of the budget that are held, not read twice more."""
TERCILES = (Fraction(100, 3), Fraction(200, 3))


class Edge(NamedTuple):
    """A place in the order of the budget, as sortable bits."""

    key: int
    tie: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What of the order a budget keeps: after one edge, before another."""

    after: Edge | None = None
    before: Edge | None = None

    def keeps(self) -> pl.Expr:
        """A Boolean for rows with `key` and `tie`."""
        key, tie = pl.col("key"), pl.col("tie")
        kept = pl.lit(True)
        if self.after:
            at, last = (pl.lit(value, pl.UInt64) for value in self.after)
            kept &= (key > at) | ((key == at) & (tie > last))
        if self.before:
            at, last = (pl.lit(value, pl.UInt64) for value in self.before)
            kept &= (key < at) | ((key == at) & (tie < last))
        return kept


@dataclass(frozen=True, slots=True)
class Selection:
    """The rules with their cut-offs."""

    config: FilterConfig
    cutoffs: pl.DataFrame
    """[group, documents, low, high, head, middle]: smallest and largest value that is kept, and the
    largest of the buckets head and middle. One row a group; null where there is no such rule."""
    cut: Cut | None = None

    def decide(self, scores: pl.LazyFrame, by: str | None = None) -> pl.LazyFrame:
        """Score rows in order as [file, row, status, by, tokens, bytes, scored, keep, bucket]."""
        config = self.config
        rows = prepare(config, scores, by)
        if config.within and _wanted(config):
            rows = rows.join(
                self.cutoffs.lazy(), on="group", how="left", nulls_equal=True, maintain_order="left"
            )
        else:
            only = self.cutoffs.row(0, named=True) if self.cutoffs.height else {}
            rows = rows.with_columns(
                pl.lit(only.get(name), kind).alias(name) for name, kind in FLOATS.items()
            )
        rows = rows.with_columns(bucket=_bucket(config))
        kept = _follows_rules(config)
        if self.cut:
            kept &= self.cut.keeps()
        kept = pl.when("scored").then(kept.fill_null(False))
        keep = kept.otherwise(pl.lit(config.unscored == "keep"))
        return rows.select(*DECIDED, "bucket", "key", "tie", keep=keep)


def prepare(config: FilterConfig, scores: pl.LazyFrame, by: str | None = None) -> pl.LazyFrame:
    """The columns that rules read, under names of their own. What is not read costs nothing."""
    scores = nan_as_null(scores)
    values = {metric: column_named(metric).cast(pl.Float64) for metric in config.metrics()}
    scored = pl.col("status").is_in(SCORED)
    for value in values.values():
        scored &= value.is_not_null()
    value = values.get(config.chosen_metric, pl.lit(None, pl.Float64))
    order = row_hash(config.seed, "order")
    tie = order
    ratio = RATIOS.get(config.chosen_metric)
    if ratio is not None and config.prefer != "random":
        # What a float64 cannot hold has an order too: that of its logarithm.
        nats = pl.col("nll") / column_named(str(ratio.per))
        tie = pl.when(value == LARGEST).then(sortable_bits(nats)).otherwise(order)
    nothing = pl.lit(None, pl.String)
    return scores.select(
        "file",
        "row",
        "status",
        group=column_named(config.within) if config.within else nothing,
        by=column_named(by) if by else nothing,
        tokens=pl.col("num_tokens") + pl.col("num_skipped_tokens"),
        bytes="num_bytes",
        scored=scored,
        value=value,
        key=order if config.prefer == "random" else sortable_bits(value),
        tie=tie,
        chance=uniform(row_hash(config.seed, "sample")),
        **{f"metric:{metric}": value for metric, value in values.items()},
    )


def find_cutoffs(config: FilterConfig, scores: pl.LazyFrame) -> Selection:
    """Look at the scores as often as the rules need: twice for percentiles, four times for a
    budget."""
    selection = Selection(config, _cutoff_values(config, prepare(config, scores)))
    if config.budget is None:
        return selection
    rows = selection.decide(scores)
    unit, budget = config.budget
    if config.unscored == "keep":
        spent = rows.filter(~pl.col("scored")).select(column_named(unit).sum())
        budget = max(0, budget - spent.collect(engine="streaming").item())
    kept = rows.filter(pl.col("scored") & pl.col("keep"))
    return Selection(config, selection.cutoffs, _budget_cut(config, kept, unit, budget))


def _cutoff_values(config: FilterConfig, rows: pl.LazyFrame) -> pl.DataFrame:
    """The cut-offs of each group that has a scored document."""
    wanted = _wanted(config)
    rows = rows.filter("scored").select(
        "group", key=sortable_bits(pl.col("value")), weight=pl.lit(1, pl.Int64)
    )
    if not wanted:
        kind = rows.collect_schema()["group"]
        return pl.DataFrame(schema={"group": kind, "documents": pl.Int64, **FLOATS})
    counted = histogram(rows)
    sizes = counted.group_by("group").agg(documents=pl.col("weight").sum()).sort("group")
    places = {
        name: pl.Series([place(size) for size in sizes["documents"]], dtype=pl.Int64)
        for name, place in wanted.items()
    }
    targets = pl.concat([sizes.select("group", target=place) for place in places.values()]).unique()
    found = select(rows, counted, targets).select(
        "group", "target", value=from_sortable_bits(pl.col("key"))
    )
    cutoffs = sizes
    for name, place in places.items():
        cutoffs = (
            cutoffs.with_columns(target=place)
            .join(found, on=["group", "target"], how="left", nulls_equal=True)
            .rename({"value": name})
            .drop("target")
            .sort("group")
        )
    absent = FLOATS.keys() - places.keys()
    return cutoffs.with_columns(pl.lit(None, FLOATS[name]).alias(name) for name in absent)


def _wanted(config: FilterConfig) -> dict[str, Callable[[int], int]]:
    """For each cut-off its place among n sorted values, in exact arithmetic.

    A value is on the inner side of a percentile if its place is; so the outermost value that is
    kept is at the next whole place inward of the percentile's.
    """

    def at_least(percent: Fraction) -> Callable[[int], int]:
        return lambda n: ceil(position(percent / 100, n))

    def at_most(percent: Fraction) -> Callable[[int], int]:
        return lambda n: floor(position(percent / 100, n))

    wanted: dict[str, Callable[[int], int]] = {}
    if config.percentile is not None:
        low, high = (Fraction(repr(percent)) for percent in config.percentile)
        wanted |= {"low": at_least(low), "high": at_most(high)}
    if config.buckets is not None:
        given = config.bucket_percentiles
        head, middle = (Fraction(repr(p)) for p in given) if given else TERCILES
        wanted |= {"head": at_most(head), "middle": at_most(middle)}
    return wanted


def _budget_cut(config: FilterConfig, rows: pl.LazyFrame, unit: str, budget: int) -> Cut | None:
    """Where the order of the budget begins and ends. None if everything fits."""
    everything = pl.lit(None, pl.String)
    weighed = rows.select("key", group=everything, weight=column_named(unit))
    counted = histogram(weighed)
    total = int(counted["weight"].sum())
    excess = total - budget
    if excess <= 0:
        return None
    half = -(-excess // 2)
    # An edge is the first document up to and including which there are more than so much.
    targets = {
        "low": {"before": budget},
        "random": {"before": budget},
        "high": {"after": excess - 1},
        "middle": {"after": half - 1, "before": total - half},
    }[config.chosen_prefer]
    table = pl.DataFrame({"target": list(targets.values())}, schema={"target": pl.Int64})
    found = select(weighed, counted, table.select("target", group=everything))
    if config.prefer == "random":  # the key is the tie
        return Cut(before=Edge(found["key"].item(), found["key"].item()))
    # Among equal keys the ties decide: the same again, in each group of equals.
    tied = rows.filter(pl.col("key").is_in(found["key"].unique().implode())).select(
        group="key", key="tie", weight=unit
    )
    few = tied.head(MOST_TIED + 1).collect(engine="streaming")
    if few.height <= MOST_TIED:
        tied = few.lazy()
    left = found.select("target", group="key", rest=pl.col("target") - pl.col("below"))
    ties = select(tied, histogram(tied), left.select("group", target="rest").unique())
    edges = left.join(ties, left_on=["group", "rest"], right_on=["group", "target"])
    at = {
        target: Edge(key, tie) for target, key, tie in edges.select("target", "group", "key").rows()
    }
    return Cut(**{name: at[target] for name, target in targets.items()})


def _follows_rules(config: FilterConfig) -> pl.Expr:
    """Every rule but the budget, for a scored row."""
    value = pl.col("value")
    kept = pl.lit(True)
    for metric, bound in config.min.items():
        kept &= pl.col(f"metric:{metric}") >= bound
    for metric, bound in config.max.items():
        kept &= pl.col(f"metric:{metric}") <= bound
    if config.percentile is not None:
        kept &= (value >= pl.col("low")) & (value <= pl.col("high"))
    if config.buckets is not None:
        kept &= pl.col("bucket").is_in(config.buckets)
    if config.sample_toward is not None:
        mean, deviation = config.sample_toward
        kept &= pl.col("chance") < (-(((value - mean) / deviation) ** 2) / 2).exp()
    return kept


def _bucket(config: FilterConfig) -> pl.Expr:
    if config.buckets is None:
        return pl.lit(None, pl.String)
    named = (
        pl.when(pl.col("value") <= pl.col("head"))
        .then(pl.lit("head"))
        .when(pl.col("value") <= pl.col("middle"))
        .then(pl.lit("middle"))
        .otherwise(pl.lit("tail"))
    )
    return pl.when("scored").then(named)
