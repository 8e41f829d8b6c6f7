"""How far chance may have moved a figure of a requirement, or its change from a baseline.

Owns resampling the runs of a gate: documents of one place in both runs count alike in both, so that
the interval of a change is that of paired documents. What the bootstrap is, statistics/bootstrap.py
says; the intervals are those that a report shows.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.reports.figures import RATIO_FIGURES
from pipeline.reports.groups import label_expr
from pipeline.reports.intervals import RESAMPLED, drawn_ratios
from pipeline.reports.sampled import corpus_figures, corpus_groups
from pipeline.runs.sample import Draw
from pipeline.statistics.bootstrap import NUM_BLOCKS, Bootstrap, Interval, Values, interval
from pipeline.statistics.columns import column_named

HAVE_INTERVALS = tuple(name for name, (_, kind) in RATIO_FIGURES.items() if kind == "micro")
"""Figures that are ratios of two sums, for which intervals are computed."""
GROUP, BLOCK, COUNT = "winnow:group", "winnow:block", "winnow:count"


class Drawn(NamedTuple):
    """A figure in every resample, and of how many documents it is."""

    values: Values
    num_documents: int


class Resamples:
    """The documents of a run in every resample: all of them, or those of each group."""

    def __init__(
        self,
        scores: pl.LazyFrame,
        column: str | None,
        bootstrap: Bootstrap,
        *,
        weight: pl.Expr | None,
        draw: Draw | None,
        place: int,
    ) -> None:
        self._bootstrap = bootstrap
        keys = [bootstrap.block_expr(place).alias(BLOCK)]
        if column is not None:
            keys.append(label_expr(column).alias(GROUP))
        counted = 1.0 if weight is None else weight
        sums = [(column_named(name) * counted).sum().alias(name) for name in RESAMPLED]
        scored = scores.filter(pl.col("nll").is_not_null())
        frame = scored.group_by(keys).agg(*sums, pl.len().alias(COUNT))
        found = frame.collect(engine="streaming")
        self._sums: dict[str | None, pl.DataFrame] = {None: found}
        if column is not None:
            parts = found.partition_by(GROUP, as_dict=True)
            self._sums = {str(group): part for (group,), part in parts.items()}
        self._drawn: dict[str | None, dict[str, Values]] = {}
        self._estimated: dict[str | None, dict[str, Interval | None]] | None = None
        if draw is not None and column is None:
            self._estimated = {None: corpus_figures(scores, draw).intervals}
        elif draw is not None and column is not None:
            groups = corpus_groups(scores, column, draw, [str(group) for group in self._sums])
            self._estimated = {group.value: group.figures.intervals for group in groups}

    def drawn(self, group: str | None, figure: str) -> Drawn | None:
        """A figure of a group in every resample; None where nothing in it was scored."""
        if (part := self._sums.get(group)) is None or not part.height:
            return None
        if group not in self._drawn:
            sums = np.zeros((NUM_BLOCKS, len(RESAMPLED)))
            sums[part[BLOCK].to_numpy()] = part.select(RESAMPLED).to_numpy()
            self._drawn[group] = drawn_ratios(self._bootstrap.resample(sums))
        return Drawn(self._drawn[group][figure], int(part[COUNT].sum()))

    def interval(self, group: str | None, figure: str) -> Interval | None:
        """That of a figure; a sample's is of what it leaves out."""
        if self._estimated is not None:
            return self._estimated.get(group, {}).get(figure)
        found = self.drawn(group, figure)
        return None if found is None else interval(*found)


def change_interval(now: Drawn | None, was: Drawn | None, sign: int) -> Interval | None:
    """Of the change from one run to the other, relative to what was."""
    if now is None or was is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        changes = sign * (now.values - was.values) / np.abs(was.values)
    return interval(changes, min(now.num_documents, was.num_documents))
