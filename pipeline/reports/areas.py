"""The area under the ROC curve: how well a metric separates some documents from the rest.

Owns counting pairs, ties included, ranking metrics, and what is no more than chance. A claim is
made where an area is further from 0.5 than 95% of areas are without any difference: by the normal
approximation of U, and of very few documents by the number of orders that they can have.
"""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.rendering.formats import share
from pipeline.reports.figures import QUANTILE_METRICS
from pipeline.statistics.bootstrap import CONFIDENCE
from pipeline.statistics.sketches import Floats

MOST_WAITING = 1 << 24
"""Values of a metric that are held before they are ranked: 128 MiB."""
CHANCE = 1.96
"""Standard deviations around 0.5 within which 95% of areas lie if there is no difference."""
FEW = 20
NO_CERTAINTY = 0.5
"""What chance can do to the area of documents that are too few for any claim: everything."""


class RankedMetric(BaseModel):
    """How well a metric separates the labelled documents, all together, from the rest."""

    metric: str
    auc: float
    strength: float
    """max(auc, 1 - auc): 0.5 is no separation, 1 is a perfect one."""
    by_chance: float
    """How far from 0.5 chance alone puts 95% of areas."""
    separates: bool
    """Whether the area is further from 0.5 than `by_chance`."""


class PairCounts:
    """Each label's documents against all others, which come batch by batch."""

    def __init__(self, ranked: list[Floats]) -> None:
        """`ranked` are the values of each label's documents, ascending."""
        self._ranked = ranked
        self._doubled_wins = [0] * len(ranked)
        self._num_rest = 0
        self._waiting: list[Floats] = []
        self._num_waiting = 0

    def add(self, rest: Floats) -> None:
        """Values of documents without a label."""
        self._waiting.append(rest)
        self._num_waiting += len(rest)
        if self._num_waiting >= MOST_WAITING:
            self._fight()

    def areas(self) -> list[float | None]:
        """ROC AUC of all labels together, then of each."""
        self._fight()
        pairs = [len(found) * self._num_rest for found in self._ranked]
        wins = self._doubled_wins
        return [
            won / (2 * n) if n else None
            for won, n in zip([sum(wins), *wins], [sum(pairs), *pairs], strict=True)
        ]

    def by_chance(self) -> float:
        """How far from 0.5 the area of all labels together may be without any difference."""
        return chance_of(sum(map(len, self._ranked)), self._num_rest)

    def _fight(self) -> None:
        # By Polars, on all cores; many at a time, since labelled documents are looked up in them.
        rest = pl.Series(np.concatenate([np.empty(0), *self._waiting])).sort().to_numpy()
        self._num_rest += len(rest)
        self._waiting, self._num_waiting = [], 0
        for index, found in enumerate(self._ranked):
            self._doubled_wins[index] += _doubled_wins(found, rest)


def _doubled_wins(found: Floats, rest: Floats) -> int:
    """Twice the number of pairs in which the labelled document is higher, ties counting half.

    Both are ascending.
    """
    few, many = (found, rest) if len(found) < len(rest) else (rest, found)
    below, not_above = (int(np.searchsorted(many, few, side).sum()) for side in ("left", "right"))
    doubled = below + not_above
    return doubled if few is found else 2 * len(found) * len(rest) - doubled


def chance_of(labelled: float, rest: float) -> float:
    """How far from 0.5 an area may be without any difference between so many and so many."""
    few = math.floor(labelled), math.floor(rest)
    if sum(few) < FEW and 2 / math.comb(sum(few), few[0]) > 1 - CONFIDENCE:
        return NO_CERTAINTY  # even the clearest order of so few is no more than chance
    return min(NO_CERTAINTY, CHANCE * math.sqrt((labelled + rest + 1) / (12 * labelled * rest)))


def rank_metrics(
    areas: dict[str, float | None], by_chance: Callable[[str], float]
) -> list[RankedMetric]:
    """Metrics with the area of all labels together, the one that separates best first."""
    ranking = []
    for metric, area in areas.items():
        if area is None:
            continue
        chance = by_chance(metric)
        strength = max(area, 1 - area)
        ranking.append(
            RankedMetric(
                metric=metric,
                auc=area,
                strength=strength,
                by_chance=chance,
                separates=strength - 0.5 > chance,
            )
        )
    # Rounded, so that equal ones stay in the order of RATIOS: perplexity first.
    return sorted(ranking, key=lambda one: -round(one.strength, 9))


def best_of(ranking: list[RankedMetric]) -> RankedMetric | None:
    """The metric that a rule is made of: the best of those that every scored document has and the
    tables show."""
    return next((one for one in ranking if one.metric in QUANTILE_METRICS), None)


def verdict_of(best: RankedMetric | None) -> str:
    """Whether the best metric separates them, in a sentence."""
    if best is None:
        return (
            "There is nothing to compare: no labelled document, or no other document, has a score."
        )
    if not best.separates:
        return (
            f"No metric separates labelled documents from the rest: the best area, {best.auc:.3f} "
            f"of {best.metric}, is no further from 0.5 than chance can make it "
            f"({best.by_chance:.3f})."
        )
    side = "higher" if best.auc > 0.5 else "lower"
    return (
        f"{best.metric} separates best: a labelled document scores {side} than an unlabelled one "
        f"in {share(best.strength)} of pairs."
    )
