"""The figures of a night: of every row, or of the corpus that a sample stands for.

Owns choosing between the two, so that requirements, history and page need not know.
"""

import polars as pl

from pipeline.audits.record import Part
from pipeline.audits.sample_estimate import (
    WEIGHT,
    Stratum,
    weighted_figures,
    weighted_groups,
    with_weights,
)
from pipeline.reports.figures import figures_of
from pipeline.reports.groups import group_sizes, groups_of, label_expr


def whole_part(scores: pl.LazyFrame, by: str | None, strata: list[Stratum] | None) -> Part:
    """Of all rows. `strata`, of the column `by`, are those of the sample, if it is one."""
    rows = _weighted(scores, by, strata)
    figures = figures_of(scores) if strata is None else weighted_figures(rows)
    counted = rows.group_by("status").agg(pl.col(WEIGHT).sum()).collect()
    return Part(figures=figures, statuses=_shares(dict(counted.iter_rows())))


def group_parts(
    scores: pl.LazyFrame, column: str, by: str | None, strata: list[Stratum] | None
) -> dict[str, Part]:
    """Of every group of a column, the largest in bytes of text first."""
    rows = _weighted(scores, by, strata)
    if strata is None:
        groups = groups_of(scores, column, list(group_sizes(scores, column)))
    else:
        groups = weighted_groups(rows, column)
    label = label_expr(column).alias("group")
    counted = rows.group_by(label, "status").agg(pl.col(WEIGHT).sum()).collect()
    statuses: dict[str, dict[str, float]] = {}
    for group, status, weight in counted.iter_rows():
        statuses.setdefault(group, {})[status] = weight
    ordered = sorted(groups, key=lambda group: (-group.figures.num_bytes, group.value))
    return {
        group.value: Part(figures=group.figures, statuses=_shares(statuses[group.value]))
        for group in ordered
    }


def _weighted(scores: pl.LazyFrame, by: str | None, strata: list[Stratum] | None) -> pl.LazyFrame:
    if strata is None:
        return scores.with_columns(pl.lit(1.0).alias(WEIGHT))
    return with_weights(scores, by, strata)


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {status: weight / total for status, weight in sorted(weights.items())}
