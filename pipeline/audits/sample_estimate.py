"""What a stratified sample says of the whole corpus.

Owns the weights of drawn rows, the figures of the corpus that they give, and how sure the two that
matter are: the combined ratio estimator over strata with its linearised variance (Cochran 1977,
"Sampling Techniques", sections 6.10 to 6.12), the finite population correction included.
"""

import math
from typing import Any

import polars as pl
from pydantic import BaseModel
from scipy import stats

from pipeline.reports.figures import (
    QUANTILE_METRICS,
    QUANTILES,
    Figures,
    figures_from,
    quantile_name,
)
from pipeline.reports.groups import Group, label_expr
from pipeline.scoring.fold import LARGEST_EXPONENT
from pipeline.statistics.bootstrap import CONFIDENCE, Interval

METHOD = (
    "combined ratio estimator over strata, linearised variance with finite population correction, "
    "Student's t interval at Satterthwaite's degrees of freedom "
    "(Cochran 1977, sections 5.4 and 6.10 to 6.12)"
)
WEIGHT = "sample_weight"


class Stratum(BaseModel):
    """The documents that share a value of the column that the sample is stratified by."""

    value: str | None
    """None: the sample is not stratified."""
    num_rows: int
    """Of the corpus."""
    num_drawn: int


class Estimate(BaseModel):
    """A figure of the whole corpus, from its sample."""

    value: float
    interval: Interval | None
    """None where a stratum has too few drawn rows to tell how much they vary."""


def with_weights(scores: pl.LazyFrame, by: str | None, strata: list[Stratum]) -> pl.LazyFrame:
    """The drawn rows, with how many rows of the corpus each stands for."""
    weights = {one.value: one.num_rows / one.num_drawn for one in strata if one.num_drawn}
    if by is None:
        return scores.with_columns(pl.lit(weights.get(None, 1.0)).alias(WEIGHT))
    weight = label_expr(by).replace_strict(list(weights), list(weights.values()), default=None)
    return scores.with_columns(weight.cast(pl.Float64).alias(WEIGHT))


def estimates(
    scores: pl.LazyFrame, by: str | None, strata: list[Stratum]
) -> dict[str, Estimate | None]:
    """corpus_perplexity and bits_per_byte of the corpus; None where nothing drawn has a score."""
    return {
        "corpus_perplexity": _ratio(scores, by, strata, "num_tokens", is_perplexity=True),
        "bits_per_byte": _ratio(scores, by, strata, "num_scored_bytes", is_perplexity=False),
    }


def _ratio(
    scores: pl.LazyFrame, by: str | None, strata: list[Stratum], size: str, *, is_perplexity: bool
) -> Estimate | None:
    """nll over `size`. A row without a score belongs to the sample and adds nothing."""
    scored = pl.col("nll").is_not_null()
    rows = with_weights(scores, by, strata).select(
        (label_expr(by) if by else pl.lit("")).alias("stratum"),
        pl.col("nll").fill_null(0.0),
        pl.when(scored).then(pl.col(size)).otherwise(0).cast(pl.Float64).alias("size"),
        WEIGHT,
    )
    weight = pl.col(WEIGHT)
    weighted = [(weight * pl.col(name)).sum().alias(name) for name in ("nll", "size")]
    nll, sizes = rows.select(weighted).collect().row(0)
    if not sizes:
        return None
    ratio = nll / sizes
    residual = pl.col("nll") - ratio * pl.col("size")
    spread = rows.group_by("stratum").agg(residual.var(ddof=1).alias("s2")).collect()
    by_stratum = dict(spread.iter_rows())
    variances = []
    for one in strata:
        s2 = by_stratum.get(one.value if by else "")
        if left_out := one.num_rows - one.num_drawn:
            own = math.nan if s2 is None else one.num_rows * left_out / one.num_drawn * s2
            variances.append((own, one.num_drawn - 1))
    half = _half_width(variances) / sizes
    low, value, high = (_figure(x, is_perplexity) for x in (ratio - half, ratio, ratio + half))
    return Estimate(
        value=value, interval=None if math.isnan(half) else Interval(low=low, high=high)
    )


def _half_width(variances: list[tuple[float, int]]) -> float:
    """Of the interval of a sum of strata, from each one's variance and its degrees of freedom."""
    variance = sum(own for own, _ in variances)
    if not variance or math.isnan(variance):
        return variance
    # Satterthwaite 1946: a stratum that holds most of the variance and few rows tells little.
    freedom = variance**2 / sum(own**2 / freedom for own, freedom in variances)
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(variance)


def _figure(ratio: float, is_perplexity: bool) -> float:
    """Nats per unit as the figure that people read."""
    return math.exp(min(ratio, LARGEST_EXPONENT)) if is_perplexity else ratio / math.log(2)


def weighted_figures(rows: pl.LazyFrame) -> Figures:
    """Figures of the corpus from rows of with_weights. Quantiles are values of documents."""
    return _figures(rows.select(_aggregates()).collect().row(0, named=True))


def weighted_groups(rows: pl.LazyFrame, column: str) -> list[Group]:
    """The same by group, every one of them."""
    found = rows.group_by(label_expr(column).alias("g")).agg(_aggregates()).collect()
    return [Group(value=row["g"], figures=_figures(row)) for row in found.iter_rows(named=True)]


def _figures(row: dict[str, Any]) -> Figures:
    quantiles = {
        metric: {
            name: row[f"{metric}:{name}"]
            for name in map(quantile_name, QUANTILES)
            if row[f"{metric}:{name}"] is not None
        }
        for metric in QUANTILE_METRICS
    }
    return figures_from(row, row["mean_nll"], quantiles)


def _aggregates() -> list[pl.Expr]:
    weight, scored, tokens = pl.col(WEIGHT), pl.col("nll").is_not_null(), pl.col("num_tokens")
    told = tokens > 0
    mean_nll = (weight * pl.col("nll") / tokens).filter(told).sum() / weight.filter(told).sum()
    return [
        weight.sum().alias("num_documents"),
        weight.filter(scored).sum().alias("num_scored"),
        (weight * tokens).sum().alias("num_tokens"),
        (weight * pl.col("num_bytes")).sum().alias("num_bytes"),
        (weight * pl.col("num_scored_bytes")).filter(scored).sum().alias("num_scored_bytes"),
        (weight * pl.col("nll")).sum().alias("nll"),
        pl.when(told.any()).then(mean_nll).alias("mean_nll"),
        *(
            _quantile(metric, q).alias(f"{metric}:{quantile_name(q)}")
            for metric in QUANTILE_METRICS
            for q in QUANTILES
        ),
    ]


def _quantile(metric: str, q: float) -> pl.Expr:
    """The smallest value that documents of at least the share q do not exceed."""
    there = pl.col(metric).is_not_null()
    values = pl.col(metric).filter(there)
    weights = pl.col(WEIGHT).filter(there).sort_by(values)
    return values.sort().filter(weights.cum_sum() >= q * weights.sum() * (1 - 1e-12)).first()
