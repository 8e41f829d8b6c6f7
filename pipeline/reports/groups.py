"""The documents of a run by the values of a column.

Owns which columns and which of their values are groups, and names that tell a missing value from
the text "(null)".
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from pipeline.errors import RunError, named
from pipeline.reports.figures import QUANTILE_METRICS, Figures
from pipeline.reports.tally import Tallied, Tally, tally_rows
from pipeline.runs.manifest import Manifest
from pipeline.settings.names import near_name
from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.bootstrap import Bootstrap
from pipeline.statistics.columns import column_named, outside_calendar
from pipeline.statistics.sketches import Sketch

MOST_GROUPS_SHOWN = 50
NULL = "(null)"
OTHERS = "(all others)"
GROUPABLE = (
    pa.types.is_decimal32,
    pa.types.is_decimal64,
    pa.types.is_decimal128,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_null,
)
MOST_GROUP_VALUES = 20
"""Largest number of values with which a carried column is grouped by without being asked for."""
GLIMPSE_ROWS = 100_000
"""Number of first rows that are looked at to see whether a column has too many values, before all
are counted."""
Kind = Literal["value", "null", "others"]
KINDS: dict[str, Kind] = {NULL: "null", OTHERS: "others"}


class Group(BaseModel):
    """The documents that share a value of a column."""

    value: str
    """The group's value as text, unique within the column: a value that looks like one of our own
    names is in quotes."""
    kind: Kind = "value"
    """null: documents without a value. others: documents with values that are not shown one by
    one."""
    figures: Figures


def group_code(column: str, groups: Sequence[str]) -> pl.Expr:
    """The position of each row's group among `groups`; OTHERS, if need be, is the last of them."""
    own = [value for name in groups if (value := value_of(name)) is not None]
    text = column_named(column).cast(pl.String)
    code = text.cast(pl.Enum(own), strict=False).to_physical().cast(pl.Int64)
    if NULL in groups:
        null = groups.index(NULL)
        code = code + (code >= null).cast(pl.Int64)
        code = pl.when(text.is_null()).then(pl.lit(null, pl.Int64)).otherwise(code)
    return code.fill_null(len(groups) - 1)


@dataclass(frozen=True, slots=True)
class Grouping:
    """A column, and the names of its groups."""

    column: str | None
    """The column to group by; None puts every row into one group."""
    groups: tuple[str, ...]

    def tallied(self) -> Tallied:
        """What to add score rows up by."""
        if self.column is None:
            return Tallied(pl.lit(0), 1)
        return Tallied(group_code(self.column, self.groups), len(self.groups))


WHOLE = Grouping(None, ())


@dataclass(frozen=True, slots=True)
class GroupTables:
    """The groups of a column."""

    groups: list[Group]
    """Groups ordered from the least to the most surprising."""
    sketches: dict[str, dict[str, Sketch]]
    """Distribution sketches by metric and group, groups in the same order."""


def group_sizes(scores: pl.LazyFrame, column: str) -> dict[str, int]:
    """Bytes of text by group. Raises RunError of dates that have no name."""
    check_dates(scores, [column])
    sizes = _sizes(scores, column).collect(engine="streaming")
    return {label_of(value): size for value, size in sizes.iter_rows()}


def largest_groups(sizes: dict[str, int]) -> list[str]:
    """The groups that are shown: the largest, in bytes of text; then OTHERS, if needed."""
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))
    rest = [OTHERS] if len(largest) > MOST_GROUPS_SHOWN else []
    return largest[:MOST_GROUPS_SHOWN] + rest


def _sizes(scores: pl.LazyFrame, column: str) -> pl.LazyFrame:
    value = column_named(column).cast(pl.String).alias("value")
    return scores.group_by(value).agg(pl.col("num_bytes").sum())


