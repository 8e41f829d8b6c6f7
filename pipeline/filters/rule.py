"""What a rule is: one way of filtering, by which dry run, filter and library decide.

Owns the type. A new rule is a module in rules/ that has the class and `make`, and the field of
FilterConfig whose `Decides` names it. A rule is first without cut-offs; `find` gives the same rule
with those that it computes from all score rows, then `mark` decides any of them by themselves.

Rows are those of `selection.prepare`: file, row, status, by, documents, tokens, bytes, scored, a
column for each metric and group that a rule reads (`metric_value`, `group_value`), and its own
`columns`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar, Self

import polars as pl

from pipeline.reports.groups import label_of
from pipeline.runs.manifest import Value
from pipeline.statistics.columns import column_named

MOST_NAMED = 20
"""Largest number of groups that one line names."""


class Rule(ABC):
    """One way of filtering; it never changes."""

    of_kept: ClassVar[int] = 0
    """If above 0, the cut-offs depend on what the rules with a lower number keep."""
    of_unscored: ClassVar[bool] = False
    """Whether the rule also decides documents without a score, as far as possible."""
    within: str | None = None
    """The column whose groups the rule treats one by one."""
    cutoffs: pl.DataFrame | None = None
    """Columns [group, documents, ...] as recorded; None until they are found, or if the rule has
    none."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The numbers that it reads: a document without one of them counts as unscored."""
        return ()

    @property
    def columns(self) -> dict[str, pl.Expr]:
        """What else it reads of score rows, under names of its own."""
        return {}

    @property
    def identity(self) -> dict[str, Value]:
        """What decides its output beside the settings."""
        return {}

    @property
    def num_groups(self) -> int:
        """Groups that it has cut-offs for, once they are found."""
        return 0 if self.cutoffs is None else self.cutoffs.height

    def check(self, kinds: Mapping[str, pl.DataType]) -> None:
        """Raises ConfigError if scores with these columns are not what it reads, beside its metrics
        and groups."""
        return

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        """The same rule with its cut-offs. `keep` says which rows the rules before it keep; of
        those without a score it can be true if `keeps_unscored`."""
        return self

    @abstractmethod
    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        """The rows, in order, with a Boolean `name`: whether it keeps them. Null is False, or, of
        a document without a score, that it cannot tell."""

    def words(self) -> Iterable[str]:
        """Its cut-offs in words, one line per group."""
        return ()


def metric_value(metric: str) -> pl.Expr:
    """A metric in the rows that a rule is given: Float64, null where there is none."""
    return column_named(f"metric:{metric}")


def group_value(within: str | None) -> pl.Expr:
    """A row's group; without groups all rows are in the group null."""
    return pl.lit(None, pl.String) if within is None else column_named(f"group:{within}")


def look_up(rows: pl.LazyFrame, table: pl.DataFrame, within: str | None) -> pl.LazyFrame:
    """The rows with the columns of `table` [group, ...] beside them: those of the row's group, or,
    without groups, of its one row."""
    if within is not None:
        return rows.join(
            table.lazy(),
            left_on=group_value(within),
            right_on="group",
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
    only = table.row(0, named=True) if table.height else {}
    kinds = {name: kind for name, kind in table.schema.items() if name != "group"}
    return rows.with_columns(
        pl.lit(only.get(name), kind).alias(name) for name, kind in kinds.items()
    )


def group_names(groups: pl.Series) -> list[str | None]:
    """Groups as records and files name them: as reports do."""
    return groups.cast(pl.String).to_list()


def names_given(groups: pl.Series, given: Collection[str | None]) -> list[str | None]:
    """Each group's name among those that a file or a setting gives: that of `group_names`, or the
    one that earlier files have, which is as Python writes the value: True, and a time without its
    fraction of a second."""
    written = [None if group is None else str(group) for group in groups]
    return [
        old if new not in given and old in given else new
        for new, old in zip(group_names(groups), written, strict=True)
    ]


def label(group: str | None, within: str | None) -> str:
    """What a line about a group begins with."""
    return "" if within is None else f"{label_of(group)}: "
