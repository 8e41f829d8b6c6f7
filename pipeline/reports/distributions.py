"""What a metric's distribution looks like: histograms, cumulative shares, perplexity by length.

Owns the resolution of what is drawn, read off sketches: a histogram's bins are whole bins of the
sketch, so every count is exact.
"""

import math
from typing import Any

import numpy as np
from pydantic import BaseModel

from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.sketches import Binned, Integers, Sketch, SketchTally
from pipeline.statistics.weighted import counts_of, quantile_of, share_below

HISTOGRAM_BINS = 60
ECDF_POINTS = 200
LENGTH_BINS_PER_UNIT = 2
"""Bins of the number of tokens per factor of e."""
BAND_QUANTILES = (("p5", 0.05), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p95", 0.95))
ALL = "all"


class Histogram(BaseModel):
    """Documents and tokens by a metric, in bins of equal width on a log axis."""

    metric: str
    by: str | None
    """The column that divides the documents into series."""
    edges: list[float]
    """Bin edges in the metric's own unit, one more than there are bins. A bin includes its lower
    edge."""
    documents: dict[str, list[int]]
    """Documents per bin, by series."""
    tokens: dict[str, list[int]]
    bytes: dict[str, list[int]] = {}

    def counts(self, weight: Weight) -> dict[str, list[int]]:
        """Series to what is counted, per bin."""
        return {"documents": self.documents, "tokens": self.tokens, "bytes": self.bytes}[weight]


class Ecdf(BaseModel):
    """The empirical distribution function: the share of scored documents below a value."""

    metric: str
    by: str | None
    at: list[float]
    """Values of the metric, ascending."""
    below: dict[str, list[float]]
    """Share of each series' documents, tokens or bytes below each value of `at`; it ends with 1."""


class LengthBand(BaseModel):
    """The perplexities of documents of about one length, weighed as the report weighs."""

    low: int
    """Smallest number of scored tokens in the band."""
    high: int
    """Largest number of scored tokens in the band."""
    num_documents: int
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


def histogram_of(metric: str, by: str | None, series: dict[str, Sketch]) -> Histogram | None:
    """At most HISTOGRAM_BINS bins from end to end. None where nothing was scored."""
    edges, width = _edges(series, HISTOGRAM_BINS)
    if not len(edges):
        return None
    counted: dict[str, dict[str, list[int]]] = {"documents": {}, "tokens": {}, "bytes": {}}
    for name, whole in series.items():
        sketch = whole.positive()
        at = (sketch.bins - edges[0]) // width
        size = len(edges) - 1
        counted["documents"][name] = _added(at, sketch.documents, size)
        counted["tokens"][name] = _added(at, sketch.tokens, size)
        counted["bytes"][name] = _added(at, sketch.num_bytes, size)
    return Histogram(
        metric=metric,
        by=by,
        edges=_values(series, edges),
        **counted,
    )


def ecdf_of(
    metric: str, by: str | None, series: dict[str, Sketch], weight: Weight = UNWEIGHTED
) -> Ecdf | None:
    """Shares at up to ECDF_POINTS values. None where nothing was scored."""
    edges, _ = _edges(series, ECDF_POINTS)
    scored = {name: one for name, one in series.items() if counts_of(one, weight).any()}
    if not len(edges):
        return None
    return Ecdf(
        metric=metric,
        by=by,
        at=_values(series, edges),
        below={
            name: share_below(sketch, edges, weight).tolist() for name, sketch in scored.items()
        },
    )


def _edges(series: dict[str, Sketch], most: int) -> tuple[Integers, int]:
    """Sketch bins at which at most `most` bins begin and end, and how many make one."""
    ends = [bins[[0, -1]] for sketch in series.values() if len(bins := sketch.positive().bins)]
    if not ends:
        return np.array([], np.int64), 1
    low, high = int(np.min(ends)), int(np.max(ends)) + 1
    width = -(-(high - low) // most)
    count = -(-(high - low) // width)
    return low + width * np.arange(count + 1), width


def _values(series: dict[str, Sketch], edges: Integers) -> list[float]:
    return [float(value) for value in next(iter(series.values())).edges(edges)]


def _added(at: Integers, counts: Integers, size: int) -> list[int]:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, at, counts)
    return [int(value) for value in sums]


class LengthTally:
    """The sketch of perplexity by length: never all points, whatever the number of documents."""

    def __init__(self, resolution: int, weight: Weight = UNWEIGHTED) -> None:
        """`weight` is what the bands' quantiles are of."""
        self._sketches = SketchTally(resolution)
        self._weight = weight

    def add(self, rows: dict[str, Any], binned: dict[str, Binned]) -> None:
        """Count rows, one array element each; `binned` are the metrics."""
        tokens = rows["num_tokens"]
        # A document without a token has no perplexity, and so is in no band.
        lengths = np.floor(np.log(np.maximum(tokens, 1)) * LENGTH_BINS_PER_UNIT).astype(np.int64)
        is_weighted = self._weight != UNWEIGHTED
        weights = (tokens, rows["num_bytes"]) if is_weighted else (None, None)
        self._sketches.add(lengths, binned["perplexity"], *weights)

    def bands(self) -> list[LengthBand]:
        """From the shortest to the longest."""
        bands = []
        for length, sketch in self._sketches.sketches().items():
            low, high = length_ends(length)
            found = [(name, quantile_of(sketch, q, self._weight)) for name, q in BAND_QUANTILES]
            values = {name: value for name, value in found if value is not None}
            if values:
                bands.append(
                    LengthBand(low=low, high=high, num_documents=sketch.num_documents, **values)
                )
        return bands


def length_ends(band: int) -> tuple[int, int]:
    """The fewest and the most tokens of a band."""
    low, high = (math.ceil(math.exp((band + i) / LENGTH_BINS_PER_UNIT)) for i in (0, 1))
    return low, high - 1
