"""The documents of a run by the values of a column.

Owns which columns and which of their values are groups, and names that tell a missing value from
the text "(null)".
"""

from dataclasses import dataclass
from typing import Literal

import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from pipeline.config import near_name
from pipeline.errors import RunError
from pipeline.figures import QUANTILE_METRICS, Figures, make_figures, sums_of_scores
from pipeline.manifest import Manifest
from pipeline.sketches import Sketch, as_sketch, sketch_query

MOST_GROUPS_SHOWN = 50
NULL = "(null)"
OTHERS = "(all others)"
GROUPABLE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_null,
)
MOST_GROUP_VALUES = 20
"""A carried column with more values than this is not a group unless it is asked for."""
GLIMPSE_ROWS = 100_000
"""First rows that may show that a column has too many values, before all are counted."""
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

    column: str | None
    """None: every row is in one group."""
    values: tuple[str | None, ...]
    has_others: bool

    def keys(self) -> list[pl.Expr]:
        """What to group score rows by: the value as text, and whether it is one of the others."""
        if self.column is None:
            return [pl.lit(None, pl.String).alias("value"), pl.lit(False).alias("is_other")]
        value = pl.col(self.column).cast(pl.String)
        if not self.has_others:
            return [value.alias("value"), pl.lit(False).alias("is_other")]
        shown = value.is_in([v for v in self.values if v is not None])
        if None in self.values:
            shown = shown | value.is_null()
        shown = shown.fill_null(False)
        return [pl.when(shown).then(value).alias("value"), (~shown).alias("is_other")]

    def queries(self, scores: pl.LazyFrame, resolution: int) -> list[pl.LazyFrame]:
        """The sums, then a sketch for each metric, all by group."""
        return [
            scores.group_by(self.keys()).agg(sums_of_scores()),
            *(
                sketch_query(scores, metric, resolution, *self.keys())
                for metric in QUANTILE_METRICS
            ),
        ]


WHOLE = Grouping(None, (), False)


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


def group_tables(tables: list[pl.DataFrame], resolution: int) -> GroupTables:
    """Collected `Grouping.queries` as groups."""
    sums, *distributions = tables
    keyed = [
        {
            key: as_sketch(part, resolution)
            for key, part in table.partition_by(KEYS, as_dict=True).items()
        }
        for table in distributions
    ]
    empty = as_sketch(distributions[0].clear(), resolution)
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


def default_columns(scores: pl.LazyFrame, manifest: Manifest) -> tuple[str, ...]:
    """Carried columns with few distinct values, those that a person would group by."""
    kinds = scores.collect_schema()
    candidates = [
        name
        for name in manifest.carried
        if name != manifest.text_column
        and (kinds[name] in (pl.String, pl.Boolean, pl.Categorical) or kinds[name].is_integer())
    ]
    if not candidates:
        return ()
    for rows in (scores.head(GLIMPSE_ROWS), scores):
        counts = rows.select(pl.col(candidates).n_unique()).collect(engine="streaming")
        candidates = [name for name in candidates if counts[name][0] <= MOST_GROUP_VALUES]
        if not candidates:
            return ()
    return tuple(name for name in candidates if counts[name][0] > 1)


def check_column(column: str, manifest: Manifest) -> None:
    """Raises RunError for a column that this run cannot be grouped by."""
    if column not in manifest.carried:
        near = near_name(column, list(manifest.carried))
        carried = ", ".join(manifest.carried) or "nothing"
        hint = f"did you mean '{near}'?" if near else f"this run carries {carried}"
        raise RunError(
            f"no carried column '{column}' to group by", hint=f"{hint}; see winnow score --carry"
        )

    kind = manifest.arrow_schema().field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(test(values) for test in GROUPABLE):
        raise RunError(f"cannot group by '{column}': its values are {kind}")
