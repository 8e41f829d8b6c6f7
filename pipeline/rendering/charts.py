"""How charts look: colours, axes, labels, and the way to SVG, by Altair and vl-convert.

No JavaScript leaves this module: a page with these charts needs none. Colours of text and lines are
left to the page, so that light and dark both read well. What a chart shows is its room's charts.py.
"""

import math
import sys
from collections.abc import Iterable

import altair as alt
import vl_convert

from pipeline.rendering.escaping import plain
from pipeline.schema import METRICS

WIDTH = 720
MOST_POWERS = 5
MOST_TICKS = 20
FEWEST_TICKS = 3
MOST_SERIES = 10
REST = "(the rest)"
# Wider than any font's average letter at 12 px: the page's font is not the one measured here.
LETTER_PIXELS = 8
LONGEST_LABEL = 24
# Okabe and Ito (2008): distinct for any colour vision, on light and on dark.
PALETTE = [
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#B8A800",
    "#8A6FDF",
    "#999999",
    "#7A4B2A",
]


def name_axis(field: str, labels: list[str]) -> alt.Y:
    """The y axis of a chart with one row per name; `labels` are of `fit_labels`, in order.

    Its width is ours: where the browser's letters are wider than vl-convert's it would cut them.
    """
    width = LETTER_PIXELS * min(LONGEST_LABEL, max(map(len, labels), default=1))
    axis = alt.Axis(minExtent=width, labelLimit=0)
    return alt.Y(f"{field}:N", sort=labels, title=None, axis=axis)


def fit_labels(names: list[str]) -> dict[str, str]:
    """A label for each name: fit to draw, short, and no two alike.

    Shortened here: vl-convert cuts labels inside of characters, and fails on what is left.
    """
    labels: dict[str, str] = {}
    taken = {REST}
    for name in names:
        label = plain(name)
        if len(label) > LONGEST_LABEL:
            label = label[: LONGEST_LABEL - 1] + "…"
        number = 1
        unique = label
        while unique in taken:
            number += 1
            unique = f"{label} ({number})"
        taken.add(unique)
        labels[name] = unique
    return labels


def shown_series(counts: dict[str, list[int]]) -> dict[str, list[str]]:
    """Label to the series it stands for: the largest as they are, the others as one."""
    labels = fit_labels(list(counts))
    totals = {name: sum(values) for name, values in counts.items()}
    shown = sorted(totals, key=lambda name: -totals[name])
    shown = shown if len(shown) <= MOST_SERIES else shown[: MOST_SERIES - 1]
    series = {labels[name]: [name] for name in totals if name in shown}
    if len(shown) < len(totals):
        series[REST] = [name for name in totals if name not in shown]
    return series


def series_colour(names: list[str], by: str | None) -> alt.Color:
    """One colour per series; a legend if there are several."""
    legend = (
        alt.Legend(title=fit_labels([by])[by], orient="top", columns=5) if by is not None else None
    )
    return alt.Color("series:N", scale=alt.Scale(domain=names, range=PALETTE), legend=legend)


def axis_title(metric: str) -> str:
    """What is along the axis of a metric."""
    return f"{metric.replace('_', ' ')} of the document (log scale)"


def number_format(metric: str) -> str:
    """Of the ticks along it."""
    return "~s" if METRICS[metric].is_perplexity else "~g"


def log_axis(field: str, metric: str, values: Iterable[float], *, grid: bool = True) -> alt.X:
    """The x axis of every chart of a metric; `values` are what is to be seen on it."""
    return alt.X(
        f"{field}:Q",
        scale=alt.Scale(type="log", nice=False),
        title=axis_title(metric),
        axis=log_ticks(values, number_format(metric), grid=grid),
    )


def log_ticks(values: Iterable[float], form: str, *, grid: bool = True) -> alt.Axis:
    """Ticks at 1, 2 and 5 times powers of ten; at these alone, or at some of them, where there are
    many: an axis as long as float64 would be drawn for minutes with each.
    """
    seen = [value for value in values if value > 0]
    low, high = min(seen), max(seen)
    highest = min(math.ceil(math.log10(high)), sys.float_info.max_10_exp)
    powers = range(math.floor(math.log10(low)), highest + 1)
    steps = (1, 2, 5) if len(powers) <= MOST_POWERS else (1,)
    stride = -(-len(powers) // MOST_TICKS)
    ticks = [step * 10.0**power for power in powers[::stride] for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    if len(inside) < FEWEST_TICKS:
        return alt.Axis(tickCount=6, format=form, grid=grid)
    return alt.Axis(values=inside, format=form, grid=grid)


def to_svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart, height: int | None = None) -> str:
    """SVG in the page's look."""
    grey = "#8888"
    if height is not None:
        chart = chart.properties(width=WIDTH, height=height)
    chart = (
        chart.properties(background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=grey, domainColor=grey, tickColor=grey, labelFontSize=12, titleFontSize=12
        )
        .configure_legend(
            labelFontSize=12, titleFontSize=12, labelLimit=0, titleLimit=0, columnPadding=30
        )
    )
    return str(vl_convert.vegalite_to_svg(chart.to_json()))
