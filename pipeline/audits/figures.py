"""The figures of a night: of every row, or of the corpus that a sample stands for.

Owns choosing between the two, so that history and page need not know.
"""

import polars as pl

from pipeline.audits.record import Part
from pipeline.reports.groups import group_sizes, label_expr
from pipeline.reports.sampled import WEIGHT, corpus_figures, corpus_groups, weighed
from pipeline.runs.sample import Draw
from pipeline.statistics.bootstrap import Bootstrap


def whole_part(scores: pl.LazyFrame, draw: Draw | None) -> Part:
    """Of all rows, of which `draw` says what they stand for."""
    rows = weighed(scores, draw)
    figures = corpus_figures(rows, draw, Bootstrap())
    counted = rows.group_by("status").agg(_weight(draw)).collect()
    return Part(figures=figures, statuses=_shares(dict(counted.iter_rows())))


def group_parts(scores: pl.LazyFrame, column: str, draw: Draw | None) -> dict[str, Part]:
    """Of every group of a column, the largest in bytes of text first."""
    rows = weighed(scores, draw)
    groups = corpus_groups(rows, column, draw, list(group_sizes(rows, column)), Bootstrap())
    label = label_expr(column).alias("group")
    counted = rows.group_by(label, "status").agg(_weight(draw)).collect()
    statuses: dict[str, dict[str, float]] = {}
    for group, status, weight in counted.iter_rows():
        statuses.setdefault(group, {})[status] = weight
    ordered = sorted(groups, key=lambda group: (-group.figures.num_bytes, group.value))
    return {
        group.value: Part(figures=group.figures, statuses=_shares(statuses[group.value]))
        for group in ordered
    }


def _weight(draw: Draw | None) -> pl.Expr:
    return pl.len() if draw is None else pl.col(WEIGHT).sum()


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {status: weight / total for status, weight in sorted(weights.items())}
