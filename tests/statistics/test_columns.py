"""A name is a name, and a NaN no value, whatever Polars makes of both."""

import math

import polars as pl
import pytest

from pipeline.statistics.columns import column_named, nan_as_null

ROWS = pl.LazyFrame({"^a$": [1, 2], "a": [3, 4], "*": [5, 6], "^.*$": [7, 8]})


@pytest.mark.parametrize("name", ["^a$", "a", "*", "^.*$"])
def test_exactly_that_column(name):
    assert ROWS.select(column_named(name)).collect().columns == [name]
    counted = (
        ROWS.group_by(column_named(name)).agg(column_named("a").sum()) if name != "a" else ROWS
    )
    assert counted.filter(column_named(name) > 0).collect().height == 2


def test_a_column_that_is_not_there():
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        ROWS.select(column_named("^b$")).collect()


def test_nan():
    rows = pl.LazyFrame(
        {"^x$": [1.0, math.nan, None], "n": [1, 2, None], "s": ["NaN", "", None]},
        schema={"^x$": pl.Float32, "n": pl.Int64, "s": pl.String},
    )
    found = nan_as_null(rows).collect()
    assert found["^x$"].to_list() == [1.0, None, None]
    assert found["s"].to_list() == ["NaN", "", None]
    assert found.schema == rows.collect_schema()
