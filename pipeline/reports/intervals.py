"""95% intervals of figures that are a sum divided by a sum: how much they depend on chance.

Owns two steps: adding rows up by bootstrap block, in the same pass as all other sums, and computing
each figure in every resample. The bootstrap itself is statistics/bootstrap.py's. A sampled corpus
has other intervals, sampled.py's, because it is known how much was left out.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.schema import COUNTS, LARGEST_EXPONENT, RATIOS
from pipeline.statistics.bootstrap import (
    NUM_BLOCKS,
    BlockSums,
    Bootstrap,
    Interval,
    Values,
    interval,
)
from pipeline.statistics.sketches import Integers

RESAMPLED = ("nll", *COUNTS)
"""Columns of scored documents that are summed by block."""
MOST_GROUPS = 64
"""Largest number of groups of a column for which intervals are computed; each takes half a
megabyte."""
Intervals = dict[str, Interval | None]
"""Interval by figure; None with fewer than two documents, or without a value."""


class IntervalTally:
    """Sums of score rows by code and block, batch by batch."""

    def __init__(self, bootstrap: Bootstrap, num_codes: int) -> None:
        self._bootstrap = bootstrap
        self._sums = BlockSums(len(RESAMPLED), num_codes)

    def add(self, codes: Integers, blocks: Integers, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Add rows, one array element each; `columns` are RESAMPLED, 0 where a row has no score."""
        self._sums.add(codes * NUM_BLOCKS + blocks, [columns[name] for name in RESAMPLED])

    def by_code(self, num_scored: Integers) -> list[Intervals]:
        """The intervals of each code; `num_scored` are its scored documents, shape [num_codes]."""
        sums = self._sums.by_group()
        flat = np.moveaxis(sums, 0, 1).reshape(NUM_BLOCKS, len(sums) * len(RESAMPLED))
        shape = (self._bootstrap.resamples, len(sums), len(RESAMPLED))
        drawn = self._bootstrap.resample(flat).reshape(shape)
        return [ratio_intervals(drawn[:, code], int(num_scored[code])) for code in range(len(sums))]

    def whole(self, num_scored: int) -> Intervals:
        """The intervals of all codes together."""
        return ratio_intervals(self._bootstrap.resample(self._sums.by_group().sum(0)), num_scored)


def ratio_intervals(drawn: Values, num_documents: int) -> Intervals:
    """`drawn` are the sums of each resample, shape [resamples, len(RESAMPLED)]."""
    return {
        figure: interval(values, num_documents) for figure, values in drawn_ratios(drawn).items()
    }


def drawn_ratios(drawn: Values) -> dict[str, Values]:
    """Each figure's value in every resample: NaN where its count is 0, the largest float64 where it
    overflows."""
    nll, found = drawn[:, 0], {}
    for name, metric in RATIOS.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            nats = nll / drawn[:, RESAMPLED.index(str(metric.per))]
        nats[~np.isfinite(nats)] = np.nan
        found[metric.total or name] = (
            np.exp(np.minimum(nats, LARGEST_EXPONENT)) if metric.is_perplexity else nats / np.log(2)
        )
    return found
