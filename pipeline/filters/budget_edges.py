"""Where a budget begins and ends in the order in which it is spent, for each group.

Owns finding these edges, exactly, and deciding a document by them. A place in the order is a key,
the value of a metric or a random number, and among equal keys a tie. The order statistics are
statistics/order_statistics.py's; how much a group may spend is rules/budget.py's.
"""

import operator
from collections.abc import Callable

import polars as pl

from pipeline.filters.config import Prefer
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

MOST_HELD = 1 << 22
"""Largest number of documents near an edge that are held in memory; more are read again."""
PLACES = ("after", "before", "middle")
BEYOND = {"after": operator.gt, "before": operator.lt}
"""The edges, and how what is kept compares with them."""
OUTERMOST = ("first kept", "last kept")
SET = ["group", "key"]


def find_edges(
    rows: pl.LazyFrame,
    order: pl.Expr,
    tie: pl.Expr,
    prefer: Prefer,
    parts: Callable[[pl.DataFrame], pl.Series],
) -> pl.DataFrame:
    """[group, budget, after key, after tie, before key, before tie, middle key, OUTERMOST].

    `rows` [group, weight, ...] are what may be kept, `order` and `tie` their place in the order;
    `parts` gives the budget of each of the groups [group, total].

    What is kept lies after one edge and before the other. An edge without a key does not cut; one
    without a tie is a single document, which is dropped. The middle is there if the budget is spent
    from the middle and not all fits. The outermost are the keys kept next to the edges; null where
    nothing is kept, or everything.
    """
    is_random = prefer == "random"
    rows = rows.with_columns(key=order if is_random else sortable_bits(order))
    weighed = rows.select(*SET, "weight")
    counted = histogram(weighed)
    groups = counted.group_by("group").agg(total=pl.col("weight").sum()).sort("group")
    groups = groups.with_columns(budget=parts(groups))
    excess, total = pl.col("total") - pl.col("budget"), pl.col("total")
    half = (excess + 1) // 2
    # An edge is the first document up to and including which there are more than so much.
    wanted = {
        "low": {"before": pl.col("budget")},
        "random": {"before": pl.col("budget")},
        "high": {"after": excess - 1},
        "middle": {"after": half - 1, "before": total - half, "middle": total // 2},
    }[prefer]
    short = groups.filter(excess > 0)
    targets = pl.concat(short.select("group", target=target) for target in wanted.values()).unique()
    near = _held(rows_in(weighed, _with_neighbours(bins_of(counted, targets), counted)))
    found = select(near, counted, targets)
    tied = _tied(rows, near, found, tie)
    at = _among_equals(tied, found)
    edges = groups.select("group", "budget")
    for place in PLACES:
        names = {f"{place} {name}": column_named(name) for name in ("key", "tie")}
        own = short.select("group", target=wanted.get(place, pl.lit(None, pl.Int64)))
        own = own.join(at, on=["group", "target"], nulls_equal=True).select("group", **names)
        edges = edges.join(own, on="group", how="left", nulls_equal=True)
    outermost = _outermost(pl.concat([near, tied], how="diagonal"), edges)
    edges = edges.drop("middle tie").join(outermost, on="group", how="left", nulls_equal=True)
    keys = (*(f"{place} key" for place in PLACES), *OUTERMOST)
    if not is_random:
        edges = edges.with_columns(from_sortable_bits(column_named(name)) for name in keys)
    return edges.sort("group")


def cutting(edges: pl.DataFrame) -> pl.DataFrame:
    """[group, and the columns that decide]: what is null for all groups need not be looked up."""
    names = [f"{end} {name}" for end in BEYOND for name in ("key", "tie")]
    return edges.select(
        "group", *(name for name in names if edges[name].null_count() < edges.height)
    )


def between(cutting: pl.DataFrame, tie: pl.Expr) -> pl.Expr:
    """Whether a row [key, ...], with its group's row of `cutting` beside it, lies between them."""
    key, kept = pl.col("key"), pl.lit(True)
    for end, beyond in BEYOND.items():
        at, last = (column_named(f"{end} {name}") for name in ("key", "tie"))
        if f"{end} key" in cutting.columns:
            inside = at.is_null() | beyond(key, at)
            if f"{end} tie" in cutting.columns:
                inside |= beyond(pl.when(key == at).then(tie), last).fill_null(False)
            kept &= inside
    return kept


def _with_neighbours(bins: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """[group, bin] of these bins and of the next ones of their group that have documents: where
    the document beside an edge is."""
    beside = [counted.with_columns(beside=pl.col(COARSE).shift(by).over("group")) for by in (-1, 1)]
    near = [bins.join(one, on=["group", COARSE], nulls_equal=True) for one in beside]
    found = [bins, *(one.select("group", pl.col("beside").alias(COARSE)) for one in near)]
    return pl.concat([one.select("group", COARSE) for one in found])


def _tied(
    rows: pl.LazyFrame, near: pl.LazyFrame, found: pl.DataFrame, tie: pl.Expr
) -> pl.LazyFrame:
    """[group, key, weight, tie] of the documents that share an edge's key with others: elsewhere
    nothing depends on ties, and the columns that they are made of need not be read."""
    at_edges = near.join(found.lazy(), on=SET, how="semi", nulls_equal=True)
    shared = at_edges.group_by(SET).len().filter(pl.col("len") > 1)
    sets = shared.select(SET).collect(engine="streaming")
    if not sets.height:
        return near.with_columns(tie=pl.lit(None, pl.UInt64)).clear()
    tied = rows.join(sets.lazy(), on=SET, how="semi", nulls_equal=True)
    return _held(tied.select(*SET, "weight", tie=tie))


def _among_equals(tied: pl.LazyFrame, found: pl.DataFrame) -> pl.DataFrame:
    """[group, target, key, tie] of the edges, whose keys are found; no tie where none is needed."""
    # Among equal keys the ties decide: the same again, in each set of equals.
    sets = found.select(SET).unique().with_row_index("set")
    own = tied.join(sets.lazy(), on=SET, nulls_equal=True)
    own = own.select("weight", group="set", key="tie")
    left = found.join(sets, on=SET, nulls_equal=True)
    left = left.with_columns(rest=pl.col("target") - pl.col("below"))
    ties = select(own, histogram(own), left.select(group="set", target="rest").unique())
    ties = ties.select(set="group", rest="target", tie="key")
    return left.join(ties, on=["set", "rest"], how="left").select("group", "target", "key", "tie")


def _outermost(rows: pl.LazyFrame, edges: pl.DataFrame) -> pl.DataFrame:
    """[group, OUTERMOST] of the rows [group, key, tie] near the edges."""
    cuts = cutting(edges)
    there = rows.join(cuts.lazy(), on="group", nulls_equal=True)
    ends = (pl.col("key").min(), pl.col("key").max())
    named_ends = [end.alias(name) for end, name in zip(ends, OUTERMOST, strict=True)]
    kept = there.filter(between(cuts, pl.col("tie"))).group_by("group").agg(named_ends)
    return kept.collect(engine="streaming")


def _held(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The same rows, in memory if they are few."""
    few = rows.head(MOST_HELD + 1).collect(engine="streaming")
    return few.lazy() if few.height <= MOST_HELD else rows
