"""Adding up score rows, batch by batch, by a code of each row.

Owns the one pass over the rows and the sums that figures are made of. What a figure is, figures.py
says; which codes there are, groups.py.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from pipeline.reports.figures import (
    QUANTILE_METRICS,
    QUANTILES,
    Figures,
    figures_from,
    quantile_name,
)
from pipeline.reports.intervals import MOST_GROUPS, Intervals, IntervalTally
from pipeline.schema import COUNTS
from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.bootstrap import Bootstrap
from pipeline.statistics.columns import column_named
from pipeline.statistics.sketches import (
    FINE,
    Binned,
    Integers,
    Sketch,
    SketchTally,
    bin_values,
    resolution_of,
)
from pipeline.statistics.weighted import quantile_of

READ = ("num_bytes", *COUNTS, "nll", *QUANTILE_METRICS)
SUMS = {
    "num_documents": np.int64,
    "num_scored": np.int64,
    "num_bytes": np.int64,
    "nll": np.float64,
    **dict.fromkeys(COUNTS, np.int64),
    **{f"means of {count}": np.float64 for count in COUNTS},
    **{f"documents with {count}": np.int64 for count in COUNTS},
}
"""The sums that figures are computed from; sums of two sets of rows add up. Counts cover scored
documents, and so do the means: nll / count of each document with a count above 0."""
ROWS_AT_A_TIME = 1 << 18
BLOCK = "bootstrap block"
EMPTY = SketchTally(FINE).whole()


def figures_of(scores: pl.LazyFrame, bootstrap: Bootstrap | None = None) -> Figures:
    """The figures of all rows of a frame; with intervals if there is what resamples them."""
    (tally,) = tally_rows(scores, [Tallied(pl.lit(0), 1)], bootstrap=bootstrap)
    return tally.whole()[0]


class Tallied(NamedTuple):
    """The code by which rows are grouped when they are added up."""

    code: pl.Expr
    """The group of each row as a whole number, 0 or more."""
    num_codes: int
    """Number of groups; every code is below it."""


class Tally:
    """Sums and distributions of score rows by code, batch by batch."""

    def __init__(self, num_codes: int, resolution: int, bootstrap: Bootstrap | None = None) -> None:
        self._sums = {name: np.zeros(num_codes, kind) for name, kind in SUMS.items()}
        self._sketches = {metric: SketchTally(resolution) for metric in QUANTILE_METRICS}
        self._intervals = None
        if bootstrap is not None and num_codes <= MOST_GROUPS:
            self._intervals = IntervalTally(bootstrap, num_codes)

    def add(self, codes: Integers, rows: dict[str, Any], binned: dict[str, Binned]) -> None:
        """Count rows, one array element each; `rows` are the columns READ, `binned` the metrics."""
        is_scored = ~np.isnan(rows["nll"])
        nll = np.where(is_scored, rows["nll"], 0.0)
        sums: dict[str, Any] = {
            "num_documents": 1,
            "num_scored": is_scored.astype(np.int64),
            "num_bytes": rows["num_bytes"],
            "nll": nll,
        }
        for name in COUNTS:
            count = np.where(is_scored, rows[name], 0)
            has_any = count > 0
            sums[name] = count
            sums[f"means of {name}"] = np.divide(nll, count, out=np.zeros(len(nll)), where=has_any)
            sums[f"documents with {name}"] = has_any.astype(np.int64)
        for name, values in sums.items():
            np.add.at(self._sums[name], codes, values)
        if self._intervals is not None:
            self._intervals.add(codes, rows[BLOCK], sums)
        for metric, sketch in self._sketches.items():
            sketch.add(codes, binned[metric], rows["num_tokens"], rows["num_bytes"])

    def by_code(self, weight: Weight = UNWEIGHTED) -> dict[int, tuple[Figures, dict[str, Sketch]]]:
        """Figures of the codes that have rows, ascending, and metric to distribution."""
        sketches = {metric: tally.sketches() for metric, tally in self._sketches.items()}
        made = {}
        intervals = self._intervals and self._intervals.by_code(self._sums["num_scored"])
        for code in map(int, self._sums["num_documents"].nonzero()[0]):
            own = {metric: found.get(code, EMPTY) for metric, found in sketches.items()}
            sums = {name: values[code].item() for name, values in self._sums.items()}
            around = intervals[code] if intervals else {}
            made[code] = make_figures(sums, own, around, weight), own
        return made

    def whole(self, weight: Weight = UNWEIGHTED) -> tuple[Figures, dict[str, Sketch]]:
        """The same of all codes together."""
        sketches = {metric: tally.whole() for metric, tally in self._sketches.items()}
        sums = {name: values.sum().item() for name, values in self._sums.items()}
        intervals = self._intervals.whole(sums["num_scored"]) if self._intervals else {}
        return make_figures(sums, sketches, intervals, weight), sketches


def tally_rows(
    scores: pl.LazyFrame,
    wanted: Sequence[Tallied],
    also: Callable[[dict[str, Any], dict[str, Binned]], None] = lambda rows, binned: None,
    bootstrap: Bootstrap | None = None,
) -> list[Tally]:
    """Add up all rows of a frame in one pass, by each of the codes; `also` is shown them too, and
    the bins of their metrics. With `bootstrap`, rows have a place and figures their intervals."""
    resolution = resolution_of(scores)
    tallies = [Tally(tallied.num_codes, resolution, bootstrap) for tallied in wanted]
    numbers = [tallied.code for tallied in wanted]
    if bootstrap is not None:
        numbers.append(bootstrap.block_expr())
    for codes, rows in batches_of(scores, numbers):
        if bootstrap is not None:
            rows[BLOCK] = codes.pop()
        binned = {metric: bin_values(rows[metric], resolution) for metric in QUANTILE_METRICS}
        for tally, code in zip(tallies, codes, strict=True):
            tally.add(code, rows, binned)
        also(rows, binned)
    return tallies


def batches_of(
    scores: pl.LazyFrame, codes: Sequence[pl.Expr], columns: Sequence[str] = READ
) -> Iterator[tuple[list[Integers], dict[str, Any]]]:
    """Each batch's codes and columns, as arrays; a metric is NaN where it is missing."""
    named = [code.cast(pl.Int64).alias(f"code {i}") for i, code in enumerate(codes)]
    kinds = scores.collect_schema()
    # By Polars, on all cores: NumPy would have to copy the column once more.
    read = [
        column_named(name).fill_null(math.nan) if kinds[name].is_float() else column_named(name)
        for name in columns
    ]
    # In order, so that sums of floats are the same every time.
    for batch in scores.select(*read, *named).collect_batches(
        chunk_size=ROWS_AT_A_TIME, maintain_order=True, engine="streaming"
    ):
        rows = {name: batch[name].to_numpy() for name in columns}
        yield [batch[f"code {i}"].to_numpy() for i in range(len(named))], rows


def make_figures(
    sums: dict[str, Any],
    sketches: dict[str, Sketch],
    intervals: Intervals,
    weight: Weight = UNWEIGHTED,
) -> Figures:
    """The SUMS of some rows and the distribution of each metric, as figures."""
    means = {
        name: sums[f"means of {name}"] / documents
        for name in COUNTS
        if (documents := sums[f"documents with {name}"])
    }
    quantiles = {metric: _quantiles(sketches[metric], weight) for metric in QUANTILE_METRICS}
    error = max(sketch.relative_error for sketch in sketches.values())
    return figures_from(sums, means, quantiles, error, intervals)


def _quantiles(sketch: Sketch, weight: Weight) -> dict[str, float]:
    values = {quantile_name(q): quantile_of(sketch, q, weight) for q in QUANTILES}
    return {name: value for name, value in values.items() if value is not None}
