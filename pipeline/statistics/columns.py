"""A column of a frame by its exact name, and what is missing in it.

Owns the only door to a column whose name a user or a corpus chose. To Polars `pl.col("^src$")` is
every column that matches a pattern, and `pl.col("*")` every one there is: names are no patterns
here. Nobody else calls `pl.col` with a name that is not written there.
"""

import polars as pl
import polars.selectors as cs


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
