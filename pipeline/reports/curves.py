"""Curves over a log axis: cumulative shares, what thresholds keep, perplexity by length.

Owns these pictures and what is said of each; their look is rendering/charts.py's.
"""

from functools import partial

import altair as alt
import polars as pl

from pipeline.rendering.charts import (
    PALETTE,
    fit_labels,
    log_axis,
    log_ticks,
    series_colour,
    to_svg,
)
from pipeline.rendering.page import Chart
from pipeline.reports.distributions import Ecdf, LengthBand
from pipeline.reports.report import Report
from pipeline.reports.thresholds import Threshold
from pipeline.reports.wording import of_rows
from pipeline.settings.weights import UNWEIGHTED, Weight

HEIGHT = 260
MOST_LINES = 10
PERCENT = alt.Axis(format="%", tickCount=5)


def length_charts(report: Report) -> list[Chart]:
    """Perplexity by length, if anything was scored."""
    if not report.lengths:
        return []
    title = f"Perplexity by length{of_rows(report)}"
    text = (
        "The line is the median, the bands the middle half and the middle 90% of the "
        f"{report.weight}."
    )
    return [Chart(title, partial(lengths_svg, report.lengths), text)]


def threshold_charts(report: Report) -> list[Chart]:
    """What each cut keeps."""
    title = f"Kept at or below a perplexity{of_rows(report)}"
    text = "Shares of the scored documents, of their tokens and of their bytes."
    return [Chart(title, partial(thresholds_svg, report.thresholds), text)]


def ecdf_svg(ecdf: Ecdf, weight: Weight = UNWEIGHTED) -> str:
    """One line per series; no more than there are colours."""
    names = list(ecdf.below)[:MOST_LINES]
    labels = fit_labels(names)
    rows = [
        {"at": at, "below": share, "series": labels[name]}
        for name in names
        for at, share in zip(ecdf.at, ecdf.below[name], strict=True)
    ]
    chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(
            x=log_axis("at", ecdf.metric, ecdf.at),
            y=alt.Y("below:Q", title=f"share of {weight} below", axis=PERCENT),
            color=series_colour(list(labels.values()), ecdf.by),
        )
    )
    return to_svg(chart, HEIGHT)


def thresholds_svg(curve: list[Threshold]) -> str:
    """Shares of documents, tokens and bytes that a cut keeps."""
    rows = [
        {"at": point.perplexity, "kept": kept / (kept + above), "series": what}
        for point in curve
        for what, kept, above in (
            ("documents", point.documents_kept, point.documents_above),
            ("tokens", point.tokens_kept, point.tokens_above),
            ("bytes", point.bytes_kept, point.bytes_above),
        )
        if kept + above
    ]
    chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=log_axis("at", "perplexity", [point.perplexity for point in curve]),
            y=alt.Y("kept:Q", title="kept at or below", axis=PERCENT),
            color=series_colour(["documents", "tokens", "bytes"], "share of"),
        )
    )
    return to_svg(chart, HEIGHT)


def lengths_svg(bands: list[LengthBand]) -> str:
    """The median by length, and the bands of the middle half and the middle 90%."""
    rows = [band.model_dump() | {"tokens": (band.low * (band.high + 1)) ** 0.5} for band in bands]
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X(
            "tokens:Q",
            scale=alt.Scale(type="log", nice=False),
            title="scored tokens of the document (log scale)",
            axis=log_ticks([row["tokens"] for row in rows], "~s"),
        )
    )

    def axis(field: str) -> alt.Y:
        return alt.Y(
            f"{field}:Q",
            scale=alt.Scale(type="log", nice=False),
            title="perplexity (log scale)",
            axis=log_ticks([value for band in bands for value in (band.p5, band.p95)], "~s"),
        )

    wide = base.mark_area(color=PALETTE[0], opacity=0.2).encode(y=axis("p5"), y2="p95:Q")
    middle = base.mark_area(color=PALETTE[0], opacity=0.35).encode(y=axis("p25"), y2="p75:Q")
    line = base.mark_line(color=PALETTE[5], point=alt.OverlayMarkDef(color=PALETTE[5])).encode(
        y=axis("p50")
    )
    return to_svg(wide + middle + line, HEIGHT)
