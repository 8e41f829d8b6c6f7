"""Cut-offs at percentiles: the outermost values that are kept, of all documents or of each group.

Owns where a percentile of documents, tokens or bytes lies among the values, in exact arithmetic. A
bound is inclusive, so equal values are kept or dropped together. What a percentile is stands in
statistics/quantile.py; finding the values at a place is statistics/order_statistics.py's.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import fsum
from typing import NamedTuple

import polars as pl

from pipeline.filters.rule import group_value, metric_value
from pipeline.filters.spelling import are_shares
from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.columns import column_named
from pipeline.statistics.order_statistics import (
    COARSE,
    bins_of,
    from_sortable_bits,
    histogram,
    rows_in,
    select,
    sortable_bits,
)
from pipeline.statistics.quantile import Window, window

DOUBTFUL = 1e-9
"""Share of the distance between two values: a mean nearer to one of them is computed exactly."""
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


def in_hundreds(low: float, high: float) -> Iterator[str]:
    """A line for people where both percentiles may have been meant as shares, as pandas takes them;
    these are NumPy's."""
    if are_shares(low, high):
        given, meant = (f"{low:g} and {high:g}", f"{100 * low:g} and {100 * high:g}")
        yield f"percentiles go from 0 to 100: {given} are among the lowest 1%, not {meant}"


def lower(percent: float | Fraction) -> End:
    """The lowest value from a percentile on."""
    return End(exact(percent), True)


def upper(percent: float | Fraction) -> End:
    """The highest value up to a percentile."""
    return End(exact(percent), False)


def exact(percent: float | Fraction) -> Fraction:
    """A percentile or a share as it was written: 0.1 is a tenth."""
    return Fraction(repr(percent)) if isinstance(percent, float) else Fraction(percent)


def find_cutoffs(
    rows: pl.LazyFrame,
    metric: str,
    within: str | None,
    ends: dict[str, End],
    weight: Weight = UNWEIGHTED,
) -> pl.DataFrame:
    """[group, documents, and each end by its name]: a row for each group with a scored document,
    in order. Two passes over the rows."""
    values = rows.filter("scored").select(
        group=group_value(within),
        key=sortable_bits(metric_value(metric)),
        weight=column_named(weight),
    )
    is_weighted = weight != UNWEIGHTED
    counted, groups = _sizes(values, is_weighted=is_weighted)
    sizes = groups.select("total", "squares").unique()
    sides = [
        (name, side, end)
        for name, end in ends.items()
        for side in PLACES
        if side == end.inner or is_weighted
    ]
    for name, side, end in sides:
        at = [PLACES[side](end.window(*size)) for size in sizes.select("total", "squares").rows()]
        sizes = sizes.with_columns(pl.Series(f"{name} {side}", at, pl.Int64))
    groups = groups.join(sizes, on=["total", "squares"])
    targets = [groups.select("group", target=f"{name} {side}") for name, side, _ in sides]
    wanted = pl.concat(targets).unique()
    near = _near(values, counted, groups, ends) if is_weighted else None
    found = select(values if near is None else near.lazy(), counted, wanted)
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
    if near is not None:
        for name, end in ends.items():
            between = _chosen(groups, near, name, end)
            cutoffs = cutoffs.join(between, on="group", how="left", nulls_equal=True)
            cutoffs = cutoffs.with_columns(pl.coalesce("chosen", name).alias(name)).drop("chosen")
    return cutoffs.sort("group")


def _sizes(values: pl.LazyFrame, *, is_weighted: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The histogram, and [group, documents, total, squares]: what the weights, and their squares,
    add up to."""
    if not is_weighted:
        counted = histogram(values)
        groups = counted.group_by("group").agg(documents=pl.col("weight").sum())
        return counted, groups.with_columns(total="documents", squares="documents")
    # Their sum exceeds 64 bits: squares in two halves.
    squared = pl.col("weight").cast(pl.UInt64) * pl.col("weight").cast(pl.UInt64)
    half = pl.lit(1 << 32, pl.UInt64)
    counted = histogram(
        values,
        documents=pl.len().cast(pl.Int64),
        high=(squared // half).sum(),
        rest=(squared % half).sum(),
    )
    high, rest = (column_named(name).cast(pl.Int128) for name in ("high", "rest"))
    groups = counted.group_by("group").agg(
        pl.col("documents").sum(),
        total=pl.col("weight").sum(),
        squares=(high * (1 << 32) + rest).sum(),
    )
    return counted.select("group", COARSE, "weight"), groups.filter(pl.col("total") > 0)


def _near(
    values: pl.LazyFrame, counted: pl.DataFrame, groups: pl.DataFrame, names: Iterable[str]
) -> pl.DataFrame:
    """[group, key, weight] of the values that may be in a window, in order: those in the bins of
    its first and of its last value, and between them."""
    spans = []
    for name in names:
        first, last = (
            bins_of(counted, groups.select("group", target=f"{name} {side}")).select(
                "group", pl.col(COARSE).alias(side)
            )
            for side in PLACES
        )
        span = first.join(last, on="group", nulls_equal=True)
        own = counted.join(span, on="group", nulls_equal=True)
        spans.append(own.filter(pl.col(COARSE).is_between("first", "last")).select("group", COARSE))
    near = rows_in(values, pl.concat(spans)).group_by("group", "key").agg(pl.col("weight").sum())
    return near.collect(engine="streaming").sort("group", "key")


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
