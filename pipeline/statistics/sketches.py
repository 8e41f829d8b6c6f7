"""The distribution of a metric in a few thousand bins, whatever the number of documents.

Owns the bins and what is read off them. Everything that a report says of a distribution comes from
one pass over the scores: quantiles, histograms, empirical distributions, what a threshold keeps.
Adding up is NumPy's: Polars groups by any key, and takes several times as long as counting does.

Bins are of equal width on a log axis, so that every value is known to within a constant relative
error, as in DDSketch (Masson, Rim and Lee, VLDB 2019). Each bin also keeps its smallest and its
largest value, so that bins of one or two documents are exact, and so are the ends of every bin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.schema import LARGEST_EXPONENT
from pipeline.statistics.quantile import position

FINE, COARSE = 1 << 26, 128
"""Bins per factor of e. Fine: as good as a bin per value, quantiles are right to eight digits.
Coarse: no quantile is off by more than 0.8%, and by far less where a bin holds more than a handful
of documents."""
FINE_ROWS = 1 << 20
"""Up to so many rows bins are fine: with more, grouping by them would cost more than reading."""
ZERO_BIN = -(1 << 40)
"""The bin of 0, below that of the smallest float64: a text known by heart has 0 bits."""

SPAN = 1 << 41
"""More than there are bins."""
MOST_CODES = 1 << 21
DENSE, DENSE_AT_LEAST = 4, 1 << 12
"""Bins per row, and in any case, up to which each possible bin has a place in an array."""
MOST_PENDING = 1 << 20
"""Bins that wait to be merged."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def resolution_of(scores: pl.LazyFrame) -> int:
    """Bins per factor of e that suit the number of rows."""
    num_rows = scores.select(pl.len()).collect(engine="streaming").item()
    return FINE if num_rows <= FINE_ROWS else COARSE


@dataclass(frozen=True, slots=True)
class Sketch:
    """One array element per bin that has documents, in ascending order."""

    resolution: int
    """Bins per factor of e."""
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
        values: Floats = np.exp(np.minimum(bins / self.resolution, LARGEST_EXPONENT))
        return values

    def below(self, bins: Integers) -> Integers:
        """Documents before each bin."""
        before = np.concatenate([[0], self.documents.cumsum()])
        return before[np.searchsorted(self.bins, bins)]

    @property
    def relative_error(self) -> float:
        """No quantile is further from the exact one than this share of it."""
        return math.expm1(1 / self.resolution)

    def value_at(self, q: float) -> float | None:
        """The quantile of quantile.py, to within `relative_error`. None of no documents.

        Inside of a bin values are taken to be evenly spread between its smallest and its largest.
        """
        if not len(self.bins):
            return None
        place = position(q, self.num_documents)
        rank = math.floor(place)
        value = self._ranked(rank)
        if place > rank:
            value += (place - rank) * (self._ranked(rank + 1) - value)
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

    def take(self, mask: Bools) -> "Sketch":
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


def merge_sketches(sketches: Sequence[Sketch]) -> Sketch:
    """One of all documents. There is at least one sketch; all are of one resolution."""
    parts = [
        _Bins(one.bins, one.documents, one.tokens, one.num_bytes, one.low, one.high)
        for one in sketches
    ]
    return Sketch(sketches[0].resolution, *_Bins.concatenated(parts).merged())


class Binned(NamedTuple):
    """Values of a metric and the bin of each, for any number of tallies."""

    values: Floats
    """0 or more, or NaN: missing, and not counted."""
    bins: Integers
    """Of a value that is missing: any of the others'."""
    is_missing: Bools
    first: int
    last: int
    """The ends of `bins`."""


def bin_values(values: Floats, resolution: int) -> Binned:
    """`resolution` is in bins per factor of e."""
    is_missing = np.isnan(values)
    if is_missing.all():
        return Binned(values, np.zeros(len(values), np.int64), is_missing, 0, 0)
    with np.errstate(divide="ignore"):
        logs = np.log(values)
    logs *= resolution
    np.floor(logs, out=logs)
    np.maximum(logs, ZERO_BIN, out=logs)
    first, last = int(np.fmin.reduce(logs)), int(np.fmax.reduce(logs))
    # Values that are missing count in one bin more, which is left out: cheaper by far than
    # taking the others out of every array.
    np.copyto(logs, first, where=is_missing)
    return Binned(values, logs.astype(np.int64), is_missing, first, last)


