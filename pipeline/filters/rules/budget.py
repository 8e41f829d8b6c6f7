"""`budget_tokens` and `budget_bytes`: of what all other rules keep, the most that fits.

The lowest or highest values first, equal ones in a random order; or, middle first, dropping as many
tokens or bytes at either end, so that the middle is the median that each document counts for by its
size; or in a random order. It ends at the first document that does not fit. What is
kept without a score is charged to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, Self

import polars as pl

from pipeline.filters.config import FilterConfig, Prefer
from pipeline.filters.rule import Rule, metric_value
from pipeline.schema import LARGEST, RATIOS
from pipeline.statistics.columns import column_named
from pipeline.statistics.hashing import row_hash
from pipeline.statistics.order_statistics import (
    from_sortable_bits,
    histogram,
    select,
    sortable_bits,
)

MOST_TIED = 1 << 20
"""Most documents at an edge of the budget that are held in memory; more are read twice again."""
EVERYTHING = pl.lit(None, pl.String)


class Edge(NamedTuple):
    """A place in the order of the budget, as sortable bits."""

    key: int
    tie: int


@dataclass(frozen=True)
class Budget(Rule):
    """A budget of tokens or bytes."""

    unit: Literal["tokens", "bytes"]
    amount: int
    metric: str
    prefer: Prefer = "low"
    seed: int = 0
    after: Edge | None = None
    before: Edge | None = None
    """What is kept lies after one edge of the order, before the other; None is its end."""
    middle: int | None = None
    """Of the order, where it is spent from the middle and not all fits: a value's sortable bits."""

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

    def find(self, rows: pl.LazyFrame) -> Self:
        # Without a score nothing is kept but by another setting.
        spent = rows.filter(~pl.col("scored"), pl.col("keep")).select(column_named(self.unit).sum())
        rest = max(0, self.amount - spent.collect(engine="streaming").item())
        kept = self._ordered(rows.filter(pl.col("scored"), pl.col("keep")))
        after, before, middle = self._edges(kept, rest)
        return replace(self, after=after, before=before, middle=middle)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        key, tie = pl.col("key"), pl.col("tie")
        kept = pl.lit(True)
        if self.after:
            at, last = (pl.lit(value, pl.UInt64) for value in self.after)
            kept &= (key > at) | ((key == at) & (tie > last))
        if self.before:
            at, last = (pl.lit(value, pl.UInt64) for value in self.before)
            kept &= (key < at) | ((key == at) & (tie < last))
        return self._ordered(rows).with_columns(kept.alias(name)).drop("key", "tie")

    def words(self) -> Iterable[str]:
        edges = self.edge_values or {}
        high = self.prefer == "high"
        said = [
            f"{word} {edge:.6g}"
            for word, edge in (
                ("from" if high else "above", edges.get("after")),
                ("below" if high else "up to", edges.get("before")),
            )
            if edge is not None
        ]
        found = [f"the budget ends at {self.metric} {' and '.join(said)}"] if said else []
        if self.middle_value is not None:
            middle = f"the middle is {self.metric} {self.middle_value:.6g}"
            found.insert(0, f"{middle}, the median by {self.unit}")
        return found

    @property
    def edge_values(self) -> dict[str, float | None] | None:
        """Where it begins and ends, if it orders by value and not all fits."""
        if self.prefer == "random" or not (self.after or self.before):
            return None
        edges = {"after": self.after, "before": self.before}
        return {name: edge and _value(edge.key) for name, edge in edges.items()}

    @property
    def middle_value(self) -> float | None:
        """Where the middle is: up to there are half of the tokens or bytes."""
        return None if self.middle is None else _value(self.middle)

    def _ordered(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """With `key` and `tie`, by which the budget is spent."""
        order = row_hash(self.seed, "order")
        if self.prefer == "random":
            return rows.with_columns(key=order, tie=order)
        value, tie = metric_value(self.metric), order
        if self.columns:
            # What a float64 cannot hold has an order too: that of its logarithm.
            nats = column_named(f"nats:{self.metric}")
            tie = pl.when(value == LARGEST).then(sortable_bits(nats)).otherwise(order)
        return rows.with_columns(key=sortable_bits(value), tie=tie)

    def _edges(
        self, rows: pl.LazyFrame, budget: int
    ) -> tuple[Edge | None, Edge | None, int | None]:
        """Where the order of the budget begins and ends, and its middle. None if all fits."""
        weighed = rows.select("key", group=EVERYTHING, weight=column_named(self.unit))
        counted = histogram(weighed)
        total = int(counted["weight"].sum())
        excess = total - budget
        if excess <= 0:
            return None, None, None
        half = -(-excess // 2)
        # An edge is the first document up to and including which there are more than so much.
        targets = {
            "low": {"before": budget},
            "random": {"before": budget},
            "high": {"after": excess - 1},
            "middle": {"after": half - 1, "before": total - half, "middle": total // 2},
        }[self.prefer]
        wanted = sorted(set(targets.values()))
        table = pl.DataFrame({"target": wanted}, schema={"target": pl.Int64})
        found = select(weighed, counted, table.select("target", group=EVERYTHING))
        if self.prefer == "random":  # the key is the tie
            return None, Edge(found["key"].item(), found["key"].item()), None
        # Among equal keys the ties decide: the same again, in each group of equals.
        tied = rows.filter(pl.col("key").is_in(found["key"].unique().implode())).select(
            group="key", key="tie", weight=self.unit
        )
        few = tied.head(MOST_TIED + 1).collect(engine="streaming")
        if few.height <= MOST_TIED:
            tied = few.lazy()
        left = found.select("target", group="key", rest=pl.col("target") - pl.col("below"))
        ties = select(tied, histogram(tied), left.select("group", target="rest").unique())
        edges = left.join(ties, left_on=["group", "rest"], right_on=["group", "target"])
        at = {
            target: Edge(key, tie)
            for target, key, tie in edges.select("target", "group", "key").rows()
        }
        ends = {name: at[target] for name, target in targets.items()}
        middle = ends.get("middle")
        return ends.get("after"), ends.get("before"), middle and middle.key


def _value(key: int) -> float:
    return float(pl.select(from_sortable_bits(pl.lit(key, pl.UInt64))).item())


def make(config: FilterConfig) -> list[Rule]:
    """The budget, if there is one."""
    if config.budget is None:
        return []
    return [Budget(*config.budget, config.chosen_metric, config.chosen_prefer, config.seed)]
