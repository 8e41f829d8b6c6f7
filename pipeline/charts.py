"""Report figures to static SVG, drawn by Altair and vl-convert.

Owns how numbers look as pictures. No JavaScript leaves this module: a page with these charts needs
none. Colours of text and lines are left to the page, so that light and dark both read well.
"""

import altair as alt
import polars as pl
import vl_convert

from pipeline.distributions import Histogram
from pipeline.escaping import plain
from pipeline.groups import Group

WIDTH = 720
MOST_SERIES = 10
REST = "(the rest)"
LABELS = {
    "perplexity": "perplexity of the document (log scale)",
    "bits_per_byte": "bits per byte of the document (log scale)",
}
FORMATS = {"perplexity": "~s", "bits_per_byte": "~g"}
# Wider than any font's average letter at 12 px: the page's font is not the one measured here.
LETTER_PIXELS = 8
LONGEST_LABEL = 24
# Okabe and Ito (2008): told apart by people with any colour vision, on light and on dark.
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


def histogram_svg(histogram: Histogram) -> str:
    """Documents per bin, stacked by series."""
    labels = _labels(list(histogram.documents))
    totals = {name: sum(counts) for name, counts in histogram.documents.items()}
    shown = sorted(totals, key=lambda name: -totals[name])
    shown = shown if len(shown) <= MOST_SERIES else shown[: MOST_SERIES - 1]
    series = {labels[name]: [name] for name in totals if name in shown}
    if len(shown) < len(totals):
        series[REST] = [name for name in totals if name not in shown]
    # Stacked here: Vega-Lite stacks bars, not rectangles with two edges on a log axis.
    rows = []
    for i, low in enumerate(histogram.edges[:-1]):
        top = 0
        for name, members in series.items():
            count = sum(histogram.documents[member][i] for member in members)
            if count:
                edges = {"low": low, "high": histogram.edges[i + 1]}
                rows.append({"series": name, **edges, "from": top, "to": top + count})
            top += count
    legend = (
        alt.Legend(title=_labels([histogram.by])[histogram.by], orient="top", columns=5)
        if histogram.by
        else None
    )
    chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_rect()
        .encode(
            x=alt.X(
                "low:Q",
                scale=alt.Scale(type="log", nice=False),
                title=LABELS[histogram.metric],
                axis=alt.Axis(tickCount=6, format=FORMATS[histogram.metric], grid=False),
            ),
            x2="high:Q",
            y=alt.Y("from:Q", title="documents"),
            y2="to:Q",
            color=alt.Color(
                "series:N", scale=alt.Scale(domain=list(series), range=PALETTE), legend=legend
            ),
        )
    )
    return _svg(chart, 260)


def ranges_svg(groups: list[Group], metric: str) -> str:
    """One line a group: p5 to p95 thin, p25 to p75 thick, the median a dot."""
    scored = [group for group in groups if group.figures.quantiles[metric]]
    labels = _labels([group.value for group in scored])
    positive = [q for group in scored for q in group.figures.quantiles[metric].values() if q > 0]
    # A text known by heart has 0 bits, and 0 has no place on a log axis: drawn at its left end.
    floor = min(positive, default=1.0)
    rows = [
        {"group": labels[group.value]}
        | {name: max(q, floor) for name, q in group.figures.quantiles[metric].items()}
        for group in scored
    ]
    order = list(labels.values())
    width = LETTER_PIXELS * min(LONGEST_LABEL, max(map(len, order), default=1))
    names = alt.Axis(minExtent=width, labelLimit=0)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        y=alt.Y("group:N", sort=order, title=None, axis=names)
    )
    scale = alt.Scale(type="log", nice=False)

    def axis(field: str) -> alt.X:
        ticks = alt.Axis(tickCount=6, format=FORMATS[metric])
        return alt.X(f"{field}:Q", scale=scale, title=LABELS[metric], axis=ticks)

    colour = PALETTE[0]
    thin = base.mark_rule(color=colour, strokeWidth=1.5).encode(x=axis("p5"), x2="p95:Q")
    thick = base.mark_rule(color=colour, strokeWidth=7, opacity=0.55).encode(
        x=axis("p25"), x2="p75:Q"
    )
    dot = base.mark_point(color=PALETTE[5], filled=True, size=70, opacity=1).encode(x=axis("p50"))
    return _svg(thin + thick + dot, 26 * len(rows))


def _labels(names: list[str]) -> dict[str, str]:
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


def _svg(chart: alt.Chart | alt.LayerChart, height: int) -> str:
    grey = "#8888"
    chart = (
        chart.properties(width=WIDTH, height=height, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=grey, domainColor=grey, tickColor=grey, labelFontSize=12, titleFontSize=12
        )
        .configure_legend(
            labelFontSize=12, titleFontSize=12, labelLimit=0, titleLimit=0, columnPadding=30
        )
    )
    return str(vl_convert.vegalite_to_svg(chart.to_json()))
