"""What a threshold on perplexity would keep.

Owns the grid of cuts. Every cut is a document's perplexity, so the counts are exactly those of a
filter with that bound.
"""

import numpy as np
from pydantic import BaseModel

from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.sketches import Sketch
from pipeline.statistics.weighted import counts_of

NUM_CUTS = 100


class Threshold(BaseModel):
    """Documents at or below a cut; the others are above it."""

    perplexity: float
    documents_kept: int
    tokens_kept: int
    bytes_kept: int
    documents_above: int
    tokens_above: int
    bytes_above: int


def threshold_curve(sketch: Sketch, weight: Weight = UNWEIGHTED) -> list[Threshold]:
    """About NUM_CUTS cuts, evenly spread over the documents, or over their tokens or bytes; fewer
    where perplexities are alike."""
    ends = counts_of(sketch, weight).cumsum()
    if not len(ends) or not ends[-1]:
        return []
    wanted = np.arange(1, NUM_CUTS + 1) / NUM_CUTS * int(ends[-1])
    # Rounded: the hundredth hundredth must be the last document, not one past it.
    cuts = np.unique(np.searchsorted(ends, np.floor(wanted).clip(1)))
    sums = [array.cumsum() for array in (sketch.documents, sketch.tokens, sketch.num_bytes)]
    curve = []
    for cut in cuts:
        documents, tokens, size = (int(array[cut]) for array in sums)
        all_documents, all_tokens, all_bytes = (int(array[-1]) for array in sums)
        curve.append(
            Threshold(
                perplexity=float(sketch.high[cut]),
                documents_kept=documents,
                tokens_kept=tokens,
                bytes_kept=size,
                documents_above=all_documents - documents,
                tokens_above=all_tokens - tokens,
                bytes_above=all_bytes - size,
            )
        )
    return curve
