"""Figures of a set of documents: the whole, a group, a histogram.

Owns the aggregation, lazily, from stored sums only. Which figures make a report is report.py's.
"""

import math
from typing import Any

import polars as pl
from pydantic import BaseModel

from pipeline.manifest import Manifest
from pipeline.metrics import LARGEST_EXPONENT
from pipeline.scores import scan_scores
from pipeline.store import RunStore

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE_METRICS = ("perplexity", "bits_per_byte")
HISTOGRAM_BINS = 60
MOST_GROUPS_SHOWN = 50
OTHERS = "(all others)"


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


class Group(BaseModel):
    """The documents that share a value of a column."""

    value: str
    figures: Figures


class Histogram(BaseModel):
    """Documents and tokens by a metric, in bins of equal width on a log axis."""

    metric: str
    by: str | None
    """The column that the series divide by."""
    edges: list[float]
    """Bin edges, in the metric's own unit; one more than bins."""
    documents: dict[str, list[int]]
    """Series to documents per bin."""
    tokens: dict[str, list[int]]


def whole_figures(store: RunStore, manifest: Manifest) -> Figures:
    """The figures of all of a run's rows."""
    return figures_of(scan_scores(store, manifest))


def figures_of(scores: pl.LazyFrame) -> Figures:
    exprs = [*_sums(), *(q for metric in QUANTILE_METRICS for q in _quantiles(metric))]
    return figures_from(scores.select(exprs).collect().row(0, named=True))


def _sums() -> list[pl.Expr]:
    scored = pl.col("nll").is_not_null()
    mean_nll = (pl.col("nll") / pl.col("num_tokens")).filter(pl.col("num_tokens") > 0)
    return [
        pl.len().alias("num_documents"),
        scored.sum().alias("num_scored"),
        pl.col("num_tokens").sum(),
        pl.col("num_bytes").sum(),
        pl.col("num_scored_bytes").filter(scored).sum(),
        pl.col("nll").sum(),
        mean_nll.mean().alias("mean_nll"),
    ]


def _quantiles(metric: str) -> list[pl.Expr]:
    return [
        pl.col(metric).quantile(q, "linear").alias(f"{metric}:{quantile_name(q)}")
        for q in QUANTILES
    ]


def quantile_name(q: float) -> str:
    return f"p{round(100 * q)}"


def figures_from(row: dict[str, Any]) -> Figures:
    """Figures from aggregated columns: sums, `mean_nll` and the quantiles as `metric:p50`.

    Weighted sums need not be whole: ratios are of what they are, counts are rounded.
    """
    tokens, nll, scored_bytes = row["num_tokens"], row["nll"], row["num_scored_bytes"]
    quantiles = {
        metric: {
            quantile_name(q): row[f"{metric}:{quantile_name(q)}"]
            for q in QUANTILES
            if row[f"{metric}:{quantile_name(q)}"] is not None
        }
        for metric in QUANTILE_METRICS
    }
    return Figures(
        num_documents=round(row["num_documents"]),
        num_scored=round(row["num_scored"]),
        num_tokens=round(tokens),
        num_bytes=round(row["num_bytes"]),
        nll=nll,
        corpus_perplexity=_exp(nll / tokens if tokens else None),
        document_perplexity=_exp(row["mean_nll"]),
        bits_per_token=nll / math.log(2) / tokens if tokens else None,
        bits_per_byte=nll / math.log(2) / scored_bytes if scored_bytes else None,
        quantiles=quantiles,
    )


def _exp(mean_nll: float | None) -> float | None:
    """Null where there is no mean, or its perplexity exceeds a float64."""
    if mean_nll is None or mean_nll > LARGEST_EXPONENT:
        return None
    return math.exp(mean_nll)


def group_sizes(scores: pl.LazyFrame, column: str) -> dict[str, int]:
    """Bytes of text by group."""
    sizes = scores.group_by(label_of(column).alias("group")).agg(pl.col("num_bytes").sum())
    return dict(sizes.collect().iter_rows())


def largest_groups(sizes: dict[str, int]) -> list[str]:
    """The groups that are told apart: the largest, in bytes of text; then OTHERS, if need be."""
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))
    rest = [OTHERS] if len(largest) > MOST_GROUPS_SHOWN else []
    return largest[:MOST_GROUPS_SHOWN] + rest


def label_of(column: str) -> pl.Expr:
    """The group that each row is of, as text."""
    return pl.col(column).cast(pl.String).fill_null("(null)")


def group_label(column: str, groups: list[str]) -> pl.Expr:
    """The group of each row, OTHERS where it is not one of `groups`."""
    label = label_of(column)
    return pl.when(label.is_in(groups)).then(label).otherwise(pl.lit(OTHERS))


def groups_of(scores: pl.LazyFrame, column: str, groups: list[str] | None = None) -> list[Group]:
    """Figures by group, from the least to the most surprising.

    `groups` are the ones to tell apart; those of largest_groups, if not given.
    """
    if groups is None:
        groups = largest_groups(group_sizes(scores, column))
    grouped = scores.group_by(group_label(column, groups).alias("g"))
    # A query a metric: each holds the metric's values, by group, in memory.
    rows = grouped.agg(_sums()).collect()
    for metric in QUANTILE_METRICS:
        rows = rows.join(grouped.agg(_quantiles(metric)).collect(), on="g")
    found = [Group(value=row["g"], figures=figures_from(row)) for row in rows.iter_rows(named=True)]
    return sorted(found, key=lambda g: (g.figures.document_perplexity or 0.0, g.value))


def histogram_of(
    scores: pl.LazyFrame, metric: str, by: str | None, series: list[str]
) -> Histogram | None:
    """Counts over log10 of the metric. None where nothing was scored."""
    logs = pl.col(metric).log10()
    usable = scores.filter(pl.col(metric) > 0)
    low, high = usable.select(logs.min().alias("low"), logs.max().alias("high")).collect().row(0)
    if low is None:
        return None
    width = max(high - low, 1e-6) / HISTOGRAM_BINS
    bins = ((logs - low) / width).floor().clip(0, HISTOGRAM_BINS - 1).cast(pl.Int32)
    label = pl.col(by).cast(pl.String).fill_null("(null)") if by else pl.lit("all")
    if OTHERS in series:
        label = pl.when(label.is_in(series)).then(label).otherwise(pl.lit(OTHERS))
    counted = (
        usable.group_by(label.alias("series"), bins.alias("bin"))
        .agg(pl.len().alias("documents"), pl.col("num_tokens").sum().alias("tokens"))
        .collect()
    )
    names = series or ["all"]
    documents = {name: [0] * HISTOGRAM_BINS for name in names}
    tokens = {name: [0] * HISTOGRAM_BINS for name in names}
    for row in counted.iter_rows(named=True):
        documents[row["series"]][row["bin"]] = row["documents"]
        tokens[row["series"]][row["bin"]] = row["tokens"]
    return Histogram(
        metric=metric,
        by=by,
        edges=[10 ** (low + width * i) for i in range(HISTOGRAM_BINS + 1)],
        documents=documents,
        tokens=tokens,
    )
