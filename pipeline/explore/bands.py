"""Bands of a metric with about as many documents in each, and a random order inside them.

Owns what draws are made from. The bands are cut from the distribution's bins once, of all documents
with a value, before anything is drawn; they do not move with a rule. The order is a seeded hash of
a document's place, so that the next to be judged is the same after a restart.
"""

import json
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import polars as pl

from pipeline.explore.bins import UNSCORED, Bins, value_of
from pipeline.explore.run import ExploredRun
from pipeline.schema import SCORED
from pipeline.statistics.hashing import row_hash

NUM_BANDS = 10
QUEUED = 256
"""Number of documents of a band that are put in random order at a time."""
ORDER_SEED = 0


@dataclass(frozen=True, slots=True)
class Bands:
    """The strata of draws."""

    scores: str
    """Identity of the run's scores."""
    metric: str
    starts: tuple[float, ...]
    """Smallest value of each band."""
    documents: tuple[int, ...]

    @property
    def identity(self) -> str:
        """Another one where any document may be in another band."""
        content = json.dumps([self.scores, self.metric, self.starts, self.documents])
        return blake2b(content.encode(), digest_size=8).hexdigest()

    def band(self) -> pl.Expr:
        """The band of score rows; null for those without a value."""
        value = value_of(self.metric)
        found = sum((value >= start for start in self.starts[1:]), pl.lit(0, pl.Int64))
        return pl.when(pl.col("status").is_in(SCORED) & value.is_not_null()).then(found)


def make_bands(run: ExploredRun, metric: str, bins: Bins) -> Bands:
    """Of the bins of all documents, ungrouped; fewer where documents share few values."""
    cells = bins.cells.filter(pl.col("bin") != UNSCORED).sort("bin")
    sizes = cells["documents"].to_numpy()
    middle = np.cumsum(sizes) - sizes / 2
    place = (middle * NUM_BANDS // max(1, sizes.sum())).astype(int)
    told = (
        cells.with_columns(band=pl.Series(place))
        .group_by("band")
        .agg(pl.col("low").min(), pl.col("documents").sum())
        .sort("band")
    )
    return Bands(run.identity_of(metric), metric, tuple(told["low"]), tuple(told["documents"]))


@dataclass(slots=True)
class Queues:
    """Each band's documents in the order of chance."""

    run: ExploredRun
    bands: Bands
    _found: dict[int, pl.DataFrame] = field(default_factory=dict)

    def of(self, band: int, at_least: int) -> pl.DataFrame:
        """[file, row, text_hash] of a band's first documents, `at_least` so many if there are."""
        found = self._found.get(band)
        wanted = min(at_least, self.bands.documents[band])
        if found is None or found.height < wanted:
            rows = self.run.rows().filter(self.bands.band() == band)
            slim = rows.select("file", "row", "text_hash", order=row_hash(ORDER_SEED, "judge"))
            most = -(-max(wanted, 1) // QUEUED) * QUEUED
            first = slim.bottom_k(most, by=["order", "row"]).sort("order", "row", "file")
            found = first.select("file", "row", "text_hash").collect(engine="streaming")
            self._found[band] = found
        return found