def largest_query(scores: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """The largest values and how many there are, without all of them in memory as Python's."""
    return (
        _sizes(scores, column)
        .select("value", "num_bytes", pl.len().alias("num_values"))
        .sort("num_bytes", "value", descending=[True, False])
        .head(MOST_GROUPS_SHOWN)
    )


def grouping_of(column: str, largest: pl.DataFrame) -> Grouping:
    """The groups that a report shows. `largest` is of `largest_query`."""
    names = [label_of(value) for value in largest["value"]]
    if largest.height and largest["num_values"][0] > largest.height:
        names.append(OTHERS)
    return Grouping(column, tuple(names))


def groups_of(
    scores: pl.LazyFrame,
    column: str,
    groups: list[str] | None = None,
    bootstrap: Bootstrap | None = None,
) -> list[Group]:
    """Figures by group, from the least to the most surprising.

    `groups` are the ones to show; those of largest_groups, if not given.
    """
    if groups is None:
        groups = largest_groups(group_sizes(scores, column))
    grouping = Grouping(column, tuple(groups))
    (tally,) = tally_rows(scores, [grouping.tallied()], bootstrap=bootstrap)
    return group_tables(grouping, tally).groups


def group_tables(grouping: Grouping, tally: Tally, weight: Weight = UNWEIGHTED) -> GroupTables:
    """What was added up by `grouping`, as groups."""
    found: list[tuple[Group, dict[str, Sketch]]] = []
    for code, (figures, sketches) in tally.by_code(weight).items():
        name = grouping.groups[code]
        kind = KINDS.get(name, "value")
        found.append((Group(value=name, kind=kind, figures=figures), sketches))
    found.sort(key=lambda pair: (pair[0].figures.document_perplexity or 0.0, pair[0].value))
    return GroupTables(
        groups=[group for group, _ in found],
        sketches={
            metric: {group.value: sketches[metric] for group, sketches in found}
            for metric in QUANTILE_METRICS
        },
    )


def label_of(value: str | None) -> str:
    """A name for the group of a value, of its own: one that looks like ours is in quotes."""
    if value is None:
        return NULL
    return f'"{value}"' if value.strip('"') in KINDS else value


def label_expr(column: str) -> pl.Expr:
    """`label_of` of a column's values."""
    value = column_named(column).cast(pl.String)
    is_ours = value.str.strip_chars('"').is_in(list(KINDS))
    quoted = pl.concat_str(pl.lit('"'), value, pl.lit('"'))
    own = pl.when(is_ours).then(quoted).otherwise(value)
    return pl.when(value.is_null()).then(pl.lit(NULL)).otherwise(own)


def value_of(name: str) -> str | None:
    """The value that `label_of` named; None of a name of our own."""
    if name in KINDS:
        return None
    return name[1:-1] if name.strip('"') in KINDS else name


def default_columns(
    scores: pl.LazyFrame, manifest: Manifest, besides: Collection[str] = ()
) -> tuple[str, ...]:
    """Carried columns with few distinct values, most of them of several documents: those that a
    person would group by; of those that are grouped by anyway, `besides`, none."""
    kinds = scores.collect_schema()
    candidates = [
        name
        for name in manifest.carried
        if name not in (manifest.text_column, *besides)
        and (kinds[name] in (pl.String, pl.Boolean, pl.Categorical) or kinds[name].is_integer())
    ]
    for rows in (scores.head(GLIMPSE_ROWS), scores):
        found = {
            name: _counted(rows, name).collect(engine="streaming").row(0) for name in candidates
        }
        candidates = [name for name in candidates if found[name][0] <= MOST_GROUP_VALUES]
    return tuple(name for name in candidates if makes_groups(*found[name]))


def makes_groups(num_values: int, num_single: int) -> bool:
    """Whether a person would group by a column with so many values, so many of them of one document
    each: not by a name of the documents."""
    return 1 < num_values <= MOST_GROUP_VALUES and 2 * num_single <= num_values


def _counted(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """[values, those of one document]."""
    sizes = rows.group_by(column_named(column)).agg(pl.len().alias("documents"))
    return sizes.select(pl.len(), (pl.col("documents") == 1).sum())


def check_group(column: str, manifest: Manifest, setting: str = "by") -> None:
    """Raises RunError for a column, which a setting names, that this run cannot be grouped by."""
    if column not in manifest.carried:
        near = near_name(column, list(manifest.carried))
        carried = ", ".join(manifest.carried) or "nothing"
        others = f"this run carries {carried}; to use another column, carry it when scoring"
        raise RunError(
            f"no carried column '{column}' ({named(setting)})",
            hint=f"did you mean '{near}'?" if near else others,
        )
    check_groupable(column, manifest.arrow_schema().field(column).type)


def check_groupable(column: str, kind: pa.DataType) -> None:
    """Raises RunError where a column's values are no groups."""
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(test(values) for test in GROUPABLE):
        raise RunError(f"cannot group by '{column}': its values are {kind}")


def check_dates(scores: pl.LazyFrame, columns: Sequence[str]) -> None:
    """Raises RunError where a column that is grouped by has dates that no calendar has."""
    kinds = scores.collect_schema()
    for column in dict.fromkeys(columns):
        outside = outside_calendar(column_named(column), kinds[column])
        if outside is not None:
            found = scores.select((outside[0] | outside[1]).any()).collect(engine="streaming")
            if found.item():
                raise RunError(
                    f"cannot group by '{column}': it has dates before year 1 or after 9999"
                )