class SketchTally:
    """Sketches of one metric by a small code of each row, batch by batch of score rows."""

    def __init__(self, resolution: int) -> None:
        """`resolution` is that of the bins."""
        self._resolution = resolution
        self._parts = [_Bins.empty()]
        self._num_bins = 0

    def add(
        self,
        codes: Integers,
        binned: Binned,
        tokens: Integers | None = None,
        num_bytes: Integers | None = None,
    ) -> None:
        """Count rows, one array element each. Codes are below MOST_CODES; tokens and bytes that
        are not given are 0 of every bin."""
        bins, is_missing, first, last = binned.bins, binned.is_missing, binned.first, binned.last
        if is_missing.all():
            return
        width = last - first + 1
        size = (int(codes.max()) + 1) * width
        rows = _Bins(codes, 1, tokens, num_bytes, binned.values, binned.values)
        if size <= DENSE * len(bins) + DENSE_AT_LEAST:
            at = codes * width
            at += bins
            at -= first
            np.putmask(at, is_missing, size)
            added = rows.added(at, size + 1)
            used = added.documents[:size].nonzero()[0]
            code, number = np.divmod(used, width)
            added = added.take(used, code * SPAN + (number + first - ZERO_BIN))
        else:
            keys = codes * SPAN + (bins - ZERO_BIN)
            np.putmask(keys, is_missing, -1)
            keys, at = np.unique(keys, return_inverse=True)
            added = rows.added(at, len(keys))
            added = added.take(keys >= 0, keys[keys >= 0])
        self._parts.append(added)
        self._num_bins += len(added.keys)
        if self._num_bins > MOST_PENDING:
            self._merge()

    def sketches(self) -> dict[int, Sketch]:
        """Those of the codes that have documents, ascending."""
        merged = self._merge()
        codes = merged.keys // SPAN
        masks = {int(code): codes == code for code in np.unique(codes)}
        return {
            code: self._sketch(merged.take(mask, merged.keys[mask])) for code, mask in masks.items()
        }

    def whole(self) -> Sketch:
        """All codes together."""
        merged = self._merge()
        return self._sketch(merged.take(slice(None), merged.keys % SPAN).merged())

    def _merge(self) -> "_Bins":
        merged = _Bins.concatenated(self._parts).merged()
        self._parts = [merged]
        # Counted from here, or a sketch of many bins would be merged at every batch.
        self._num_bins = 0
        return merged

    def _sketch(self, bins: "_Bins") -> Sketch:
        return Sketch(
            self._resolution,
            bins.keys % SPAN + ZERO_BIN,
            bins.documents,
            bins.tokens,
            bins.num_bytes,
            bins.low,
            bins.high,
        )


class _Bins(NamedTuple):
    """One array element per bin. A key is unique to it: in a tally code * SPAN + bin - ZERO_BIN."""

    keys: Integers
    documents: Any
    """Integers, or 1 for each."""
    tokens: Any
    num_bytes: Any
    """Integers, or None: nothing."""
    low: Floats
    high: Floats

    @classmethod
    def empty(cls) -> "_Bins":
        none, no_value = np.empty(0, np.int64), np.empty(0)
        return cls(none, none, none, none, no_value, no_value)

    @classmethod
    def concatenated(cls, parts: list["_Bins"]) -> "_Bins":
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def added(self, at: Integers, size: int) -> "_Bins":
        """Added up into `size` bins, `at` being each element's. Keys are for the caller to set."""
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        with np.errstate(invalid="ignore"):  # of values that are missing
            np.minimum.at(low, at, self.low)
            np.maximum.at(high, at, self.high)
        documents, tokens, num_bytes = (np.zeros(size, np.int64) for _ in range(3))
        for sums, values in (
            (documents, self.documents),
            (tokens, self.tokens),
            (num_bytes, self.num_bytes),
        ):
            if values is not None:
                np.add.at(sums, at, values)
        return _Bins(self.keys, documents, tokens, num_bytes, low, high)

    def take(self, used: Integers | Bools | slice, keys: Integers) -> "_Bins":
        """Some of the bins, with these keys."""
        return _Bins(
            keys,
            self.documents[used],
            self.tokens[used],
            self.num_bytes[used],
            self.low[used],
            self.high[used],
        )

    def merged(self) -> "_Bins":
        """Bins of the same key as one, by ascending key."""
        keys, at = np.unique(self.keys, return_inverse=True)
        return self.added(at, len(keys)).take(slice(None), keys)
