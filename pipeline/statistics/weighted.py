"""A sketch by what its documents count for: one each, their tokens or their bytes.

Owns quantiles and shares of the weight. Inside of a bin documents are taken to weigh alike: exact
where a bin is one document, as nearly all are up to 1,048,576 documents.
"""

import numpy as np

from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.sketches import Floats, Integers, Sketch


def counts_of(sketch: Sketch, weight: Weight) -> Integers:
    """What each bin counts for."""
    by_weight = {"documents": sketch.documents, "tokens": sketch.tokens, "bytes": sketch.num_bytes}
    return by_weight[weight]


def share_below(sketch: Sketch, bins: Integers, weight: Weight) -> Floats:
    """The share of the weight before each bin; there is some."""
    counts = counts_of(sketch, weight)
    before = np.concatenate([[0], counts.cumsum()])
    found: Floats = before[np.searchsorted(sketch.bins, bins)] / counts.sum()
    return found


def quantile_of(sketch: Sketch, q: float, weight: Weight) -> float | None:
    """The quantile of quantile.py, weighted or not. None of no documents."""
    if weight == UNWEIGHTED:
        return sketch.value_at(q)
    used = counts_of(sketch, weight) > 0
    if not used.any():
        return None
    sketch = sketch.take(used)
    weights = counts_of(sketch, weight) / counts_of(sketch, weight).sum()
    # The bins one after the other on a line of length 1, and the mean over a window of it.
    width = float((weights**2 / sketch.documents).sum())
    first, ends = q * (1 - width), weights.cumsum()
    upto = [
        _added(sketch, ((at - ends + weights) / weights).clip(0, 1) * sketch.documents)
        for at in (first, first + width)
    ]
    return float(((upto[1] - upto[0]) * weights / sketch.documents).sum() / width)


def _added(sketch: Sketch, documents: Floats) -> Floats:
    """The first so many values of each bin, and of the next one a part, added up."""
    whole = np.floor(documents)
    step = (sketch.high - sketch.low) / np.maximum(sketch.documents - 1, 1)
    partly = (documents - whole) * (sketch.low + step * whole)
    added: Floats = whole * sketch.low + step * whole * (whole - 1) / 2 + partly
    return added
