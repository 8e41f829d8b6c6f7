"""Cut-offs at percentiles: the outermost values that are kept, of all documents or of each group.

Owns where a percentile lies among the values, in exact arithmetic. A bound is inclusive, so equal
values are kept or dropped together. Finding the values at such places is
statistics/order_statistics.py's.
"""

from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

import polars as pl

from pipeline.filters.rule import group_value, metric_value
from pipeline.statistics.order_statistics import (
    from_sortable_bits,
    histogram,
    select,
    sortable_bits,
)
from pipeline.statistics.quantile import position


class End(NamedTuple):
    """One end of a band."""

    percent: Fraction
    is_lower: bool

    def place(self, num_values: int) -> int:
        """Of the outermost value that is kept, among so many in order, from 0.

        A value is on the inner side of a percentile if its place is; so it is the next whole
        place inward of the percentile's.
        """
        at = position(self.percent / 100, num_values)
        return ceil(at) if self.is_lower else floor(at)


def lower(percent: float | Fraction) -> End:
    """The lowest value from a percentile on."""
    return End(exact(percent), True)


def upper(percent: float | Fraction) -> End:
    """The highest value up to a percentile."""
    return End(exact(percent), False)


def exact(percent: float | Fraction) -> Fraction:
    """A percentile as it was written: 0.1 is a tenth."""
    return Fraction(repr(percent)) if isinstance(percent, float) else percent


def find_cutoffs(
    rows: pl.LazyFrame, metric: str, within: str | None, ends: dict[str, End]
) -> pl.DataFrame:
    """[group, documents, and each end by its name]: a row for each group with a scored document,
    in order. Two passes over the rows."""
    values = rows.filter("scored").select(
        group=group_value(within),
        key=sortable_bits(metric_value(metric)),
        weight=pl.lit(1, pl.Int64),
    )
    counted = histogram(values)
    cutoffs = counted.group_by("group").agg(documents=pl.col("weight").sum()).sort("group")
    sizes = cutoffs["documents"]
    different = sizes.unique()
    places = {
        name: sizes.replace_strict(
            different, [end.place(size) for size in different], return_dtype=pl.Int64
        )
        for name, end in ends.items()
    }
    targets = pl.concat(
        [cutoffs.select("group", target=place) for place in places.values()]
    ).unique()
    found = select(values, counted, targets).select(
        "group", "target", value=from_sortable_bits(pl.col("key"))
    )
    for name, place in places.items():
        cutoffs = (
            cutoffs.with_columns(target=place)
            .join(found, on=["group", "target"], how="left", nulls_equal=True)
            .rename({"value": name})
            .drop("target")
            .sort("group")
        )
    return cutoffs
