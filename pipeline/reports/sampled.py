"""What a stratified sample says of the whole corpus.

Owns the weights of drawn rows, the figures of the corpus that they give, and how sure the two that
matter are: the combined ratio estimator over strata with its linearised variance (Cochran 1977,
"Sampling Techniques", sections 6.10 to 6.12), the finite population correction included.
"""

import math
from typing import Any

import polars as pl
from scipy import stats

from pipeline.reports.figures import (
    QUANTILE_METRICS,
    QUANTILES,
    Figures,
    figures_from,
    from_nats,
    quantile_name,
)
from pipeline.reports.groups import (
    KINDS,
    Group,
    group_code,
    group_sizes,
    groups_of,
    label_expr,
    largest_groups,
)
from pipeline.reports.tally import figures_of
from pipeline.runs.records import Record
from pipeline.runs.sample import Draw
from pipeline.schema import COUNTS, LARGEST_EXPONENT, RATIOS, Metric
from pipeline.settings.weights import UNWEIGHTED, Weight
from pipeline.statistics.bootstrap import CONFIDENCE, FEWEST_DOCUMENTS, Bootstrap, Interval
from pipeline.statistics.columns import column_named, nan_as_null
from pipeline.statistics.quantile import weighted_quantile_expr

METHOD = (
    "combined ratio estimator over strata, linearised variance with finite population correction, "
    "Student's t interval at Satterthwaite's degrees of freedom "
    "(Cochran 1977, sections 5.4 and 6.10 to 6.12)"
)
FIGURES = {metric.total or name: metric for name, metric in RATIOS.items()}
"""Metrics of the estimated figures (ratios of two sums), by the name of the figure."""
SIZES = {"tokens": pl.col("num_tokens"), "bytes": pl.col("num_bytes")}
WEIGHT = "winnow:sample_weight"
"""Column with the number of rows of the corpus that a drawn row stands for."""
STRATUM = "winnow:sample_stratum"
"""Column with the value of the stratification column, as the draw records it."""


class Estimate(Record):
    """A figure of the whole corpus, from its sample."""

    value: float
    interval: Interval | None
    """95% interval; None if a stratum has too few drawn rows to estimate its variance."""


class Sampled(Draw):
    """Which rows the figures are of, and how sure that makes them."""

    estimates: dict[str, Estimate | None]
    """Estimates for the corpus with 95% intervals, by figure: corpus_perplexity, bits_per_byte and
    others; null where the figure is."""
    method: str


def sampled(scores: pl.LazyFrame, draw: Draw) -> Sampled:
    """The draw, and what it says of the corpus. `scores` are of `weighed`."""
    return Sampled(
        **draw.model_dump(include=set(Draw.model_fields)),
        estimates=estimates(scores, draw),
        method=METHOD,
    )


def weighed(scores: pl.LazyFrame, draw: Draw | None) -> pl.LazyFrame:
    """The drawn rows, with how many rows of the corpus each stands for, and no value for a NaN."""
    if draw is None:
        return nan_as_null(scores)
    weights = {one.value: one.num_rows / one.num_drawn for one in draw.strata if one.num_drawn}
    if draw.by is None:
        weight, stratum = pl.lit(weights.get(None, 1.0)), pl.lit("")
    else:
        stratum = label_expr(draw.by)  # of the column as it was drawn from, NaN included
        weight = stratum.replace_strict(list(weights), list(weights.values()))
    named = {WEIGHT: weight.cast(pl.Float64), STRATUM: stratum}
    return nan_as_null(scores.with_columns(**named))


def weight_of(draw: Draw | None) -> pl.Expr | None:
    """How much a row of `weighed` counts; None where each is one."""
    return None if draw is None else pl.col(WEIGHT)


def estimates(scores: pl.LazyFrame, draw: Draw) -> dict[str, Estimate | None]:
    """Every ratio of the corpus by the name of its figure; None where the figure is null.

    `scores` are of `weighed`.
    """
    return _estimates(scores, draw, pl.lit(0)).get(0, dict.fromkeys(FIGURES))


def _estimates(
    scores: pl.LazyFrame, draw: Draw, code: pl.Expr
) -> dict[int, dict[str, Estimate | None]]:
    """The same of the rows of each code."""
    by_count = {count: _ratios(scores, draw, code, count) for count in COUNTS}
    return {
        own: {
            figure: _estimate(by_count[str(metric.per)].get(own), metric)
            for figure, metric in FIGURES.items()
        }
        for own in by_count[COUNTS[0]]
    }


def _estimate(found: tuple[float, float] | None, metric: Metric) -> Estimate | None:
    """From nats per unit and half the width of their interval; None where the figure is null."""
    if found is None or (value := from_nats(metric, found[0])) is None:
        return None
    ratio, half = found
    low, high = (_end(x, metric.is_perplexity) for x in (ratio - half, ratio + half))
    return Estimate(
        value=value, interval=None if math.isnan(half) else Interval(low=low, high=high)
    )


