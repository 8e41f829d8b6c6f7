"""Report figures to static SVG, drawn by Altair and vl-convert.

Owns how numbers look as pictures. No JavaScript leaves this module: a page with these charts needs
none. Colours of text and lines are left to the page, so that light and dark both read well.
"""

import altair as alt
import polars as pl
import vl_convert

from pipeline.report import Group, Histogram

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
    totals = {name: sum(counts) for name, counts in histogram.documents.items()}
    shown = sorted(totals, key=lambda name: -totals[name])
    shown = shown if len(shown) <= MOST_SERIES else shown[: MOST_SERIES - 1]
    order = [name for name in histogram.documents if name in shown]
    if len(order) < len(totals):
        order.append(REST)
    # Stacked here: Vega-Lite stacks bars, not rectangles with two edges on a log axis.
    rows = []
    for i, low in enumerate(histogram.edges[:-1]):
        top = 0
        for name in order:
            members = [n for n in totals if n not in shown] if name == REST else [name]
            count = sum(histogram.documents[member][i] for member in members)
            if count:
                edges = {"low": low, "high": histogram.edges[i + 1]}
                rows.append({"series": name, **edges, "from": top, "to": top + count})
            top += count
    legend = alt.Legend(title=histogram.by, orient="top", columns=5) if histogram.by else None
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
                "series:N", scale=alt.Scale(domain=order, range=PALETTE), legend=legend
            ),
        )
    )
    return _svg(chart, 260)


def ranges_svg(groups: list[Group], metric: str) -> str:
    """One line a group: p5 to p95 thin, p25 to p75 thick, the median a dot."""
    rows = [
        {"group": group.value, **group.figures.quantiles[metric]}
        for group in groups
        if group.figures.quantiles[metric]
    ]
    order = [group.value for group in groups]
    width = LETTER_PIXELS * min(LONGEST_LABEL, max(len(name) for name in order))
    labels = alt.Axis(minExtent=width, labelLimit=width)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        y=alt.Y("group:N", sort=order, title=None, axis=labels)
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


def _svg(chart: alt.Chart | alt.LayerChart, height: int) -> str:
    grey = "#8888"
    chart = (
        chart.properties(width=WIDTH, height=height, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=grey, domainColor=grey, tickColor=grey, labelFontSize=12, titleFontSize=12
        )
        .configure_legend(labelFontSize=12, titleFontSize=12, labelLimit=160, columnPadding=30)
    )
    return str(vl_convert.vegalite_to_svg(chart.to_json()))
