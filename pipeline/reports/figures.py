"""Figures of a set of documents: the whole or a group.

Owns what a figure is, and how it follows from sums. Adding the rows up is tally.py's, which sets of
them there are groups.py's, and what a distribution looks like distributions.py's.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.reports.intervals import Intervals
from pipeline.schema import LARGEST_EXPONENT, METRICS, RATIOS, Metric
from pipeline.statistics.bootstrap import Interval

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE_METRICS = tuple(name for name, metric in METRICS.items() if metric.is_charted)
RATIO_FIGURES: dict[str, tuple[str, Literal["micro", "macro"]]] = {
    **{metric.total or name: (name, "micro") for name, metric in RATIOS.items()},
    **{f"document_{name}": (name, "macro") for name in RATIOS},
}
"""Maps a figure to its metric and to the kind of average: micro or macro."""


class Average(BaseModel):
    """A ratio metric of many documents. Null where nothing was scored, or where it exceeds a
    float64; micro is of nll / count."""

    micro: float | None
    """sum nll / sum counts: every token, byte or word weighs the same."""
    macro: float | None
    """Mean over documents (for a perplexity, of its logarithm): every document weighs the same."""
    count: int
    """Sum of the count that the metric is divided by."""


class Figures(BaseModel):
    """What is said of any set of documents. Null where nothing in it was scored."""

    num_documents: int
    """Rows, scored or not."""
    num_scored: int
    num_tokens: int
    """Number of scored tokens."""
    num_bytes: int
    """UTF-8 bytes of all rows."""
    nll: float
    """Sum of -ln p over the scored tokens, in nats."""
    corpus_perplexity: float | None
    """exp(sum nll / sum tokens): every token weighs the same."""
    document_perplexity: float | None
    """exp(mean of nll / tokens): every document weighs the same."""
    bits_per_token: float | None
    bits_per_byte: float | None
    """sum nll / ln 2 / sum of scored bytes."""
    averages: dict[str, Average] = {}
    """Averages of every ratio metric, those above included; reports of 0.1.0 have none."""
    intervals: dict[str, Interval | None] = {}
    """95% intervals by figure, for corpus_perplexity and the other ratios of sums. Null with fewer
    than two scored documents, or where the figure is null; empty if none were requested, as in
    0.1.0."""
    quantiles: dict[str, dict[str, float]]
    """Quantiles {p1, ..., p99} by metric, over documents; in a report weighted by tokens or bytes,
    over tokens or bytes."""
    quantile_error: float | None = None
    """Largest relative error of a quantile; quantiles that a requirement uses are exact. Null if
    the report did not record it."""

    def average(self, figure: str) -> float | None:
        """One of RATIO_FIGURES."""
        if figure in Figures.model_fields:
            found: float | None = getattr(self, figure)
            return found
        metric, kind = RATIO_FIGURES[figure]
        average = self.averages.get(metric)
        return None if average is None else getattr(average, kind)

    def with_quantiles(self, exact: dict[str, dict[str, float]]) -> "Figures":
        """The same with exact values in place of those of the same name."""
        quantiles = {
            metric: {name: exact.get(metric, {}).get(name, value) for name, value in own.items()}
            for metric, own in self.quantiles.items()
        }
        return self.model_copy(update={"quantiles": quantiles})


def figures_from(
    sums: dict[str, Any],
    means: dict[str, float],
    quantiles: dict[str, dict[str, float]],
    quantile_error: float = 0.0,
    intervals: Intervals | None = None,
) -> Figures:
    """Figures from sums, means over documents of nll / count, and {metric: {p50: value}}.

    Weighted sums need not be whole: ratios are of what they are, counts are rounded.
    """
    averages = {
        name: Average(
            micro=from_nats(
                metric, sums["nll"] / count if (count := sums[str(metric.per)]) else None
            ),
            macro=from_nats(metric, means.get(str(metric.per))),
            count=round(count),
        )
        for name, metric in RATIOS.items()
    }
    return Figures(
        num_documents=round(sums["num_documents"]),
        num_scored=round(sums["num_scored"]),
        num_tokens=round(sums["num_tokens"]),
        num_bytes=round(sums["num_bytes"]),
        nll=sums["nll"],
        corpus_perplexity=averages["perplexity"].micro,
        document_perplexity=averages["perplexity"].macro,
        bits_per_token=averages["bits_per_token"].micro,
        bits_per_byte=averages["bits_per_byte"].micro,
        averages=averages,
        intervals={
            # Resamples are cut at the largest float64, so they have values where there is none.
            figure: None if averages[RATIO_FIGURES[figure][0]].micro is None else around
            for figure, around in (intervals or {}).items()
        },
        quantiles=quantiles,
        quantile_error=quantile_error,
    )


def quantile_name(q: float) -> str:
    return f"p{round(100 * q, 10):g}"


def from_nats(metric: Metric, nats: float | None) -> float | None:
    """A metric of nats per unit; None of nothing, or of a perplexity that exceeds a float64."""
    if nats is None or (metric.is_perplexity and nats > LARGEST_EXPONENT):
        return None
    return math.exp(nats) if metric.is_perplexity else nats / math.log(2)
