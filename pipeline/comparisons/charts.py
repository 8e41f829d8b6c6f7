"""Comparisons as static SVG: distributions, changes with their intervals, trends.

Owns what these charts show; their style is charts.py's.
"""

import altair as alt
import polars as pl

from pipeline.comparisons.comparison import Change
from pipeline.rendering.charts import (
    MOST_SERIES,
    PALETTE,
    axis_title,
    fit_labels,
    name_axis,
    number_format,
    to_svg,
)
from pipeline.statistics.bootstrap import Interval

ROW_PIXELS = 30
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
"""Line patterns, used in turn so that runs can be distinguished without colour."""


def distributions_svg(percentiles: dict[str, list[float]], metric: str) -> str:
    """Share of documents at or below a value, one line per run: the distribution functions."""
    shown = dict(list(percentiles.items())[:MOST_SERIES])
    labels = fit_labels(list(shown))
    positive = [value for values in shown.values() for value in values if value > 0]
    floor = min(positive, default=1.0)
    rows = [
        {"run": labels[name], "value": max(value, floor), "percent": percent}
        for name, values in shown.items()
        for percent, value in enumerate(values)
        if 0 < percent < 100  # one odd document would stretch the axis
    ]
    order = list(labels.values())
    dashes = [DASHES[i % len(DASHES)] for i in range(len(order))]
    legend = alt.Legend(title=None, orient="top", columns=5, symbolSize=400)
    chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X(
                "value:Q",
                scale=alt.Scale(type="log", nice=False),
                title=axis_title(metric),
                axis=alt.Axis(tickCount=6, format=number_format(metric), grid=False),
            ),
            y=alt.Y("percent:Q", title="% of documents at or below"),
            order="percent:Q",
            color=alt.Color("run:N", scale=alt.Scale(domain=order, range=PALETTE), legend=legend),
            strokeDash=alt.StrokeDash(
                "run:N", scale=alt.Scale(domain=order, range=dashes), legend=legend
            ),
        )
    )
    return to_svg(chart, 260)


def changes_svg(changes: dict[str, Change], unit: str) -> str:
    """One dot per name at its change, a line over its interval, and a rule at no change."""
    known = {name: one for name, one in changes.items() if one.difference is not None}
    labels = fit_labels(list(known))
    rows = [
        {
            "name": labels[name],
            "change": one.difference,
            "low": one.interval.low if one.interval else one.difference,
            "high": one.interval.high if one.interval else one.difference,
        }
        for name, one in known.items()
    ]
    base = alt.Chart(pl.DataFrame(rows)).encode(y=name_axis("name", list(labels.values())))
    title = f"change in {unit}, with 95% interval; right of 0 is more surprising"
    ticks = alt.Axis(tickCount=6, format="+~g")
    line = base.mark_rule(color=PALETTE[4], strokeWidth=5, opacity=0.8).encode(
        x=alt.X("low:Q", title=title, axis=ticks), x2="high:Q"
    )
    dot = base.mark_point(color=PALETTE[5], filled=True, size=70, opacity=1).encode(
        x=alt.X("change:Q", title=title, axis=ticks)
    )
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color="#888", strokeDash=[4, 3])
    return to_svg(zero.encode(x="zero:Q") + line + dot, ROW_PIXELS * len(rows))


def trend_svg(steps: list[tuple[str, float, Interval | None]], unit: str) -> str:
    """(run, value, interval) in order: a line through the values, a bar over each interval."""
    labels = list(fit_labels([name for name, *_ in steps]).values())
    rows = [
        {
            "run": label,
            "value": value,
            "low": interval.low if interval else value,
            "high": interval.high if interval else value,
        }
        for label, (_, value, interval) in zip(labels, steps, strict=True)
    ]
    scale = alt.Scale(zero=False)
    axis = alt.Axis(labelAngle=-30 if len(rows) > MOST_SERIES else 0, labelLimit=0)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("run:N", sort=labels, title=None, axis=axis)
    )
    line = base.mark_line(color=PALETTE[0], strokeWidth=2).encode(
        y=alt.Y("value:Q", scale=scale, title=unit)
    )
    bar = base.mark_rule(color=PALETTE[4], strokeWidth=5, opacity=0.8).encode(
        y=alt.Y("low:Q", scale=scale, title=unit), y2="high:Q"
    )
    dot = base.mark_point(color=PALETTE[5], filled=True, size=70, opacity=1).encode(
        y=alt.Y("value:Q", scale=scale, title=unit)
    )
    return to_svg(line + bar + dot, 240)
