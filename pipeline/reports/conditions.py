"""Conditions on a row, `lang == "en" and num_tokens > 50`, as Polars computes them.

Owns what a comparison of a column with a number, a text, true or false means. A missing value is
neither above nor below anything: what hangs on it is null, neither true nor false, and so is its
negation (Kleene's logic, as SQL has it). The grammar is expressions.py's.
"""

from collections.abc import Callable, Iterator, Mapping

import polars as pl

from pipeline.reports.expressions import (
    SIGNS,
    Anywhere,
    Comparison,
    Junction,
    Name,
    Negation,
    Number,
    Operand,
    Text,
    Tree,
    fail,
)
from pipeline.settings.names import near_name
from pipeline.statistics.columns import as_text, is_too_wide, outside_calendar

TRUTHS = {"true": True, "false": False}
Kinds = Mapping[str, pl.DataType]


def columns_of(tree: Tree, source: str) -> Iterator[Name | Text]:
    """The columns that a condition compares, as they are named in it. Raises ConfigError where a
    comparison does not begin with one; a name that is no word stands in quotes."""
    match tree:
        case Comparison(left=Name() | Text() as column):
            yield column
        case Comparison():
            fail(source, tree.left.start, "a condition on rows begins with a column")
        case Junction():
            for part in tree.parts:
                yield from columns_of(part, source)
        case Negation():
            yield from columns_of(tree.part, source)
        case Anywhere():
            fail(source, tree.column.start, "any takes a condition on figures, not on rows")


def check_condition(tree: Tree, source: str, kinds: Kinds) -> None:
    """Raises ConfigError, pointing at the place, unless rows with these columns can be compared."""
    condition(tree, source, kinds, lambda name: pl.lit(None, kinds[name]))


def condition(
    tree: Tree,
    source: str,
    kinds: Kinds,
    column: Callable[[str], pl.Expr],
    *,
    missing: bool | None = None,
) -> pl.Expr:
    """True, false or null for each row; `column` finds one by its name. `missing` is what a
    comparison with a missing value is, if not null. Raises ConfigError."""
    if isinstance(tree, Junction):
        parts = [condition(part, source, kinds, column, missing=missing) for part in tree.parts]
        return pl.all_horizontal(parts) if tree.word == "and" else pl.any_horizontal(parts)
    if isinstance(tree, Negation):
        return ~condition(tree.part, source, kinds, column, missing=missing)
    (named,) = columns_of(tree, source)
    assert isinstance(tree, Comparison)
    kind = kind_of(named, source, kinds)
    compared, value, holds = column(named.value), tree.right, SIGNS[tree.sign]
    worth: float | str | bool
    match value:
        case Name(value=name) if name in TRUTHS and kind == pl.Boolean:
            worth = TRUTHS[name]
        case Number() if kind.is_numeric():
            worth = value.value
        case Text() if _has_text(kind):
            worth, compared = value.value, as_text(compared, kind)
        case _:
            said = (
                f"column '{named.value}' is of type {kind} and cannot be compared with this value"
            )
            fail(source, value.start, said, hint=_comparable(named, value, kind))
    compares: pl.Expr = holds(compared, pl.lit(worth))
    outside = outside_calendar(column(named.value), kind)
    if outside is not None:  # before, or after, every date that can be written
        for is_there, side in zip(outside, (-1, 1), strict=True):
            compares = pl.when(is_there).then(pl.lit(holds(side, 0))).otherwise(compares)
    return compares if missing is None else compares.fill_null(missing)


def kind_of(column: Name | Text, source: str, kinds: Kinds) -> pl.DataType:
    """The type of a column. Raises ConfigError if it is not there, or cannot be read."""
    if column.value not in kinds:
        near = near_name(column.value, list(kinds))
        hint = f"did you mean '{near}'?" if near else f"there are {', '.join(kinds)}"
        fail(source, column.start, f"no column '{column.value}'", hint=hint)
    kind = kinds[column.value]
    if is_too_wide(kind):
        said = f"column '{column.value}' is {kind}, which has too many digits to be read"
        fail(source, column.start, said)
    return kind


def _comparable(column: Name | Text, value: Operand, kind: pl.DataType) -> str | None:
    """What to write for a value that a column of this type cannot be compared with."""
    if kind == pl.Boolean:
        return f"write {column.value} == true or {column.value} == false"
    if _has_text(kind):
        return f'quote "{value.value}"' if isinstance(value, Name) else "quote the value"
    return "write a number, without quotes" if kind.is_numeric() else None


def _has_text(kind: pl.DataType) -> bool:
    """Whether a column's values can be compared with a text."""
    is_other = kind.is_numeric() or kind.is_nested()
    return not is_other and kind not in (pl.Boolean, pl.Duration, pl.Null)
