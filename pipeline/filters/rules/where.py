"""`where`: documents of which a condition on their columns is true.

It is asked of documents without a score, too: one of which it is false is dropped, whatever
becomes of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import polars as pl

from pipeline.filters.config import FilterConfig
from pipeline.filters.rule import Rule
from pipeline.reports.conditions import check_condition, columns_of, condition
from pipeline.reports.expressions import Tree, parse
from pipeline.statistics.columns import column_named


@dataclass(frozen=True)
class Where(Rule):
    """A condition: reports/conditions.py says what it means."""

    source: str
    of_unscored: ClassVar[bool] = True

    @cached_property
    def _tree(self) -> Tree:
        return parse(self.source)

    @property
    def names(self) -> list[str]:
        """The columns that it reads."""
        return list(dict.fromkeys(one.value for one in columns_of(self._tree, self.source)))

    @property
    def columns(self) -> dict[str, pl.Expr]:
        return {_own(name): column_named(name) for name in self.names}

    def check(self, kinds: Mapping[str, pl.DataType]) -> None:
        check_condition(self._tree, self.source, kinds)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        found = rows.select(column_named(_own(one)) for one in self.names).collect_schema()
        kinds = dict(zip(self.names, found.values(), strict=True))
        holds = condition(self._tree, self.source, kinds, lambda column: column_named(_own(column)))
        return rows.with_columns(holds.alias(name))


def _own(column: str) -> str:
    return f"column:{column}"


def make(config: FilterConfig) -> list[Rule]:
    """The condition, if there is one."""
    return [] if config.where is None else [Where(config.where)]
