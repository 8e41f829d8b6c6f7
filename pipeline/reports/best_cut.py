"""The cut that labels suggest: bounds on a metric that remove most of one side, least of another.

Owns the search, over bounds on either side and bands, what a cut removes, and its warnings.
"""

import math
import shlex
from collections.abc import Callable

import numpy as np
from pydantic import BaseModel

from pipeline.rendering.formats import share
from pipeline.reports.areas import CHANCE, NO_CERTAINTY, RankedMetric
from pipeline.settings.fields import option_of
from pipeline.statistics.sketches import Floats, Sketch, merge_sketches

BAND_GAIN = 0.05
"""A band must beat a bound on one side by this much of J, since it has one more place to fit."""
NEARLY_ALL = 0.9


class Removed(BaseModel):
    """What the cut removes of one value of the column."""

    value: str
    num_scored: int
    documents_removed: int
    num_tokens: int
    tokens_removed: int


class Cut(BaseModel):
    """The bounds on a metric at which labelled and other documents are furthest apart."""

    metric: str = "perplexity"
    low: float | None = None
    """Smallest value that is kept; null if there is no lower bound."""
    high: float | None = None
    """Largest value that is kept; null if there is no upper bound."""
    perplexity: float | None
    """The value of `high` if the metric is perplexity; otherwise null."""
    youden_j: float
    """`labelled_removed` minus `rest_removed` (Youden 1950)."""
    labelled_removed: float = 0.0
    """Share of the labelled documents that the cut removes."""
    rest_removed: float = 0.0
    """Share of the documents without a label that the cut removes."""
    warning: str | None = None
    """What to know before the cut is used; null if nothing."""
    command: str = ""
    """The `winnow filter` command that applies the cut; empty where the separation may be
    chance."""
    removed: list[Removed]


def best_cut(by_group: dict[tuple[str, int], Sketch], chosen: RankedMetric, run: str) -> Cut | None:
    """The largest Youden J over all ends of bins, of bounds on either side and of bands.

    Of equal ones an upper bound, and the lowest. A band must be better by more than its freedom.
    """
    labelled = [sketch for (_, code), sketch in by_group.items() if code]
    rest = [sketch for (_, code), sketch in by_group.items() if not code]
    if not labelled or not rest:
        return None
    everything = merge_sketches(labelled + rest)
    sides = [merge_sketches(side) for side in (labelled, rest)]
    # Of each side, the share below the end of each bin; before the first there is nothing.
    below = [
        np.concatenate([[0.0], side.below(everything.bins + 1) / side.num_documents])
        for side in sides
    ]

    def removed(low: int, high: int) -> list[Removed]:
        kept, found = everything.bins[low:high], []
        for name in {name for name, _ in by_group}:
            whole = merge_sketches([one for (group, _), one in by_group.items() if group == name])
            gone = whole.take(~np.isin(whole.bins, kept))
            found.append(
                Removed(
                    value=name,
                    num_scored=whole.num_documents,
                    documents_removed=gone.num_documents,
                    num_tokens=int(whole.tokens.sum()),
                    tokens_removed=int(gone.tokens.sum()),
                )
            )
        return found

    noise = sum(1 / (4 * side.num_documents) for side in sides)
    ends = (everything.low, everything.high)
    return cut_between(ends, (below[0], below[1]), noise, removed, chosen, run)


def cut_between(
    ends: tuple[Floats, Floats],
    below: tuple[Floats, Floats],
    noise: float,
    removed: Callable[[int, int], list[Removed]],
    chosen: RankedMetric,
    run: str,
) -> Cut | None:
    """The cut, of ranges of values with these lowest and highest ones.

    `below` has, of the labelled and of the rest, the share below each range and, last, all; `noise`
    is the variance of their difference by chance; `removed` tells what keeping some ranges removes.
    """
    labelled_below, rest_below = below
    advantage = rest_below - labelled_below
    last = len(advantage) - 1
    one_sided = [(0, int(advantage.argmax())), (int(advantage.argmin()), last)]
    first, end = max(one_sided, key=lambda ends: advantage[ends[1]] - advantage[ends[0]])
    lowest = np.minimum.accumulate(advantage)
    band_end = int((advantage - lowest).argmax())
    band_first = int(advantage[: band_end + 1].argmin())
    gain = advantage[band_end] - advantage[band_first] - (advantage[end] - advantage[first])
    is_band = gain > max(BAND_GAIN, CHANCE * math.sqrt(noise))
    if is_band:
        first, end = band_first, band_end
    youden = float(advantage[end] - advantage[first])
    if youden <= 0:
        return None
    low = float(ends[0][first]) if first else None
    high = float(ends[1][end - 1]) if end < last else None
    shares = [float(1 - side[end] + side[first]) for side in below]
    metric = chosen.metric
    given = {"min": low, "max": high}
    bounds = [f"{option_of(name)} {metric}={x!r}" for name, x in given.items() if x is not None]
    # Of enough documents a band may be certain where the area, which looks one way, is not.
    is_certain = chosen.separates or (is_band and chosen.by_chance < NO_CERTAINTY)
    filtering = ["winnow filter", shlex.quote(run), *bounds, option_of("out"), "FILTERED"]
    return Cut(
        metric=metric,
        low=low,
        high=high,
        perplexity=high if metric == "perplexity" else None,
        youden_j=youden,
        labelled_removed=shares[0],
        rest_removed=shares[1],
        warning=_warning(shares, is_certain=is_certain),
        command=" ".join(filtering) if is_certain else "",
        removed=sorted(removed(first, end), key=lambda one: (-one.documents_removed, one.value)),
    )


def _warning(shares: list[float], *, is_certain: bool) -> str | None:
    said = [
        f"it removes {share(removed)} of {side}"
        for removed, side in zip(shares, ("the labelled documents", "the rest"), strict=True)
        if removed >= NEARLY_ALL
    ]
    if not is_certain:
        said.append("the separation may be chance")
    return "; ".join(said) or None
