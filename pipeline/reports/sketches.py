"""The distribution of a metric in a few thousand bins, whatever the number of documents.

Owns the bins and what is read off them. Everything that a report says of a distribution comes from
one pass over the scores: quantiles, histograms, empirical distributions, what a threshold keeps.

Bins are of equal width on a log axis, so that every value is known to within a constant relative
error, as in DDSketch (Masson, Rim and Lee, VLDB 2019). Each bin also keeps its smallest and its
largest value, so that bins of one or two documents are exact, and so are the ends of every bin.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

FINE, COARSE = 1 << 26, 128
"""Bins a factor of e. Fine: as good as a bin a value, quantiles are right to eight digits.
Coarse: no quantile is off by more than 0.8%, and by far less where a bin holds more than a handful
of documents."""
FINE_ROWS = 1 << 20
"""Up to so many rows bins are fine: with more, grouping by them would cost more than reading."""
ZERO_BIN = -(1 << 40)
"""The bin of 0, below that of the smallest float64: a text known by heart has 0 bits."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def resolution_of(scores: pl.LazyFrame) -> int:
    """Bins a factor of e that suit the number of rows."""
    num_rows = scores.select(pl.len()).collect(engine="streaming").item()
    return FINE if num_rows <= FINE_ROWS else COARSE


def sketch_query(scores: pl.LazyFrame, metric: str, resolution: int, *by: pl.Expr) -> pl.LazyFrame:
    """A row a bin that has documents, and a value of `by`. The metric is 0 or more, or null."""
    index = (pl.col(metric).log() * resolution).floor().clip(ZERO_BIN).cast(pl.Int64)
    return (
        scores.filter(pl.col(metric).is_not_null())
        .group_by(*by, index.alias("bin"))
        .agg(
            pl.len().cast(pl.Int64).alias("documents"),
            pl.col("num_tokens").sum().alias("tokens"),
            pl.col("num_bytes").sum().alias("bytes"),
            pl.col(metric).min().alias("low"),
            pl.col(metric).max().alias("high"),
        )
    )


@dataclass(frozen=True, slots=True)
class Sketch:
    """One array element a bin that has documents, in ascending order."""

    resolution: int
    """Bins a factor of e."""
    bins: Integers
    documents: Integers
    tokens: Integers
    num_bytes: Integers
    low: Floats
    """The smallest value in the bin."""
    high: Floats

    @property
    def num_documents(self) -> int:
        return int(self.documents.sum())

    def edges(self, bins: Integers) -> Floats:
        """Where bins begin, in the metric's own unit."""
        return np.exp(bins / self.resolution)

    def below(self, bins: Integers) -> Integers:
        """Documents before each bin."""
        before = np.concatenate([[0], self.documents.cumsum()])
        return before[np.searchsorted(self.bins, bins)]

    def quantile(self, q: float) -> float | None:
        """Linear between order statistics, as NumPy and Polars have it. None of no documents.

        Inside of a bin values are taken to be evenly spread between its smallest and its largest.
        """
        if not len(self.bins):
            return None
        position = (self.num_documents - 1) * q
        rank = math.floor(position)
        value = self._ranked(rank)
        if position > rank:
            value += (position - rank) * (self._ranked(rank + 1) - value)
        return value

    def _ranked(self, rank: int) -> float:
        ends = self.documents.cumsum()
        at = int(np.searchsorted(ends, rank, side="right"))
        among = int(self.documents[at])
        if among == 1:
            return float(self.low[at])
        share = (rank - int(ends[at] - among)) / (among - 1)
        return float(self.low[at] + (self.high[at] - self.low[at]) * share)

    def above(self, value: float, documents: int) -> list[tuple[float, float]]:
        """Ranges that hold, of the bin of `value`, about so many documents from `value` up, were
        they evenly spread, and its largest in any case."""
        at = min(int(np.searchsorted(self.high, value)), len(self.high) - 1)
        high = float(self.high[at])
        gap = (high - float(self.low[at])) / max(1, int(self.documents[at]) - 1)
        return [(value, min(high, value + gap * documents)), (high, high)]

    def positive(self) -> "Sketch":
        """Without the bin of 0, which has no place on a log axis."""
        return self.take(self.bins > ZERO_BIN)

    def take(self, mask: npt.NDArray[np.bool_]) -> "Sketch":
        """Some of the bins."""
        return Sketch(
            self.resolution,
            self.bins[mask],
            self.documents[mask],
            self.tokens[mask],
            self.num_bytes[mask],
            self.low[mask],
            self.high[mask],
        )


def as_sketch(table: pl.DataFrame, resolution: int) -> Sketch:
    """Rows of `sketch_query`, added up over everything but the bin."""
    merged = (
        table.group_by("bin")
        .agg(
            pl.col("documents", "tokens", "bytes").sum(), pl.col("low").min(), pl.col("high").max()
        )
        .sort("bin")
    )
    return Sketch(
        resolution,
        merged["bin"].to_numpy(),
        merged["documents"].to_numpy(),
        merged["tokens"].to_numpy(),
        merged["bytes"].to_numpy(),
        merged["low"].to_numpy(),
        merged["high"].to_numpy(),
    )
