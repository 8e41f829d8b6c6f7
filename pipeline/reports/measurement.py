"""Everything of a report that adds up, from one pass over the scores.

Owns putting the queries together. What each is, its own module says.
"""

from dataclasses import dataclass
from itertools import chain

import polars as pl

from pipeline.reports.distributions import LengthBand, length_bands, length_query
from pipeline.reports.figures import QUANTILE_METRICS, Figures, make_figures
from pipeline.reports.groups import KEY, WHOLE, Grouping, GroupTables, group_tables
from pipeline.reports.sketches import Sketch, as_sketch, resolution_of


@dataclass(frozen=True, slots=True)
class Measured:
    """What one pass over the scores gives."""

    overall: Figures
    sketches: dict[str, Sketch]
    """By metric, of all documents."""
    groups: dict[str, GroupTables]
    """By column."""
    lengths: list[LengthBand]


def measure(scores: pl.LazyFrame, groupings: dict[str, Grouping]) -> Measured:
    """Everything that adds up, in one pass."""
    resolution = resolution_of(scores)
    # The groups of any one column add up to the whole: then nothing of it is measured apart.
    by = groupings.values() or [WHOLE]
    queries = [grouping.queries(scores, resolution) for grouping in by]
    lengths, *tables = pl.collect_all(
        [length_query(scores, resolution), *chain.from_iterable(queries)], engine="streaming"
    )
    size = len(queries[0])
    parts = [tables[i : i + size] for i in range(0, len(tables), size)]
    sums, *distributions = parts[0]
    sketches = dict(
        zip(
            QUANTILE_METRICS, (as_sketch(table, resolution) for table in distributions), strict=True
        )
    )
    groups = [group_tables(part, resolution) for part in parts[: len(groupings)]]
    return Measured(
        overall=make_figures(sums.drop(KEY).sum().row(0, named=True), sketches),
        sketches=sketches,
        groups=dict(zip(groupings, groups, strict=True)),
        lengths=length_bands(lengths, resolution),
    )
