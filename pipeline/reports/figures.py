"""Figures of a set of documents: the whole or a group.

Owns the sums and what is derived from them, lazily and from stored sums only. Which sets there are
is groups.py's, what a distribution looks like distributions.py's.
"""

import math
from typing import Any

import polars as pl
from pydantic import BaseModel

from pipeline.manifest import Manifest
from pipeline.metrics import LARGEST_EXPONENT
from pipeline.reports.sketches import Sketch, as_sketch, resolution_of, sketch_query
from pipeline.scores import scan_scores
from pipeline.store import RunStore

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE_METRICS = ("perplexity", "bits_per_byte")


class Figures(BaseModel):
    """What is said of any set of documents. Null where nothing in it was scored."""

    num_documents: int
    """Rows, scored or not."""
    num_scored: int
    num_tokens: int
    """Scored tokens."""
    num_bytes: int
    """UTF-8 bytes of all rows."""
    nll: float
    """Nats."""
    corpus_perplexity: float | None
    """exp(sum nll / sum tokens): every token weighs the same."""
    document_perplexity: float | None
    """exp(mean of nll / tokens): every document weighs the same."""
    bits_per_token: float | None
    bits_per_byte: float | None
    """sum nll / ln 2 / sum of scored bytes."""
    quantiles: dict[str, dict[str, float]]
    """Metric to {p1, ..., p99}, over documents."""


def whole_figures(store: RunStore, manifest: Manifest) -> Figures:
    """The figures of all of a run's rows."""
    return figures_of(scan_scores(store, manifest))


def figures_of(scores: pl.LazyFrame) -> Figures:
    """The figures of all rows of a frame."""
    resolution = resolution_of(scores)
    sums, *tables = pl.collect_all(
        [
            scores.select(sums_of_scores()),
            *(sketch_query(scores, metric, resolution) for metric in QUANTILE_METRICS),
        ],
        engine="streaming",
    )
    sketches = [as_sketch(table, resolution) for table in tables]
    return make_figures(sums.row(0, named=True), dict(zip(QUANTILE_METRICS, sketches, strict=True)))


def sums_of_scores() -> list[pl.Expr]:
    """The sums that figures are made of; those of two sets add up."""
    scored = pl.col("nll").is_not_null()
    mean_nll = pl.when(pl.col("num_tokens") > 0).then(pl.col("nll") / pl.col("num_tokens"))
    return [
        pl.len().cast(pl.Int64).alias("num_documents"),
        scored.cast(pl.Int64).sum().alias("num_scored"),
        pl.col("num_tokens").sum(),
        pl.col("num_bytes").sum(),
        pl.when(scored).then(pl.col("num_scored_bytes")).sum().alias("num_scored_bytes"),
        pl.col("nll").sum(),
        mean_nll.sum().alias("sum_of_means"),
        mean_nll.count().cast(pl.Int64).alias("num_means"),
    ]


def make_figures(sums: dict[str, Any], sketches: dict[str, Sketch]) -> Figures:
    """A row of `sums_of_scores` and the distribution of each metric, as figures."""
    means = sums["num_means"]
    mean_nll = sums["sum_of_means"] / means if means else None
    quantiles = {metric: _quantiles(sketches[metric]) for metric in QUANTILE_METRICS}
    return figures_from(sums, mean_nll, quantiles)


def figures_from(
    sums: dict[str, Any], mean_nll: float | None, quantiles: dict[str, dict[str, float]]
) -> Figures:
    """Figures from sums, the mean over documents of nll a token, and {metric: {p50: value}}.

    Weighted sums need not be whole: ratios are of what they are, counts are rounded.
    """
    tokens, nll, scored_bytes = sums["num_tokens"], sums["nll"], sums["num_scored_bytes"]
    return Figures(
        num_documents=round(sums["num_documents"]),
        num_scored=round(sums["num_scored"]),
        num_tokens=round(tokens),
        num_bytes=round(sums["num_bytes"]),
        nll=nll,
        corpus_perplexity=_exp(nll / tokens if tokens else None),
        document_perplexity=_exp(mean_nll),
        bits_per_token=nll / math.log(2) / tokens if tokens else None,
        bits_per_byte=nll / math.log(2) / scored_bytes if scored_bytes else None,
        quantiles=quantiles,
    )


def _quantiles(sketch: Sketch) -> dict[str, float]:
    values = {quantile_name(q): sketch.quantile(q) for q in QUANTILES}
    return {name: value for name, value in values.items() if value is not None}


def quantile_name(q: float) -> str:
    return f"p{round(100 * q)}"


def _exp(mean_nll: float | None) -> float | None:
    """Null where there is no mean, or its perplexity exceeds a float64."""
    if mean_nll is None or mean_nll > LARGEST_EXPONENT:
        return None
    return math.exp(mean_nll)