def _ratios(
    scores: pl.LazyFrame, draw: Draw, code: pl.Expr, size: str
) -> dict[int, tuple[float, float]]:
    """Code to nll over `size`, and half the width of its interval; only codes that have any.

    A row without a score, or of another code, belongs to the sample and adds nothing.
    """
    scored, weight = pl.col("nll").is_not_null(), pl.col(WEIGHT)
    rows = scores.select(
        code.alias("code"),
        pl.col(STRATUM).alias("stratum"),
        pl.col("nll").fill_null(0.0),
        pl.when(scored).then(column_named(size)).otherwise(0).cast(pl.Float64).alias("size"),
        WEIGHT,
        scored.alias("scored"),
    )
    sums = [(pl.col("nll", "size") * weight).sum(), pl.col("scored").sum()]
    totals = rows.group_by("code").agg(sums).collect().filter(pl.col("size") > 0)
    totals = totals.with_columns(ratio=pl.col("nll") / pl.col("size"))
    residual = pl.col("nll") - pl.col("ratio") * pl.col("size")
    spread = (
        rows.join(totals.lazy().select("code", "ratio"), on="code")
        .group_by("code", "stratum")
        .agg(residual.sum().alias("sum"), (residual**2).sum().alias("squares"), pl.len())
        .collect()
    )
    own = {(code, stratum): found for code, stratum, *found in spread.iter_rows()}
    num_rows = dict(rows.group_by("stratum").len().collect().iter_rows())
    ratios = {}
    for one, _, total, num_scored, ratio in totals.iter_rows():
        variances = [(math.nan, 1)] if num_scored < FEWEST_DOCUMENTS else []
        for stratum in draw.strata:
            value = stratum.value if draw.by else ""
            added, squares, count = own.get((one, value), (0.0, 0.0, 0))
            n = num_rows.get(value, 0)
            # Of a stratum without a row of the code, what was drawn of it says that it has none.
            if (left_out := stratum.num_rows - stratum.num_drawn) and (count or not n):
                s2 = max(0.0, squares - added**2 / n) / (n - 1) if n > 1 else math.nan
                variance = s2 and stratum.num_rows * left_out / stratum.num_drawn * s2
                variances.append((variance, max(1, count - 1)))
        ratios[one] = ratio, _half_width(variances) / total
    return ratios


def _half_width(variances: list[tuple[float, int]]) -> float:
    """Of the interval of a sum of strata, from each one's variance and its degrees of freedom."""
    variance = sum(own for own, _ in variances)
    if not variance or math.isnan(variance):
        return variance
    # Satterthwaite 1946: a stratum with most of the variance and few rows leaves few degrees.
    freedom = variance**2 / sum(own**2 / freedom for own, freedom in variances)
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(variance)


def _end(ratio: float, is_perplexity: bool) -> float:
    """The end of an interval in nats per unit as people read it; at most the largest float64."""
    return math.exp(min(ratio, LARGEST_EXPONENT)) if is_perplexity else ratio / math.log(2)


def corpus_figures(
    scores: pl.LazyFrame,
    draw: Draw | None,
    bootstrap: Bootstrap | None = None,
    weight: Weight = UNWEIGHTED,
) -> Figures:
    """Figures of the corpus. `scores` are of `weighed`; quantiles are weighted ones.

    Intervals are those of a sample, or else of `bootstrap`, if there is one; `weight` is what the
    quantiles of a sample are of.
    """
    if draw is None:
        return figures_of(scores, bootstrap)
    row = scores.select(_aggregates(weight)).collect().row(0, named=True)
    return _figures(row, estimates(scores, draw))


def corpus_groups(
    scores: pl.LazyFrame,
    column: str,
    draw: Draw | None,
    names: list[str] | None = None,
    bootstrap: Bootstrap | None = None,
    weight: Weight = UNWEIGHTED,
) -> list[Group]:
    """The same by group, from the least to the most surprising; those of `names`, or the largest.

    Where the corpus was sampled, a group's size is estimated too.
    """
    if draw is None:
        return groups_of(scores, column, names, bootstrap)
    names = largest_groups(group_sizes(scores, column)) if names is None else names
    code = group_code(column, names)
    found = scores.group_by(code.alias("code")).agg(_aggregates(weight)).collect()
    estimated = _estimates(scores, draw, code)
    groups = [
        Group(
            value=names[row["code"]],
            kind=KINDS.get(names[row["code"]], "value"),
            figures=_figures(row, estimated.get(row["code"], {})),
        )
        for row in found.iter_rows(named=True)
    ]
    return sorted(groups, key=lambda one: (one.figures.document_perplexity or 0.0, one.value))


def _figures(row: dict[str, Any], estimated: dict[str, Estimate | None]) -> Figures:
    quantiles = {
        metric: {
            name: row[f"{metric}:{name}"]
            for name in map(quantile_name, QUANTILES)
            if row[f"{metric}:{name}"] is not None
        }
        for metric in QUANTILE_METRICS
    }
    means = {name: mean for name in COUNTS if (mean := row[f"mean of {name}"]) is not None}
    intervals = {figure: None if one is None else one.interval for figure, one in estimated.items()}
    return figures_from(row, means, quantiles, intervals=intervals)


def _aggregates(counted: Weight) -> list[pl.Expr]:
    weight, nll = pl.col(WEIGHT), pl.col("nll")
    scored = nll.is_not_null()
    size = SIZES.get(counted, pl.lit(1))
    told = {name: scored & (column_named(name) > 0) for name in COUNTS}
    return [
        weight.sum().alias("num_documents"),
        weight.filter(scored).sum().alias("num_scored"),
        (weight * pl.col("num_bytes")).sum().alias("num_bytes"),
        *((weight * column_named(name)).filter(scored).sum().alias(name) for name in COUNTS),
        (weight * nll).sum().alias("nll"),
        *(
            pl.when(own.any())
            .then((weight * nll / column_named(name)).filter(own).sum() / weight.filter(own).sum())
            .alias(f"mean of {name}")
            for name, own in told.items()
        ),
        *(
            weighted_quantile_expr(column_named(metric), weight * size, q).alias(
                f"{metric}:{quantile_name(q)}"
            )
            for metric in QUANTILE_METRICS
            for q in QUANTILES
        ),
    ]
