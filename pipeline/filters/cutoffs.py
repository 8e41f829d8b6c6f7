"""Cut-offs at percentiles: the outermost values that are kept, of all documents or of each group.

Owns where a percentile of documents, tokens or bytes lies among the values, in exact arithmetic. A
bound is inclusive, so equal values share a fate. What a percentile is stands in
statistics/quantile.py; finding the values at a place is statistics/order_statistics.py's.
"""

from collections.abc import Callable
from fractions import Fraction
from math import fsum
from typing import NamedTuple

import polars as pl

from pipeline.filters.config import Weight
from pipeline.filters.rule import group_value, look_up, metric_value
from pipeline.statistics.columns import column_named
from pipeline.statistics.order_statistics import (
    from_sortable_bits,
    histogram,
    select,
    sortable_bits,
)
from pipeline.statistics.quantile import Window, window

DOUBTFUL = 1e-9
"""Of the distance between values: a mean nearer to one of them is computed exactly."""
PLACES: dict[str, Callable[[Window], int]] = {
    "first": lambda over: over.start // over.scale,
    "last": lambda over: -(-over.end // over.scale) - 1,
}
"""Of the first and the last value in a window: the weight that it exceeds, with all below it."""


class End(NamedTuple):
    """One end of a band."""

    percent: Fraction
    is_lower: bool

    @property
    def inner(self) -> str:
        """The side of the window that is kept: the percentile lies between its first and its last
        value, and is neither unless they are one."""
        return "last" if self.is_lower else "first"

    def window(self, total: int, squares: int) -> Window:
        """What the percentile is the mean over."""
        return window(self.percent / 100, total, squares)

    def choose(self, over: Window, below: int, values: list[float], weights: list[int]) -> float:
        """The outermost value that is kept, of those in the window, in order: the next one inward
        of their weighted mean. `below` is the weight before the first."""
        parts, upto = [], below * over.scale
        for weight in weights:
            begins, upto = upto, upto + weight * over.scale
            parts.append(min(upto, over.end) - max(begins, over.start))
        shares = [Fraction(part, over.end - over.start) for part in parts]
        inward = values if self.is_lower else values[::-1]
        sign = 1 if self.is_lower else -1
        return next(one for one in inward if sign * _mean_beyond(one, values, shares) <= 0)


def _mean_beyond(value: float, values: list[float], shares: list[Fraction]) -> float | Fraction:
    """How far the weighted mean lies above a value: its sign is exact."""
    pairs = list(zip(values, shares, strict=True))
    found = fsum(float(share) * (one - value) for one, share in pairs)
    if abs(found) > DOUBTFUL * max(abs(one - value) for one in values):
        return found
    return sum((share * (Fraction(one) - Fraction(value)) for one, share in pairs), Fraction(0))


def lower(percent: float | Fraction) -> End:
    """The lowest value from a percentile on."""
    return End(exact(percent), True)


def upper(percent: float | Fraction) -> End:
    """The highest value up to a percentile."""
    return End(exact(percent), False)


def exact(percent: float | Fraction) -> Fraction:
    """A percentile as it was written: 0.1 is a tenth."""
    return Fraction(repr(percent)) if isinstance(percent, float) else Fraction(percent)


def find_cutoffs(
    rows: pl.LazyFrame,
    metric: str,
    within: str | None,
    ends: dict[str, End],
    weight: Weight = "documents",
) -> pl.DataFrame:
    """[group, documents, and each end by its name]: a row for each group with a scored document,
    in order. Two passes over the rows, with weights four."""
    weights = pl.lit(1, pl.Int64) if weight == "documents" else column_named(weight)
    values = rows.filter("scored").select(
        group=group_value(within), key=sortable_bits(metric_value(metric)), weight=weights
    )
    counted = histogram(values)
    groups = _sizes(values, counted, is_weighted=weight != "documents")
    sizes = groups.select("total", "squares").unique()
    sides = [
        (name, side, end)
        for name, end in ends.items()
        for side in PLACES
        if side == end.inner or weight != "documents"
    ]
    for name, side, end in sides:
        at = [PLACES[side](end.window(*size)) for size in sizes.select("total", "squares").rows()]
        sizes = sizes.with_columns(pl.Series(f"{name} {side}", at, pl.Int64))
    groups = groups.join(sizes, on=["total", "squares"])
    targets = [groups.select("group", target=f"{name} {side}") for name, side, _ in sides]
    found = select(values, counted, pl.concat(targets).unique())
    for name, side, _ in sides:
        own = found.select("group", pl.col("key", "below").name.prefix(f"{name} {side} "), "target")
        groups = groups.join(
            own,
            left_on=["group", f"{name} {side}"],
            right_on=["group", "target"],
            how="left",
            nulls_equal=True,
        )
    cutoffs = groups.select(
        "group",
        "documents",
        *(
            from_sortable_bits(column_named(f"{name} {end.inner} key")).alias(name)
            for name, end in ends.items()
        ),
    )
    if weight != "documents":
        near = _near(rows, groups, metric, within, weight, list(ends))
        for name, end in ends.items():
            between = _chosen(groups, near, name, end)
            cutoffs = cutoffs.join(between, on="group", how="left", nulls_equal=True)
            cutoffs = cutoffs.with_columns(pl.coalesce("chosen", name).alias(name)).drop("chosen")
    return cutoffs.sort("group")


def _sizes(values: pl.LazyFrame, counted: pl.DataFrame, *, is_weighted: bool) -> pl.DataFrame:
    """[group, documents, total, squares]: what the weights, and their squares, add up to."""
    if not is_weighted:
        found = counted.group_by("group").agg(documents=pl.col("weight").sum())
        return found.with_columns(total="documents", squares="documents")
    weight = pl.col("weight")
    found = (
        values.group_by("group")
        .agg(
            documents=pl.len().cast(pl.Int64),
            total=weight.sum(),
            squares=(weight.cast(pl.Int128) * weight).sum(),
        )
        .collect(engine="streaming")
    )
    return found.filter(pl.col("total") > 0)


def _near(
    rows: pl.LazyFrame,
    groups: pl.DataFrame,
    metric: str,
    within: str | None,
    weight: Weight,
    names: list[str],
) -> pl.DataFrame:
    """[group, key, weight] of the values in the windows, in order."""
    first, last = ({name: f"{name} {side} key" for name in names} for side in PLACES)
    bounds = groups.select(
        "group",
        *(
            pl.when(column_named(first[name]) < column_named(last[name]))
            .then(column_named(column))
            .alias(column)
            for name in names
            for column in (first[name], last[name])
        ),
    )
    key = pl.col("key")
    inside = pl.any_horizontal(
        key.is_between(column_named(first[name]), column_named(last[name])) for name in names
    )
    scored = rows.filter("scored").with_columns(key=sortable_bits(metric_value(metric)))
    return (
        look_up(scored, bounds, within)
        .filter(inside)
        .select("key", group=group_value(within), weight=column_named(weight))
        .group_by("group", "key")
        .agg(pl.col("weight").sum())
        .collect(engine="streaming")
        .sort("group", "key")
    )


def _chosen(groups: pl.DataFrame, near: pl.DataFrame, name: str, end: End) -> pl.DataFrame:
    """[group, chosen]: the cut-off of the groups that have values between the outermost two."""
    first, last = (column_named(f"{name} {side} key") for side in PLACES)
    own = (
        near.join(groups.filter(first < last), on="group", nulls_equal=True)
        .filter(pl.col("key").is_between(first, last))
        .group_by("group", maintain_order=True)
        .agg(
            pl.col("total", "squares").first(),
            column_named(f"{name} first below").first().alias("below"),
            from_sortable_bits(pl.col("key")).alias("values"),
            pl.col("weight"),
        )
        .filter(pl.col("values").list.len() > 2)
    )
    chosen = [
        end.choose(end.window(total, squares), below, values, weights)
        for total, squares, below, values, weights in own.drop("group").iter_rows()
    ]
    return own.select("group", pl.Series("chosen", chosen, pl.Float64))
