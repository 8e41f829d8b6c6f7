"""The distribution of a metric by group, in bins: what a page draws, and counts with while a
handle is dragged.

Owns the bins, and the one pass that fills them. On a log axis they are of equal width there, 128 a
factor of e; where that cannot hold a metric's values or tell them apart, a few hundred over its
range, or in a bit; of whole numbers that are few, such as years, one for each. Each has its
documents, tokens and bytes, and its smallest and largest value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipeline.explore.run import ExploredRun
from pipeline.filters.counts import SIZES
from pipeline.reports.groups import (
    Grouping,
    check_dates,
    check_group,
    group_code,
    grouping_of,
    largest_query,
)
from pipeline.schema import LARGEST, METRICS, SCORED
from pipeline.statistics.columns import column_named

LOG_BINS = 128
"""Bins per factor of e."""
LINEAR_BINS = 512
FEW_NUMBERS = 128
"""Whole numbers from the smallest to the largest that have a bin each on any axis."""
BIT_BINS = 512
"""A bit per byte of difference between two runs."""
MOST_BINS = 1 << 20
"""Either side of the start of a linear axis."""
ZERO = -(1 << 30)
"""Bin of values of 0 and below on a log axis: to the left of all others."""
UNSCORED = ZERO - 1
"""Bin of documents without a value."""
CELL_COLUMNS = ("group", "bin", *SIZES, "low", "high")


@dataclass(frozen=True, slots=True)
class Scale:
    """From bins to values: the lower edge of bin i is at start + i * width, or e to its power. A
    bin of the kind `whole` has one whole number, in its middle."""

    kind: Literal["log", "linear", "whole"]
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Bins:
    """A metric's distribution."""

    scale: Scale
    groups: tuple[str, ...]
    """Names of groups, the largest first; one empty name if rows are not grouped."""
    cells: pl.DataFrame
    """Columns CELL_COLUMNS, with one row for each bin of a group that has documents."""


def group_of(run: ExploredRun, by: str | None) -> Grouping:
    """The groups that are counted separately. Raises RunError for a column that has none."""
    if by is None:
        return Grouping(None, ("",))
    check_group(by, run.manifest)
    rows = run.rows()
    check_dates(rows, [by])
    return grouping_of(by, largest_query(rows, by).collect(engine="streaming"))


def fill_bins(
    run: ExploredRun,
    metric: str,
    grouping: Grouping,
    *,
    where: pl.Expr | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Bins:
    """Read the scores once, or of a metric whose range is not known twice."""
    scale = _scale_of(run, metric)
    found = [_no_cells()]
    for num_rows, rows in run.chunks():
        narrowed = rows if where is None else rows.filter(where)
        counted = _count(narrowed, metric, scale, grouping).collect(engine="streaming")
        found.append(counted)
        progress(num_rows)
    keys = ("group", "bin")
    cells = (
        pl.concat(found)
        .group_by(keys)
        .agg(pl.col(SIZES).sum(), pl.col("low").min(), pl.col("high").max())
        .sort(keys)
    )
    return Bins(scale, grouping.groups, cells.select(CELL_COLUMNS))


def value_of(metric: str) -> pl.Expr:
    """Of a metric, in score rows: null where there is none."""
    value = column_named(metric).cast(pl.Float64).fill_nan(None)
    return value.clip(-LARGEST, LARGEST)


def bin_of(value: pl.Expr, scale: Scale) -> pl.Expr:
    """The bin of a value, as `value_of` gives it."""
    if scale.kind == "log":
        place = pl.when(value > 0).then((value.log() / scale.width).floor()).otherwise(ZERO)
    else:
        place = ((value - scale.start) / scale.width).floor().clip(-MOST_BINS, MOST_BINS)
    return pl.when(value.is_null()).then(UNSCORED).otherwise(place).cast(pl.Int64)


def _scale_of(run: ExploredRun, metric: str) -> Scale:
    logarithmic = Scale("log", 0.0, 1 / LOG_BINS)
    if metric in run.prepared.own_metrics:
        # Of bits per byte, whose size is known: a document far away makes no bin wider.
        return Scale("linear", 0.0, 1 / BIT_BINS) if metric == "difference" else logarithmic
    if metric in METRICS and not METRICS[metric].is_signed:
        return logarithmic
    rows, value = run.rows(), value_of(metric)
    ends = rows.select(low=value.min(), high=value.max()).collect(engine="streaming")
    low, high = ends.row(0)
    if low is None:
        return logarithmic
    is_wide = 0 <= 2 * low <= high
    if rows.collect_schema()[metric].is_integer():
        width = (high - low + 1) / LINEAR_BINS
        if width <= 1 and not (is_wide and high - low >= FEW_NUMBERS):
            return Scale("whole", low - 0.5, 1.0)
        if not is_wide:
            return Scale("linear", low - 0.5, float(math.ceil(width)))
    if is_wide:
        return logarithmic
    # Divided first: the range of some columns exceeds a float64.
    bins = LINEAR_BINS - 1e-6  # the highest value is in the last one
    return Scale("linear", low, high / bins - low / bins or 1.0)


def _count(rows: pl.LazyFrame, metric: str, scale: Scale, grouping: Grouping) -> pl.LazyFrame:
    value = pl.when(pl.col("status").is_in(SCORED)).then(value_of(metric))
    group = pl.lit(0, pl.Int64)
    if grouping.column is not None:
        group = group_code(grouping.column, grouping.groups)
    # One whole number a row: grouping by it takes a fraction of the time of two columns.
    return (
        rows.select(
            code=group * (1 << 32) + (bin_of(value, scale) - UNSCORED),
            value=value,
            tokens=pl.col("num_tokens") + pl.col("num_skipped_tokens"),
            bytes="num_bytes",
        )
        .group_by("code")
        .agg(
            documents=pl.len().cast(pl.Int64),
            tokens=pl.col("tokens").sum(),
            bytes=pl.col("bytes").sum(),
            low=pl.col("value").min(),
            high=pl.col("value").max(),
        )
        .select(
            (pl.col("code") // (1 << 32)).alias("group"),
            (pl.col("code") % (1 << 32) + UNSCORED).alias("bin"),
            *SIZES,
            "low",
            "high",
        )
    )


def _no_cells() -> pl.DataFrame:
    kinds = dict.fromkeys(("group", "bin", *SIZES), pl.Int64()) | dict.fromkeys(
        ("low", "high"), pl.Float64()
    )
    return pl.DataFrame(schema=kinds)
