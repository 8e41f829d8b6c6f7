"""Distributions and groups of a report as pictures, and what is said of each.

Their look is rendering/charts.py's.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import altair as alt
import polars as pl

from pipeline.rendering.charts import (
    PALETTE,
    WIDTH,
    fit_labels,
    log_axis,
    name_axis,
    series_colour,
    shown_series,
    to_svg,
)
from pipeline.rendering.formats import number
from pipeline.rendering.page import Chart
from pipeline.reports.curves import ecdf_svg
from pipeline.reports.distributions import Histogram
from pipeline.reports.groups import Group
from pipeline.reports.report import Report
from pipeline.reports.wording import of_rows
from pipeline.settings.weights import UNWEIGHTED, Weight

MULTIPLE_HEIGHT = 34


def distribution_charts(report: Report) -> list[Chart]:
    """Of each metric: all documents, each series by itself, ranges by group, cumulative."""
    drawn, weight = [], report.weight
    of = of_rows(report)
    for histogram, ecdf in zip(report.histograms, report.ecdfs, strict=True):
        metric = histogram.metric.replace("_", " ")
        quantiles = report.overall.quantiles[histogram.metric]
        middle = (
            f"The median is {number(quantiles['p50'])}; 90% of the {weight} lie between "
            f"{number(quantiles['p5'])} and {number(quantiles['p95'])}."
        )
        drawn.append(
            Chart(
                f"Distribution of {metric}{of}", partial(histogram_svg, histogram, weight), middle
            )
        )
        if histogram.by is not None:
            each = f"Each {histogram.by} by itself"
            if len(histogram.documents) > 1:
                scaled = "Each row is scaled to its own fullest bin."
                drawn.append(
                    Chart(
                        f"{each}: {metric}{of}",
                        partial(small_multiples_svg, histogram, weight),
                        scaled,
                    )
                )
            drawn.append(
                Chart(
                    f"Range of {metric} by {histogram.by}",
                    partial(ranges_svg, report.groups[histogram.by], histogram.metric),
                    f"The dot is the median, the thick line the middle half of the {weight}, the "
                    "thin one goes from 5% to 95%.",
                )
            )
        drawn.append(
            Chart(
                f"Cumulative distribution of {metric}{of}",
                partial(ecdf_svg, ecdf, weight),
                f"The share of {weight} below each value.",
            )
        )
    return drawn


def histogram_svg(histogram: Histogram, weight: Weight = UNWEIGHTED) -> str:
    """Documents per bin, or their tokens or bytes, stacked by series."""
    counts = histogram.counts(weight)
    series = shown_series(counts)
    # Stacked here: Vega-Lite stacks bars, not rectangles with two edges on a log axis.
    rows = []
    for i, low in enumerate(histogram.edges[:-1]):
        top = 0
        for name, members in series.items():
            count = sum(counts[member][i] for member in members)
            if count:
                edges = {"low": low, "high": histogram.edges[i + 1]}
                rows.append({"series": name, **edges, "from": top, "to": top + count})
            top += count
    chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_rect()
        .encode(
            x=log_axis("low", histogram.metric, histogram.edges, grid=False),
            x2="high:Q",
            y=alt.Y("from:Q", title=weight),
            y2="to:Q",
            color=series_colour(list(series), histogram.by),
        )
    )
    return to_svg(chart, 260)


def small_multiples_svg(histogram: Histogram, weight: Weight = UNWEIGHTED) -> str:
    """One histogram per series, one below the other, each as high as its own fullest bin."""
    series = shown_series(histogram.counts(weight))
    rows = []
    for name, members in series.items():
        columns = zip(*(histogram.counts(weight)[member] for member in members), strict=True)
        counts = [sum(column) for column in columns]
        for (low, high), count in zip(pairwise(histogram.edges), counts, strict=True):
            if count:
                share = count / max(counts)
                rows.append({"series": name, "low": low, "high": high, "share": share, "floor": 0})
    chart = (
        alt.Chart(pl.DataFrame(rows), height=MULTIPLE_HEIGHT, width=WIDTH)
        .mark_rect(color=PALETTE[0])
        .encode(
            x=log_axis("low", histogram.metric, histogram.edges),
            x2="high:Q",
            y=alt.Y("floor:Q", axis=None, scale=alt.Scale(domain=[0, 1])),
            y2="share:Q",
        )
        .facet(
            row=alt.Row(
                "series:N",
                sort=list(series),
                title=None,
                header=alt.Header(
                    labelAngle=0, labelAlign="left", labelLimit=0, labelFontSize=12, labelPadding=8
                ),
            ),
            spacing=6,
        )
    )
    return to_svg(chart)


def ranges_svg(groups: list[Group], metric: str) -> str:
    """One line per group: p5 to p95 thin, p25 to p75 thick, the median a dot."""
    scored = [group for group in groups if group.figures.quantiles[metric]]
    labels = fit_labels([group.value for group in scored])
    positive = [q for group in scored for q in group.figures.quantiles[metric].values() if q > 0]
    # A text known by heart has 0 bits, and 0 has no place on a log axis: drawn at its left end.
    floor = min(positive, default=1.0)
    rows: list[dict[str, Any]] = [
        {"group": labels[group.value]}
        | {name: max(q, floor) for name, q in group.figures.quantiles[metric].items()}
        for group in scored
    ]
    order = list(labels.values())
    base = alt.Chart(pl.DataFrame(rows)).encode(y=name_axis("group", order))

    def axis(field: str) -> alt.X:
        return log_axis(field, metric, [row[name] for row in rows for name in ("p5", "p95")])

    colour = PALETTE[0]
    thin = base.mark_rule(color=colour, strokeWidth=1.5).encode(x=axis("p5"), x2="p95:Q")
    thick = base.mark_rule(color=colour, strokeWidth=7, opacity=0.55).encode(
        x=axis("p25"), x2="p75:Q"
    )
    dot = base.mark_point(color=PALETTE[5], filled=True, size=70, opacity=1).encode(x=axis("p50"))
    return to_svg(thin + thick + dot, 26 * len(rows))
