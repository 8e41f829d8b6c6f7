"""Score rows of which one may stand for many: a band decides them as it would decide every row.

Owns which documents have to be read. What a band keeps changes only at its ends, so one row stands
for all documents of a bin that no end goes through; those of the other bins are read. In these rows
the rule finds its own cut-offs, and decides. There are none where too many would have to be read,
or where the bins are not of these rows.
"""

from typing import NamedTuple

import polars as pl

from pipeline.explore.bins import UNSCORED, Bins, bin_of
from pipeline.explore.run import ExploredRun
from pipeline.filters.counts import SIZES
from pipeline.filters.rule import Rule, look_up, metric_value
from pipeline.filters.rules.bounds import Bounds
from pipeline.filters.selection import Selection, prepare
from pipeline.reports.groups import OTHERS, group_code
from pipeline.reports.groups import value_of as group_of_label
from pipeline.schema import LARGEST
from pipeline.statistics.columns import column_named, nan_as_null

MOST_READ = 1 << 22
"""Largest number of documents that are read."""
MOST_SPANS = 16
"""Ranges of values that are read; those with the smallest gaps between them are read as one."""
CELL = ["group", "bin"]


class Condensed(NamedTuple):
    """A rule with its cut-offs, and what it keeps."""

    rule: Rule
    kept: pl.DataFrame
    """Columns [group, SIZES]: of each of the bins' groups that anything is kept of."""


class Narrowed(NamedTuple):
    """The documents for which a condition holds."""

    bins: Bins
    holds: pl.Expr


def condense(
    run: ExploredRun,
    rule: Rule,
    metric: str,
    by: str | None,
    bins: Bins,
    narrowed: Narrowed | None = None,
) -> Condensed | None:
    """Of a rule that keeps a band of the bins' metric, of all documents or within their groups: the
    cut-offs are those of all documents, and of the narrowed ones is counted what it keeps."""
    if rule.within is not None and values_of(run, by, bins) is None:
        return None
    rows = _condensed(run, rule, metric, by, bins)
    if rows is None:
        return None
    found = rule.find(rows.lazy())
    if narrowed is not None:
        rows = _condensed(run, found, metric, by, *narrowed)
        if rows is None:
            return None
    marked = Selection((found,)).mark(rows.lazy()).filter("keep")
    return Condensed(found, marked.group_by("group").agg(pl.col(SIZES).sum()).collect())


def values_of(run: ExploredRun, by: str | None, bins: Bins) -> pl.Series | None:
    """The values of a column that the bins' groups are of; None where their names do not tell."""
    if by is None or OTHERS in bins.groups:
        return None
    kind = run.rows().collect_schema()[by]
    if kind != pl.String and not kind.is_integer():
        return None
    return pl.Series([group_of_label(name) for name in bins.groups], dtype=pl.String).cast(kind)


def _condensed(
    run: ExploredRun,
    rule: Rule,
    metric: str,
    by: str | None,
    bins: Bins,
    holds: pl.Expr | None = None,
) -> pl.DataFrame | None:
    """Rows as `selection.prepare` gives them, with the bins' `group`."""
    cells = _stand_ins(rule, metric, bins, values_of(run, by, bins))
    # A percentile lies in the bin in which it is found here: how many are below that is known.
    located = rule.find(cells.lazy()) if rule.cutoffs is None else rule
    near = _crossed(located, cells)
    num_near = near["documents"].sum()
    if num_near > MOST_READ:
        return None
    # On the rows as they are stored, so that of others one column alone is decoded.
    inside = _in_spans(column_named(metric).cast(pl.Float64), near)
    rows = nan_as_null(run.prepared.rows.everything().filter(inside))
    if holds is not None:
        rows = rows.filter(holds)
    group = pl.lit(0, pl.Int64) if by is None else group_code("by", bins.groups)
    own = metric_value(metric).clip(-LARGEST, LARGEST)
    names = [name for name in cells.columns if name not in ("first", "last")]
    read = (
        prepare([rule], rows, by)
        .filter("scored")
        .with_columns(group=group, bin=bin_of(own, bins.scale))
        .join(near.lazy(), on=CELL, how="semi")
        .select(names)
        .collect(engine="streaming")
    )
    if read.height != num_near:
        return None
    return pl.concat([cells.join(near, on=CELL, how="anti").select(names), read])


def _stand_ins(rule: Rule, metric: str, bins: Bins, values: pl.Series | None) -> pl.DataFrame:
    """A row for each bin of a group, as `selection.prepare` gives them, at its lowest value."""
    cells = bins.cells.filter(pl.col("bin") != UNSCORED)
    rows = cells.select(
        *CELL,
        *SIZES,
        pl.lit(True).alias("scored"),
        pl.col("low").alias(f"metric:{metric}"),
        first="low",
        last="high",
    )
    if rule.within is None or values is None:
        return rows
    return rows.with_columns(values.gather(rows["group"]).alias(f"group:{rule.within}"))


def _crossed(rule: Rule, cells: pl.DataFrame) -> pl.DataFrame:
    """The cells that an end goes through, so that one value does not tell of the others."""
    if isinstance(rule, Bounds):
        ends = cells.lazy().with_columns(
            low=pl.lit(rule.low, pl.Float64), high=pl.lit(rule.high, pl.Float64)
        )
    else:
        assert rule.cutoffs is not None
        ends = look_up(cells.lazy(), rule.cutoffs.drop("documents"), rule.within)
    first, last = pl.col("first"), pl.col("last")
    through = pl.any_horizontal(pl.col("low", "high").is_between(first, last))
    # A bin has infinite values as the largest.
    is_open = (first == -LARGEST) | (last == LARGEST)
    found = ends.filter(((first < last) & through.fill_null(False)) | is_open).collect()
    if rule.within is None:
        found = cells.filter(pl.col("bin").is_in(found["bin"].unique().implode()))
    return found.select(*CELL, "documents", "first", "last")


def _in_spans(value: pl.Expr, near: pl.DataFrame) -> pl.Expr:
    """Whether a value is near those of some cells: in one of a few spans."""
    spans = near.group_by("bin").agg(pl.col("first").min(), pl.col("last").max()).sort("bin")
    gap = pl.col("bin").diff().rank("ordinal", descending=True)
    spans = spans.group_by((gap < MOST_SPANS).fill_null(True).cum_sum().alias("span")).agg(
        pl.col("first").min().replace(-LARGEST, float("-inf")),
        pl.col("last").max().replace(LARGEST, float("inf")),
    )
    inside = [value.is_between(*ends) for ends in spans.drop("span").iter_rows()]
    return pl.any_horizontal(inside) if inside else pl.lit(False)
