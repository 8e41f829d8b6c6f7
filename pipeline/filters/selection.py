"""Which documents the rules keep: each finds its cut-offs, then a row is decided by itself.

Owns how rules go together. A document is kept if every rule keeps it. Cut-offs are found in a few
streaming passes over the columns needed; a part of the run can then be decided when its documents
are written. A document without a score, or without a metric that a rule reads, is decided by
`unscored`, unless a rule is `of_unscored` and drops it. A metric that exceeds a float64 is the
largest value, not a missing one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import polars as pl

from pipeline.errors import counted
from pipeline.filters.config import FilterConfig
from pipeline.filters.rule import Rule
from pipeline.reports.groups import MOST_GROUPS_SHOWN
from pipeline.schema import SCORED
from pipeline.statistics.columns import column_named, nan_as_null

MOST_LINES = 50
"""Largest number of lines of a rule on a page; records have all cut-offs."""
DECIDED = ("file", "row", "status", "by", "tokens", "bytes", "scored", "bucket", "keep")


@dataclass(frozen=True, slots=True)
class Selection:
    """Rules, with their cut-offs once `find` found them."""

    rules: tuple[Rule, ...]
    unscored: Literal["keep", "drop"] = "drop"

    @classmethod
    def of(cls, config: FilterConfig) -> "Selection":
        """The rules that settings ask for, without cut-offs."""
        modules = dict.fromkeys(decides.rule for decides in config.rules().values())
        made = (import_module(f"pipeline.filters.rules.{name}").make(config) for name in modules)
        return cls(tuple(rule for rules in made for rule in rules), config.unscored)

    def decide(self, scores: pl.LazyFrame, by: str | None = None) -> pl.LazyFrame:
        """Score rows in order as [file, row, status, by, tokens, bytes, scored, bucket, keep]."""
        return self.mark(prepare(self.rules, scores, by)).select(*DECIDED)

    def find(self, scores: pl.LazyFrame) -> "Selection":
        """The same rules with their cut-offs. The scores are looked at as often as the rules need:
        twice for percentiles and for a budget, once more if it ends among equal values."""
        rows, found = prepare(self.rules, scores), Selection((), self.unscored)
        keeps = self.unscored == "keep"
        for turn in sorted({rule.of_kept for rule in self.rules}):
            given = found.mark(rows) if turn else rows
            own = (
                rule.find(given, keeps_unscored=keeps)
                for rule in self.rules
                if rule.of_kept == turn
            )
            found = Selection((*found.rules, *own), self.unscored)
        return found

    @property
    def few_groups(self) -> str | None:
        """The column within which the rules cut, if its groups are few enough to be shown."""
        if any(rule.num_groups > MOST_GROUPS_SHOWN for rule in self.rules):
            return None
        return next((rule.within for rule in self.rules if rule.within is not None), None)

    def words(self) -> Iterable[str]:
        """What the rules came to, in lines for people; of very many groups the first."""
        for rule in self.rules:
            lines = list(rule.words())
            yield from lines[:MOST_LINES]
            if len(lines) > MOST_LINES:
                yield f"and {counted(len(lines) - MOST_LINES, 'more group')}"

    def mark(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Rows as `prepare` gives them, in order, with `bucket` and `keep`."""
        rows = rows.with_columns(bucket=pl.lit(None, pl.String))
        names = [f"keep:{index}" for index in range(len(self.rules))]
        for rule, name in zip(self.rules, names, strict=True):
            rows = rule.mark(rows, name)
        kept = pl.all_horizontal(*map(column_named, names)) if names else pl.lit(True)
        unscored = pl.lit(self.unscored == "keep")
        for rule, name in zip(self.rules, names, strict=True):
            if rule.of_unscored:
                unscored &= column_named(name).fill_null(True)
        keep = pl.when("scored").then(kept.fill_null(False)).otherwise(unscored)
        return rows.with_columns(keep=keep)


def prepare(rules: Iterable[Rule], scores: pl.LazyFrame, by: str | None = None) -> pl.LazyFrame:
    """The columns that rules read, under names of their own. What is not read costs nothing. Each
    row is one document here; where one stands for several alike, `documents` says how many."""
    scores = nan_as_null(scores)
    metrics = dict.fromkeys(metric for rule in rules for metric in rule.metrics)
    values = {metric: column_named(metric).cast(pl.Float64) for metric in metrics}
    scored = pl.col("status").is_in(SCORED)
    own: dict[str, pl.Expr] = {}
    for value in values.values():
        scored &= value.is_not_null()
    for rule in rules:
        own |= rule.columns
        if rule.within is not None:
            own[f"group:{rule.within}"] = column_named(rule.within)
    return scores.select(
        "file",
        "row",
        "status",
        by=column_named(by) if by else pl.lit(None, pl.String),
        documents=pl.lit(1, pl.Int64),
        tokens=pl.col("num_tokens") + pl.col("num_skipped_tokens"),
        bytes="num_bytes",
        scored=scored,
        **{f"metric:{metric}": value for metric, value in values.items()},
        **own,
    )
