"""`budget_tokens` and `budget_bytes`: of what all other rules keep, the most that fits.

The lowest or highest values first, equal ones in a random order; or, middle first, dropping as many
tokens or bytes at either end, so that the middle is the median that each document counts for by its
size; or in a random order. It ends at the first document that does not fit. What is
kept without a score is charged to it.

Within groups each group has a part of the budget, rounded down: in proportion to what the other
rules keep of it, which keeps the mix, or to `shares`. What a group has too little for is not given
to the others.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import polars as pl

from pipeline.errors import ConfigError, named
from pipeline.filters.config import FilterConfig, Prefer
from pipeline.filters.rule import (
    MOST_NAMED,
    Rule,
    group_names,
    group_value,
    label,
    look_up,
    metric_value,
)
from pipeline.reports.groups import label_of
from pipeline.schema import LARGEST, RATIOS
from pipeline.settings.names import near_or_known
from pipeline.statistics.columns import column_named
from pipeline.statistics.hashing import row_hash
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
"""Largest number of documents near an edge of the budget that are held in memory; more are read
again."""
EDGE = {"key": pl.UInt64, "tie": pl.UInt64}
ENDS = ("after", "before")
PLACES = (*ENDS, "middle")
MIDDLE = "middle key"
EDGES = {f"{end} {name}": kind for end in ENDS for name, kind in EDGE.items()}
OUTERMOST = ("first kept", "last kept")


@dataclass(frozen=True)
class Budget(Rule):
    """A budget of tokens or bytes."""

    unit: Literal["tokens", "bytes"]
    amount: int
    metric: str
    prefer: Prefer = "low"
    seed: int = 0
    within: str | None = None
    shares: dict[str, float] | None = None
    """Share of each group of `within`, in any unit; None is proportional to size."""
    beside: str | None = None
    """The column whose groups another rule treats one by one, but which share this budget."""
    edges: pl.DataFrame | None = None
    """[group, budget, EDGES, MIDDLE, OUTERMOST]: a place in the order of the budget is `key`, then
    `tie`. What is kept lies after one edge, before the other; null is its end. The middle is there
    where it is spent from the middle and not all fits. The outermost are keys beside the edges;
    null where nothing is kept, or everything."""

    of_kept: ClassVar[int] = 2

    @property
    def metrics(self) -> tuple[str, ...]:
        return () if self.prefer == "random" else (self.metric,)

    @property
    def columns(self) -> dict[str, pl.Expr]:
        ratio = RATIOS.get(self.metric)
        if ratio is None or self.prefer == "random":
            return {}
        return {f"nats:{self.metric}": pl.col("nll") / column_named(str(ratio.per))}

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        rest = self.amount
        if keeps_unscored:
            spent = rows.filter(~pl.col("scored"), pl.col("keep")).select(column_named(self.unit))
            rest = max(0, rest - spent.sum().collect(engine="streaming").item())
        kept = self._keyed(rows.filter(pl.col("scored"), pl.col("keep"))).with_columns(
            group=group_value(self.within), weight=column_named(self.unit)
        )
        return replace(self, edges=self._edges(kept, rest))

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        assert self.edges is not None
        # A tie is computed only where it decides: a hash of every row costs a fifth more.
        kept = _between(self.edges, self._tie())
        beside = look_up(self._keyed(rows), self.edges.select("group", *EDGES), self.within)
        return beside.with_columns(kept.alias(name)).drop("key", *EDGES)

    def words(self) -> Iterable[str]:
        assert self.edges is not None
        if self.beside is not None:
            yield f"the budget is one for all groups of {self.beside}, not divided among them"
        kept = self.edges.select(from_sortable_bits(column_named(name)) for name in OUTERMOST)
        for group, (first, last) in zip(self.edge_values(), kept.iter_rows(), strict=True):
            ends = (("from", "after", first), ("up to", "before", last))
            there = [(word, value) for word, edge, value in ends if group[edge] is not None]
            said = [f"{word} {value:.6g}" for word, value in there if value is not None]
            where = label(group["group"], self.within)
            whole = self.within is None
            what = "the budget" if whole else f"a budget of {group['budget']:,} {self.unit}"
            if group["middle"] is not None:
                middle = f"the middle is {self.metric} {group['middle']:.6g}"
                yield f"{where}{middle}, the median weighted by {self.unit}"
            if said:
                yield f"{where}{what} keeps {self.metric} {' '.join(said)}"
            elif there:
                yield f"{where}{what} keeps nothing: the first document does not fit"

    def edge_values(self) -> list[dict[str, Any]]:
        """{group, budget, after, before, middle}: each group's part, and the values at which it
        begins and ends; None where it goes to the end, and in a random order."""
        assert self.edges is not None
        places = {name: from_sortable_bits(column_named(f"{name} key")) for name in PLACES}
        if self.prefer == "random":
            places = dict.fromkeys(PLACES, pl.lit(None, pl.Float64))
        values = self.edges.select("budget", **places)
        names = group_names(self.edges["group"])
        return [
            {"group": name, **row}
            for name, row in zip(names, values.iter_rows(named=True), strict=True)
        ]

    def _keyed(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """With `key`, by which the budget is spent."""
        if self.prefer == "random":
            return rows.with_columns(key=row_hash(self.seed, "order"))
        return rows.with_columns(key=sortable_bits(metric_value(self.metric)))

    def _tie(self) -> pl.Expr:
        """What it is spent by among equal keys."""
        tie = row_hash(self.seed, "order")
        if self.columns:
            # What a float64 cannot hold has an order too: that of its logarithm.
            nats = sortable_bits(column_named(f"nats:{self.metric}"))
            tie = pl.when(metric_value(self.metric) == LARGEST).then(nats).otherwise(tie)
        return tie

    def _edges(self, rows: pl.LazyFrame, budget: int) -> pl.DataFrame:
        """Where the order of each group's budget begins and ends."""
        weighed = rows.select("group", "key", "weight")
        counted = histogram(weighed)
        groups = counted.group_by("group").agg(total=pl.col("weight").sum()).sort("group")
        groups = groups.with_columns(budget=self._parts(groups, budget))
        excess, total = pl.col("total") - pl.col("budget"), pl.col("total")
        half = (excess + 1) // 2
        # An edge is the first document up to and including which there are more than so much.
        wanted = {
            "low": {"before": pl.col("budget")},
            "random": {"before": pl.col("budget")},
            "high": {"after": excess - 1},
            "middle": {"after": half - 1, "before": total - half, "middle": total // 2},
        }[self.prefer]
        short = groups.filter(excess > 0)
        targets = [short.select("group", target=target) for target in wanted.values()]
        all_targets = pl.concat(targets).unique()
        near = rows_in(rows, _with_neighbours(bins_of(counted, all_targets), counted))
        rows = _held(near.select("group", "key", "weight", tie=self._tie()))
        found = select(rows.select("group", "key", "weight"), counted, all_targets)
        at = self._among_equals(rows, found)
        edges = groups.select("group", "budget")
        for place in PLACES:
            names = {f"{place} {name}": column_named(name) for name in EDGE}
            own = short.select("group", target=wanted.get(place, pl.lit(None, pl.Int64)))
            own = own.join(at, on=["group", "target"], nulls_equal=True).select("group", **names)
            edges = edges.join(own, on="group", how="left", nulls_equal=True)
        edges = edges.drop("middle tie")
        outermost = _outermost(rows, edges)
        return edges.join(outermost, on="group", how="left", nulls_equal=True).sort("group")

    def _among_equals(self, rows: pl.LazyFrame, found: pl.DataFrame) -> pl.DataFrame:
        """[group, target, key, tie] of the edges, whose values are found."""
        if self.prefer == "random":  # the key is the tie
            return found.select("group", "target", "key", tie="key")
        # Among equal keys the ties decide: the same again, in each set of equals.
        sets = found.select("group", "key").unique().with_row_index("set")
        tied = rows.join(sets.lazy(), on=["group", "key"], nulls_equal=True).select(
            "weight", group="set", key="tie"
        )
        tied = _held(tied)
        left = found.join(sets, on=["group", "key"], nulls_equal=True).with_columns(
            rest=pl.col("target") - pl.col("below")
        )
        ties = select(tied, histogram(tied), left.select(group="set", target="rest").unique())
        ties = ties.select(set="group", rest="target", tie="key")
        return left.join(ties, on=["set", "rest"]).select("group", "target", "key", "tie")

    def _parts(self, groups: pl.DataFrame, budget: int) -> pl.Series:
        """What of the budget each group has."""
        totals = groups["total"].to_list()
        if self.within is None:
            parts = [budget] * len(totals)
        elif self.shares is None:
            whole = sum(totals)
            parts = [budget * total // whole if whole else 0 for total in totals]
        else:
            whole_share = sum(map(Fraction, self.shares.values()))
            parts = [
                int(budget * Fraction(self.shares[name]) / whole_share)
                for name in self._names(groups)
            ]
        return pl.Series(parts, dtype=pl.Int64)

    def _names(self, groups: pl.DataFrame) -> list[str]:
        """The groups as `shares` names them. Raises ConfigError unless it has these alone."""
        assert self.shares is not None
        names = list(map(label_of, group_names(groups["group"])))
        there = dict.fromkeys(names)
        for name in names:
            if name not in self.shares:
                raise ConfigError(
                    f"{named('shares')} has no share for '{name}' of column '{self.within}'",
                    hint=f"add {name}=SHARE; {name}=0 keeps none of it",
                )
        for name in self.shares:
            if name not in there:
                raise ConfigError(
                    f"{named('shares')} has a share for '{name}', but no document that the other "
                    f"rules keep has '{name}' in column '{self.within}'",
                    hint=near_or_known(name, names, most=MOST_NAMED),
                )
        return names


def _between(edges: pl.DataFrame, tie: pl.Expr) -> pl.Expr:
    """Whether a row, its group's edges beside it, lies between them."""
    key, kept = pl.col("key"), pl.lit(True)
    for end, beyond in (("after", operator.gt), ("before", operator.lt)):
        if edges[f"{end} key"].null_count() < edges.height:
            at, last = (column_named(f"{end} {part}") for part in EDGE)
            in_order = beyond(pl.when(key == at).then(tie), last)
            kept &= at.is_null() | beyond(key, at) | in_order.fill_null(False)
    return kept


def _with_neighbours(bins: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """[group, bin] of these bins and of the next ones of their group that have documents: where
    the document beside an edge is."""
    beside = [counted.with_columns(beside=pl.col(COARSE).shift(by).over("group")) for by in (-1, 1)]
    near = [bins.join(one, on=["group", COARSE], nulls_equal=True) for one in beside]
    found = [bins, *(one.select("group", pl.col("beside").alias(COARSE)) for one in near)]
    return pl.concat([one.select("group", COARSE) for one in found])


def _outermost(rows: pl.LazyFrame, edges: pl.DataFrame) -> pl.DataFrame:
    """[group, OUTERMOST] of the rows [group, key, tie] near the edges."""
    there = rows.join(edges.lazy(), on="group", nulls_equal=True)
    ends = (pl.col("key").min(), pl.col("key").max())
    named_ends = [end.alias(name) for end, name in zip(ends, OUTERMOST, strict=True)]
    kept = there.filter(_between(edges, pl.col("tie"))).group_by("group").agg(named_ends)
    return kept.collect(engine="streaming")


def _held(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The same rows, in memory if they are few."""
    few = rows.head(MOST_HELD + 1).collect(engine="streaming")
    return few.lazy() if few.height <= MOST_HELD else rows


def make(config: FilterConfig) -> list[Rule]:
    """The budget, if there is one; within groups where nothing else is, or where it is divided."""
    if config.budget is None:
        return []
    others = [name for name, rule in config.rules().items() if rule.by_percentile]
    divided = config.shares is not None or not (others or config.cutoffs)
    return [
        Budget(
            *config.budget,
            config.chosen_metric,
            config.chosen_prefer,
            config.seed,
            config.within if divided else None,
            config.shares if isinstance(config.shares, dict) else None,
            None if divided else config.within,
        )
    ]
