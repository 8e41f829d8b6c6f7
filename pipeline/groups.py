"""The documents of a run by the values of a column.

Owns which values are shown, and names that tell a missing value from the text "(null)".
"""

from dataclasses import dataclass
from typing import Literal

import polars as pl
from pydantic import BaseModel

from pipeline.figures import QUANTILE_METRICS, Figures, make_figures, sums_of_scores
from pipeline.sketches import Sketch, as_sketch, sketch_query

MOST_GROUPS_SHOWN = 50
NULL = "(null)"
OTHERS = "(all others)"
KEYS = ["value", "is_other"]
"""The names of `Grouping.keys`."""

Kind = Literal["value", "null", "others"]


class Group(BaseModel):
    """The documents that share a value of a column."""

    value: str
    """The value as text. No two groups of a column have the same: a value that looks like one of
    our own names is in quotes."""
    kind: Kind = "value"
    """null: the column has no value there. others: every value that is not shown by itself."""
    figures: Figures


@dataclass(frozen=True, slots=True)
class Grouping:
    """A column, and which of its values are groups of their own."""

    column: str
    values: tuple[str | None, ...]
    has_others: bool

    def keys(self) -> list[pl.Expr]:
        """What to group score rows by: the value as text, and whether it is one of the others."""
        value = pl.col(self.column).cast(pl.String)
        if not self.has_others:
            return [value.alias("value"), pl.lit(False).alias("is_other")]
        shown = value.is_in([v for v in self.values if v is not None])
        if None in self.values:
            shown = shown | value.is_null()
        shown = shown.fill_null(False)
        return [pl.when(shown).then(value).alias("value"), (~shown).alias("is_other")]

    def queries(self, scores: pl.LazyFrame) -> list[pl.LazyFrame]:
        """The sums, then a sketch for each metric, all by group."""
        return [
            scores.group_by(self.keys()).agg(sums_of_scores()),
            *(sketch_query(scores, metric, *self.keys()) for metric in QUANTILE_METRICS),
        ]


@dataclass(frozen=True, slots=True)
class GroupTables:
    """What came of `Grouping.queries`."""

    groups: list[Group]
    """From the least to the most surprising."""
    sketches: dict[str, dict[str, Sketch]]
    """Metric to group to distribution, groups in the same order."""


def sizes_query(scores: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """Bytes by value of a column."""
    value = pl.col(column).cast(pl.String).alias("value")
    return (
        scores.group_by(value)
        .agg(pl.col("num_bytes").sum())
        .select("value", "num_bytes", pl.len().alias("num_values"))
        .sort("num_bytes", "value", descending=[True, False])
        .head(MOST_GROUPS_SHOWN)
    )


def grouping_of(column: str, sizes: pl.DataFrame) -> Grouping:
    """The largest values, in bytes, are groups of their own. `sizes` is of `sizes_query`."""
    has_others = bool(sizes.height and sizes["num_values"][0] > sizes.height)
    return Grouping(column, tuple(sizes["value"]), has_others)


def group_tables(tables: list[pl.DataFrame]) -> GroupTables:
    """Collected `Grouping.queries` as groups."""
    sums, *distributions = tables
    keyed = [
        {key: as_sketch(part) for key, part in table.partition_by(KEYS, as_dict=True).items()}
        for table in distributions
    ]
    empty = as_sketch(distributions[0].clear())
    found: list[tuple[Group, dict[str, Sketch]]] = []
    for row in sums.iter_rows(named=True):
        key = (row["value"], row["is_other"])
        sketches = {
            metric: table.get(key, empty)
            for metric, table in zip(QUANTILE_METRICS, keyed, strict=True)
        }
        kind: Kind = "others" if row["is_other"] else "null" if row["value"] is None else "value"
        figures = make_figures(row, sketches)
        name = label(row["value"], is_other=row["is_other"])
        found.append((Group(value=name, kind=kind, figures=figures), sketches))
    found.sort(key=lambda pair: (pair[0].figures.document_perplexity or 0.0, pair[0].value))
    return GroupTables(
        groups=[group for group, _ in found],
        sketches={
            metric: {group.value: sketches[metric] for group, sketches in found}
            for metric in QUANTILE_METRICS
        },
    )


def label(value: str | None, *, is_other: bool) -> str:
    """A name for a group, of its own."""
    if is_other:
        return OTHERS
    if value is None:
        return NULL
    return f'"{value}"' if value.strip('"') in (NULL, OTHERS) else value
