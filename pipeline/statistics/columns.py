"""A column of a frame by its exact name, what is missing in it, and what of it can be text.

Owns the only door to a column whose name a user or a corpus chose. To Polars `pl.col("^src$")` is
every column that matches a pattern, and `pl.col("*")` every one there is: names are no patterns
here. No other module calls `pl.col` with a name from data.
"""

import datetime

import polars as pl
import polars.selectors as cs

WIDEST_DECIMAL = 38
"""Largest number of digits of a decimal."""
FIRST_DAY, LAST_DAY = (
    (date - datetime.date(1970, 1, 1)).days for date in (datetime.date.min, datetime.date.max)
)
"""Days from 1970 to the first of year 1, and to the last of 9999."""


def column_named(name: str) -> pl.Expr:
    """The column of exactly this name."""
    return cs.by_name(name).as_expr()


def nan_as_null(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The same rows, no value where one is NaN: Polars would take it for the largest of all, and
    what is missing is neither above nor below anything."""
    kinds = rows.collect_schema()
    return rows.with_columns(
        column_named(name).fill_nan(None) for name, kind in kinds.items() if kind.is_float()
    )


def outside_calendar(value: pl.Expr, kind: pl.DataType) -> tuple[pl.Expr, pl.Expr] | None:
    """Whether a date or a time stamp lies before year 1, and whether after 9999; None of others.

    Polars aborts a process that writes some of these as text, and Python has no such dates.
    """
    if isinstance(kind, pl.Date):
        first, last, margin = FIRST_DAY, LAST_DAY, 0
    elif isinstance(kind, pl.Datetime):
        day = 86_400 * {"ms": 10**3, "us": 10**6, "ns": 10**9}[kind.time_unit]
        first, last = FIRST_DAY * day, (LAST_DAY + 1) * day - 1
        # Elsewhere it is another day already.
        margin = 0 if kind.time_zone in (None, "UTC") else day
    else:
        return None
    stored = value.to_physical().cast(pl.Int128)
    return stored < first + margin, stored > last - margin


def is_too_wide(kind: pl.DataType) -> bool:
    """Whether Polars knows a decimal's type and cannot read its values."""
    return isinstance(kind, pl.Decimal) and (kind.precision or 0) > WIDEST_DECIMAL


def as_text(value: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """A value as people read it; no text where Polars has none for it."""
    if is_too_wide(kind) or kind.is_nested() or isinstance(kind, pl.Duration):
        return pl.lit(None, pl.String)
    if isinstance(kind, pl.Binary):  # a UUID, or a hash: seldom UTF-8
        return value.bin.encode("hex")
    outside = outside_calendar(value, kind)
    if outside is None:
        return value.cast(pl.String, strict=False)
    return pl.when(~(outside[0] | outside[1])).then(value).cast(pl.String)
