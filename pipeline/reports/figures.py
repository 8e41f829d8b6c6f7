"""Figures of a set of documents: the whole or a group.

Owns the sums and what is derived from them, batch by batch and from stored sums only. Which sets
there are is groups.py's, what a distribution looks like distributions.py's.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.scoring.fold import LARGEST_EXPONENT
from pipeline.statistics.columns import column_named
from pipeline.statistics.sketches import (
    FINE,
    Binned,
    Integers,
    Sketch,
    SketchTally,
    bin_values,
    resolution_of,
)

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTILE_METRICS = ("perplexity", "bits_per_byte")
READ = ("num_tokens", "num_bytes", "num_scored_bytes", "nll", *QUANTILE_METRICS)
SUMS = {
    "num_documents": np.int64,
    "num_scored": np.int64,
    "num_tokens": np.int64,
    "num_bytes": np.int64,
    "num_scored_bytes": np.int64,
    "nll": np.float64,
    "sum_of_means": np.float64,
    "num_means": np.int64,
}
"""What figures are made of; those of two sets of rows add up."""
ROWS_AT_A_TIME = 1 << 18
EMPTY = SketchTally(FINE).whole()


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
    quantile_error: float | None = None
    """No quantile is further from the exact one than this share of it; those that a requirement
    asks for are exact. Null where it was not noted down."""

    def with_quantiles(self, exact: dict[str, dict[str, float]]) -> "Figures":
        """The same with exact values in place of those of the same name."""
        quantiles = {
            metric: {name: exact.get(metric, {}).get(name, value) for name, value in own.items()}
            for metric, own in self.quantiles.items()
        }
        return self.model_copy(update={"quantiles": quantiles})


def figures_of(scores: pl.LazyFrame) -> Figures:
    """The figures of all rows of a frame."""
    (tally,) = tally_rows(scores, [Tallied(pl.lit(0), 1)])
    return tally.whole()[0]


class Tallied(NamedTuple):
    """What to tell rows apart by, when they are added up."""

    code: pl.Expr
    """A whole number for each row, 0 or more."""
    num_codes: int
    """Codes are below it."""


class Tally:
    """Sums and distributions of score rows by code, batch by batch."""

    def __init__(self, num_codes: int, resolution: int) -> None:
        self._sums = {name: np.zeros(num_codes, kind) for name, kind in SUMS.items()}
        self._sketches = {metric: SketchTally(resolution) for metric in QUANTILE_METRICS}

    def add(self, codes: Integers, rows: dict[str, Any], binned: dict[str, Binned]) -> None:
        """Count rows, one array element each; `rows` are the columns READ, `binned` the metrics."""
        nll, tokens, num_bytes = rows["nll"], rows["num_tokens"], rows["num_scored_bytes"]
        is_scored = ~np.isnan(nll)
        has_mean = is_scored & (tokens > 0)
        mean_nll = np.divide(nll, tokens, out=np.zeros(len(nll)), where=has_mean)
        for name, values in (
            ("num_documents", 1),
            ("num_scored", is_scored.astype(np.int64)),
            ("num_tokens", tokens),
            ("num_bytes", rows["num_bytes"]),
            ("num_scored_bytes", np.where(is_scored, num_bytes, 0)),
            ("nll", np.where(is_scored, nll, 0.0)),
            ("sum_of_means", mean_nll),
            ("num_means", has_mean.astype(np.int64)),
        ):
            np.add.at(self._sums[name], codes, values)
        for metric, sketch in self._sketches.items():
            sketch.add(codes, binned[metric], tokens, rows["num_bytes"])

    def by_code(self) -> dict[int, tuple[Figures, dict[str, Sketch]]]:
        """Figures of the codes that have rows, ascending, and metric to distribution."""
        sketches = {metric: tally.sketches() for metric, tally in self._sketches.items()}
        made = {}
        for code in map(int, self._sums["num_documents"].nonzero()[0]):
            own = {metric: found.get(code, EMPTY) for metric, found in sketches.items()}
            sums = {name: values[code].item() for name, values in self._sums.items()}
            made[code] = make_figures(sums, own), own
        return made

    def whole(self) -> tuple[Figures, dict[str, Sketch]]:
        """The same of all codes together."""
        sketches = {metric: tally.whole() for metric, tally in self._sketches.items()}
        sums = {name: values.sum().item() for name, values in self._sums.items()}
        return make_figures(sums, sketches), sketches


def tally_rows(
    scores: pl.LazyFrame,
    wanted: Sequence[Tallied],
    also: Callable[[dict[str, Any], dict[str, Binned]], None] = lambda rows, binned: None,
) -> list[Tally]:
    """Add up all rows of a frame in one pass, by each of the codes; `also` is shown them too, and
    the bins of their metrics."""
    resolution = resolution_of(scores)
    tallies = [Tally(tallied.num_codes, resolution) for tallied in wanted]
    for codes, rows in batches_of(scores, [tallied.code for tallied in wanted]):
        binned = {metric: bin_values(rows[metric], resolution) for metric in QUANTILE_METRICS}
        for tally, code in zip(tallies, codes, strict=True):
            tally.add(code, rows, binned)
        also(rows, binned)
    return tallies


def batches_of(
    scores: pl.LazyFrame, codes: Sequence[pl.Expr], columns: Sequence[str] = READ
) -> Iterator[tuple[list[Integers], dict[str, Any]]]:
    """Each batch's codes and columns, as arrays; a metric is NaN where it is missing."""
    named = [code.cast(pl.Int64).alias(f"code {i}") for i, code in enumerate(codes)]
    kinds = scores.collect_schema()
    # By Polars, on all cores: NumPy would have to copy the column once more.
    read = [
        column_named(name).fill_null(math.nan) if kinds[name].is_float() else column_named(name)
        for name in columns
    ]
    # In order, so that sums of floats are the same every time.
    for batch in scores.select(*read, *named).collect_batches(
        chunk_size=ROWS_AT_A_TIME, maintain_order=True, engine="streaming"
    ):
        rows = {name: batch[name].to_numpy() for name in columns}
        yield [batch[f"code {i}"].to_numpy() for i in range(len(named))], rows


def make_figures(sums: dict[str, Any], sketches: dict[str, Sketch]) -> Figures:
    """The SUMS of some rows and the distribution of each metric, as figures."""
    means = sums["num_means"]
    mean_nll = sums["sum_of_means"] / means if means else None
    quantiles = {metric: _quantiles(sketches[metric]) for metric in QUANTILE_METRICS}
    error = max(sketch.relative_error for sketch in sketches.values())
    return figures_from(sums, mean_nll, quantiles, error)


def figures_from(
    sums: dict[str, Any],
    mean_nll: float | None,
    quantiles: dict[str, dict[str, float]],
    quantile_error: float = 0.0,
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
        quantile_error=quantile_error,
    )


def _quantiles(sketch: Sketch) -> dict[str, float]:
    values = {quantile_name(q): sketch.value_at(q) for q in QUANTILES}
    return {name: value for name, value in values.items() if value is not None}


def quantile_name(q: float) -> str:
    return f"p{round(100 * q, 10):g}"


def _exp(mean_nll: float | None) -> float | None:
    """Null where there is no mean, or its perplexity exceeds a float64."""
    if mean_nll is None or mean_nll > LARGEST_EXPONENT:
        return None
    return math.exp(mean_nll)
