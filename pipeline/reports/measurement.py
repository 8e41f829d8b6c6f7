"""Everything of a report that adds up, from one pass over the scores.

Owns putting the queries together. What each is, its own module says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.reports.distributions import LengthBand, LengthTally
from pipeline.reports.figures import Figures
from pipeline.reports.groups import WHOLE, Grouping, GroupTables, group_tables
from pipeline.reports.tally import tally_rows
from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.bootstrap import Bootstrap
from pipeline.statistics.sketches import Sketch, resolution_of


@dataclass(frozen=True, slots=True)
class Measured:
    """What one pass over the scores gives."""

    overall: Figures
    sketches: dict[str, Sketch]
    """Distribution sketches of all documents, by metric."""
    groups: dict[str, GroupTables]
    """Groups and their figures, by column."""
    lengths: list[LengthBand]


def measure(
    scores: pl.LazyFrame,
    groupings: Mapping[str, Grouping],
    bootstrap: Bootstrap | None = None,
    weight: Weight = UNWEIGHTED,
) -> Measured:
    """Everything that adds up, in one pass; with intervals if there is what resamples them.

    `weight` is what quantiles are of.
    """
    lengths = LengthTally(resolution_of(scores), weight)
    # The groups of any one column add up to the whole: then nothing of it is measured apart.
    wanted = [grouping.tallied() for grouping in groupings.values() or [WHOLE]]
    tallies = tally_rows(scores, wanted, lengths.add, bootstrap)
    overall, sketches = tallies[0].whole(weight)
    return Measured(
        overall=overall,
        sketches=sketches,
        groups={
            column: group_tables(grouping, tally, weight)
            for (column, grouping), tally in zip(groupings.items(), tallies, strict=False)
        },
        lengths=lengths.bands(),
    )
