"""`budget_tokens` and `budget_bytes`: of what all other rules keep, the most that fits.

The lowest or highest values first, equal ones in a random order; or, middle first, dropping as many
tokens or bytes at either end, so that the middle is the median that each document counts for by its
size; or in a random order. It ends at the first document that does not fit. What is
kept without a score is charged to it.

Within groups each group has a part of the budget, rounded down: in proportion to what the other
rules keep of it, which keeps the mix, or to `shares`. What a group has too little for is not given
to the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import polars as pl

from pipeline.errors import ConfigError, counted, named
from pipeline.filters.budget_edges import OUTERMOST, PLACES, between, cutting, find_edges
from pipeline.filters.config import FilterConfig, Prefer
from pipeline.filters.cutoffs import exact
from pipeline.filters.rule import (
    MOST_NAMED,
    Rule,
    group_names,
    group_value,
    label,
    look_up,
    metric_value,
    names_given,
)
from pipeline.reports.groups import label_of, value_of
from pipeline.schema import LARGEST, RATIOS
from pipeline.settings.names import near_or_known
from pipeline.statistics.columns import column_named
from pipeline.statistics.hashing import row_hash
from pipeline.statistics.order_statistics import sortable_bits


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
    """Those of budget_edges.py."""

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

    @property
    def num_groups(self) -> int:
        return 0 if self.edges is None else self.edges.height

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        rest = self.amount
        if keeps_unscored:
            spent = rows.filter(~pl.col("scored"), pl.col("keep")).select(column_named(self.unit))
            rest = max(0, rest - spent.sum().collect(engine="streaming").item())
        kept = rows.filter(pl.col("scored"), pl.col("keep")).with_columns(
            group=group_value(self.within), weight=column_named(self.unit)
        )
        parts = partial(self._parts, budget=rest)
        edges = find_edges(kept, self._order, self._tie, self.prefer, parts)
        return replace(self, edges=edges)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        assert self.edges is not None
        edges = cutting(self.edges)
        beside = look_up(rows.with_columns(key=self._order), edges, self.within)
        kept = between(edges, self._tie)
        return beside.with_columns(kept.alias(name)).drop("key", *edges.drop("group").columns)

    def words(self) -> Iterable[str]:
        assert self.edges is not None
        if self.beside is not None:
            yield f"the budget is one for all groups of {self.beside}, not divided among them"
        kept = self.edges.select(*OUTERMOST, whole=_is_whole()).iter_rows()
        for group, (first, last, is_whole) in zip(self.edge_values(), kept, strict=True):
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
            elif group["budget"] == 0:
                yield f"{where}{what} keeps nothing"
            elif there:
                yield f"{where}{what} keeps nothing: the first document does not fit"
            elif is_whole and self.shares is not None:
                yield f"{where}all fits in {what}"

    def edge_values(self) -> list[dict[str, Any]]:
        """{group, budget, after, before, middle}: each group's part, and the values at which it
        begins and ends; None where it goes to the end, and in a random order."""
        assert self.edges is not None
        places = {name: column_named(f"{name} key") for name in PLACES}
        if self.prefer == "random":
            places = dict.fromkeys(PLACES, pl.lit(None, pl.Float64))
        values = self.edges.select("budget", **places)
        names = group_names(self.edges["group"])
        return [
            {"group": name, **row}
            for name, row in zip(names, values.iter_rows(named=True), strict=True)
        ]

    @property
    def _order(self) -> pl.Expr:
        """What the budget is spent by."""
        random = self.prefer == "random"
        return row_hash(self.seed, "order") if random else metric_value(self.metric)

    @property
    def _tie(self) -> pl.Expr:
        """What it is spent by among equal keys."""
        tie = row_hash(self.seed, "order")
        if self.columns:
            # What a float64 cannot hold has an order too: that of its logarithm.
            nats = sortable_bits(column_named(f"nats:{self.metric}"))
            tie = pl.when(metric_value(self.metric) == LARGEST).then(nats).otherwise(tie)
        return tie

    def _parts(self, groups: pl.DataFrame, budget: int) -> pl.Series:
        """What of the budget each group has."""
        totals = groups["total"].to_list()
        if self.within is None:
            parts = [budget] * len(totals)
        elif self.shares is None:
            whole = sum(totals)
            parts = [budget * total // whole if whole else 0 for total in totals]
        else:
            shares = {name: exact(share) for name, share in self.shares.items()}
            whole_share = sum(shares.values())
            parts = [int(budget * shares[name] / whole_share) for name in self._names(groups)]
        return pl.Series(parts, dtype=pl.Int64)

    def _names(self, groups: pl.DataFrame) -> list[str]:
        """The groups as `shares` names them. Raises ConfigError unless it has these alone."""
        assert self.shares is not None
        named_so = set(map(value_of, self.shares))
        names = list(map(label_of, names_given(groups["group"], named_so)))
        there = dict.fromkeys(names)
        if missing := [name for name in names if name not in self.shares]:
            first = missing[:MOST_NAMED]
            more = f", and {counted(len(missing) - 1, 'more group')}" if missing[1:] else ""
            raise ConfigError(
                f"{named('shares')} has no share for '{missing[0]}' of column '{self.within}'"
                f"{more}",
                hint=f"add {', '.join(f'{name}=SHARE' for name in first)}; {first[0]}=0 keeps none "
                "of it",
            )
        for name in self.shares:
            if name not in there:
                raise ConfigError(
                    f"{named('shares')} has a share for '{name}', but no document that the other "
                    f"rules keep has '{name}' in column '{self.within}'",
                    hint=near_or_known(name, names, most=MOST_NAMED),
                )
        return names


def _is_whole() -> pl.Expr:
    """Whether nothing of a group is cut off, whatever the budget is spent by."""
    return pl.all_horizontal(column_named(f"{end} key").is_null() for end in ("after", "before"))


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
