"""The metrics of score rows as Polars computes with them.

Owns a ratio's value from sums, of a document and of many, and that one which a float64 cannot hold
is the largest there is: on disk it is null, as infinity would poison every mean, and a rule that
took it for missing would let go of the most surprising documents.
"""

import math
from collections.abc import Collection

import polars as pl
import pyarrow.parquet as pq

from pipeline.schema import LARGEST, LARGEST_EXPONENT, RATIOS, Metric
from pipeline.statistics.columns import column_named


def ratio(metric: Metric, nll: pl.Expr, count: pl.Expr) -> pl.Expr:
    """A ratio from sums: infinity where it overflows; `count` is not 0."""
    return (nll / count).exp() if metric.is_perplexity else nll / count / math.log(2)


def overflows(metric: Metric) -> pl.Expr:
    """Whether the row has a score whose ratio exceeds a float64."""
    count = column_named(str(metric.per))
    too_large = (count > 0) & (pl.col("nll") / count > LARGEST_EXPONENT)
    return too_large.fill_null(False) & metric.is_perplexity


PERPLEXITIES = {name: metric for name, metric in RATIOS.items() if metric.is_perplexity}


def may_overflow(part: pq.FileMetaData) -> frozenset[str]:
    """The metrics of which a part may have a value that overflows: null where there is an nll."""
    places = {part.schema.column(i).path: i for i in range(part.num_columns)}
    num_nulls = dict.fromkeys(("nll", *PERPLEXITIES), 0)
    for group in range(part.num_row_groups):
        for name in num_nulls:
            found = part.row_group(group).column(places[name]).statistics
            if found is None or not found.has_null_count:
                return frozenset(PERPLEXITIES)
            num_nulls[name] += found.null_count
    without = num_nulls["nll"]
    return frozenset(name for name in PERPLEXITIES if num_nulls[name] != without)


def comparable(
    rows: pl.LazyFrame, which: Collection[str] = frozenset(PERPLEXITIES)
) -> pl.LazyFrame:
    """Score rows as rules and figures read them: metrics that overflow are LARGEST, not null.

    Looking for one reads two more columns; `which` are those that may.
    """
    return rows.with_columns(
        pl.when(overflows(metric)).then(LARGEST).otherwise(column_named(name)).alias(name)
        for name, metric in PERPLEXITIES.items()
        if name in which
    )
