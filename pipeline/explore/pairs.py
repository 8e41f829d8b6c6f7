"""Two runs to explore: of the same documents side by side, else one's distribution as an outline.

Owns which of the two it is, which metrics may be drawn beside each other, what is said of both, and
the density of documents over one metric in two runs. Which runs pair is filters/'s to say, and
which may be compared at all comparisons/'s.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.comparisons.comparability import recognise
from pipeline.comparisons.gates import PER_TOKEN, WHY_WITHHELD
from pipeline.errors import RunError
from pipeline.explore.bins import Scale, value_of
from pipeline.explore.rule import Narrowing
from pipeline.explore.run import ExploredRun, open_run
from pipeline.filters.filtering import PreparedRun
from pipeline.filters.paired_rows import OTHER, PAIRED
from pipeline.reports.excerpts import METRIC
from pipeline.runs.store import RunStore
from pipeline.schema import METRICS, SCORED
from pipeline.statistics.columns import column_named, nan_as_null

FINE = 256
"""Bins of a factor of e, or of a bit: a grid's cell is one or more."""
MOST_CELLS, FEWEST_CELLS = 256, 32
"""Of a side of the grid."""
TRIMMED = 0.0005
"""Of the documents, at either end: they are counted at the border."""
SMALLEST = 1e-9
FURTHEST = 1 << 30


@dataclass(frozen=True, slots=True)
class TwoRuns:
    """A run with another beside it."""

    run: ExploredRun
    other: ExploredRun
    names: tuple[str, str]
    said: str
    """How the two are shown, and why."""
    same_tokenizer: bool

    @property
    def is_paired(self) -> bool:
        """Whether the two have the same documents."""
        return bool(self.run.prepared.own_metrics)

    @property
    def metric(self) -> str:
        """What is looked at first."""
        return self.run.prepared.own_metrics[0] if self.is_paired else METRIC

    def is_made(self, metric: str) -> bool:
        """Whether it is made of both runs."""
        return metric in self.run.prepared.own_metrics

    def why_not(self, metric: str) -> str | None:
        """Why a metric of the two is not drawn together; None if it is."""
        if metric not in self.other.metrics:
            return f"{self.names[1]} has no {metric}"
        if metric in PER_TOKEN and not self.same_tokenizer:
            return WHY_WITHHELD
        return None


def open_two(
    location: str, other: str, *, corpus: str | None = None, partial: bool = False
) -> TwoRuns:
    """Open both. Raises RunError for runs that `winnow compare` refuses."""
    question = recognise([RunStore(location), RunStore(other)], partial=partial)
    names = (question.subjects[0].name, question.subjects[1].name)
    second = open_run(other, partial=partial)
    run = replace(open_run(location, corpus=corpus, partial=partial), other=second)
    try:
        prepared = PreparedRun(location, minus=other, over=other)
    except RunError as error:
        said = [f"The outline is {names[1]}, drawn to the size of {names[0]}: {error}."]
    else:
        prepared.check(())
        run = replace(run, prepared=prepared)
        said = [
            f"Each document by {names[0]} (across) and {names[1]} (up). The metrics difference and "
            f"ratio are {PAIRED} of {names[0]} minus, and over, that of {names[1]}; of any other "
            f"metric the outline is {names[1]}."
        ]
    if run.manifest.run_id == second.manifest.run_id:
        said.append("Both are the same run.")
    return TwoRuns(run, second, names, " ".join(said + question.notes), question.same_tokenizer)


@dataclass(frozen=True, slots=True)
class Density:
    """Documents by their value in two runs, in square cells; those beyond are at the border."""

    scale: Scale
    """Of both sides."""
    counts: npt.NDArray[np.uint32]
    """[cell of the first run, cell of the second]"""


def find_density(two: TwoRuns, metric: str, where: str | None = None) -> Density:
    """One pass. A difference is drawn over its metric on a linear axis, a ratio on a log one, so
    that either is a straight line; any other metric over itself."""
    own = PAIRED if two.is_made(metric) else metric
    is_signed = own not in METRICS or METRICS[own].is_signed
    is_log = metric != "difference" and not is_signed
    rows = two.run.prepared.rows.beside(own, "status")
    if (narrowing := Narrowing.of(two.run, where)) is not None:
        rows = nan_as_null(rows).filter(narrowing.holds)
    counted = (
        rows.filter(pl.col("status").is_in(SCORED), column_named(OTHER + "status").is_in(SCORED))
        .select(x=_bin(own, is_log=is_log), y=_bin(OTHER + own, is_log=is_log))
        .drop_nulls()
        .group_by("x", "y")
        .len()
        .collect(engine="streaming")
    )
    places, sizes = counted.select("x", "y").to_numpy(), counted["len"].to_numpy()
    first, last = _shown(places.T.ravel(), np.tile(sizes, 2))
    wanted = int(np.clip(2 * np.sqrt(sizes.sum()), FEWEST_CELLS, MOST_CELLS))
    each = -(-(last - first + 1) // wanted)
    side = -(-(last - first + 1) // each)
    counts = np.zeros((side, side), np.uint32)
    np.add.at(counts, tuple(np.clip((places - first) // each, 0, side - 1).T), sizes)
    return Density(Scale("log" if is_log else "linear", first / FINE, each / FINE), counts)


def _bin(name: str, *, is_log: bool) -> pl.Expr:
    value = value_of(name)
    place = value.clip(SMALLEST).log() if is_log else value
    return (place * FINE).floor().clip(-FURTHEST, FURTHEST).cast(pl.Int64)


def _shown(values: npt.NDArray[np.int64], sizes: npt.NDArray[np.uint32]) -> tuple[int, int]:
    """The first and the last bin of either side, without the few that are far away."""
    if not len(values):
        return 0, 0
    order = np.argsort(values)
    upto = np.cumsum(sizes[order], dtype=np.int64)
    ends = np.searchsorted(upto, [TRIMMED * upto[-1], (1 - TRIMMED) * upto[-1]])
    low, high = values[order[ends]]
    return int(low), int(high)
