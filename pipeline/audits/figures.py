"""The figures of a night: of every row, or of the corpus that a sample stands for.

Owns choosing between the two, and that quantiles which are required are exact whatever the number
of rows, so that requirements, history and page need not know.
"""

from collections.abc import Collection

import polars as pl

from pipeline.audits.record import Part
from pipeline.reports.figures import QUANTILES, quantile_name
from pipeline.reports.groups import group_sizes, label_expr
from pipeline.reports.sampled import WEIGHT, corpus_figures, corpus_groups, weighed
from pipeline.runs.sample import Draw
from pipeline.statistics.bootstrap import Bootstrap
from pipeline.statistics.quantile import quantile_expr

METRIC = "perplexity"
"""What a requirement's p95 is of."""


def whole_part(scores: pl.LazyFrame, draw: Draw | None, exact: Collection[str] = ()) -> Part:
    """Of all rows, of which `draw` says what they stand for; `exact` are names of quantiles."""
    rows = weighed(scores, draw)
    figures = corpus_figures(rows, draw, Bootstrap())
    if wanted := _exact(draw, exact):
        found = rows.select(wanted).collect(engine="streaming").row(0, named=True)
        figures = figures.with_quantiles({METRIC: _told(found)})
    counted = rows.group_by("status").agg(_weight(draw)).collect()
    return Part(figures=figures, statuses=_shares(dict(counted.iter_rows())))


def group_parts(
    scores: pl.LazyFrame, column: str, draw: Draw | None, exact: Collection[str] = ()
) -> dict[str, Part]:
    """Of every group of a column, the largest in bytes of text first."""
    rows = weighed(scores, draw)
    groups = corpus_groups(rows, column, draw, list(group_sizes(rows, column)), Bootstrap())
    label = label_expr(column).alias("group")
    quantiles: dict[str, dict[str, float]] = {}
    if wanted := _exact(draw, exact):
        by_group = rows.group_by(label).agg(wanted).collect(engine="streaming")
        quantiles = {row.pop("group"): _told(row) for row in by_group.iter_rows(named=True)}
    counted = rows.group_by(label, "status").agg(_weight(draw)).collect()
    statuses: dict[str, dict[str, float]] = {}
    for group, status, weight in counted.iter_rows():
        statuses.setdefault(group, {})[status] = weight
    ordered = sorted(groups, key=lambda group: (-group.figures.num_bytes, group.value))
    return {
        group.value: Part(
            figures=group.figures.with_quantiles({METRIC: quantiles.get(group.value, {})}),
            statuses=_shares(statuses[group.value]),
        )
        for group in ordered
    }


def _weight(draw: Draw | None) -> pl.Expr:
    return pl.len() if draw is None else pl.col(WEIGHT).sum()


def _exact(draw: Draw | None, names: Collection[str]) -> list[pl.Expr]:
    """What to collect for quantiles that are exact; those of a sample are so already."""
    wanted = {quantile_name(q): q for q in QUANTILES if draw is None}
    return [
        quantile_expr(pl.col(METRIC), q).alias(name) for name, q in wanted.items() if name in names
    ]


def _told(row: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None}


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {status: weight / total for status, weight in sorted(weights.items())}
