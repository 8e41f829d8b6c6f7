"""Nights side by side as one page: `RUNS/trend.html`.

Owns what is drawn and written there; the numbers are history.py's.
"""

from functools import partial
from typing import Any

import altair as alt
import polars as pl

from pipeline.audits.config import AuditConfig
from pipeline.audits.nights import TREND, Nights
from pipeline.audits.record import Reused
from pipeline.rendering import html
from pipeline.rendering.charts import MOST_SERIES, PALETTE, fit_labels, to_svg
from pipeline.rendering.formats import count, estimate, estimate_in_words, number
from pipeline.rendering.page import Card, Chart, Page, Section, section_of
from pipeline.rendering.table import Marked, Table, Whole, Words
from pipeline.statistics.bootstrap import Interval
from pipeline.statistics.sketches import COARSE, FINE_ROWS

CHARTS = {
    "corpus_perplexity": "corpus perplexity",
    "bits_per_byte": "bits per byte",
    "p50": "median perplexity of documents",
    "num_documents": "documents",
    "error_share": "share of documents that could not be scored",
}
METRIC_OF = {"error_share": "error"}
"""Columns whose metric has another name in requirements."""
AXIS_TITLES = {"error_share": "share not scored"}
"""Axis titles of charts whose label is too long to stand beside the chart."""
COUNTED = frozenset(["num_documents"])
"""Columns of whole numbers: an axis must not have a tick at half a document."""
MOST_TICKS = 10
HEIGHT = 220
NEAR = 1.5
"""Bounds are drawn up to this many times beyond the values."""
MOST_NIGHTS = 400
"""Number of nights that are drawn: the newest ones."""
MOST_LISTED = 60
ABOUT_QUANTILES = (
    f"Median and p95 of a night of more than {FINE_ROWS:,} documents lie within "
    f"{100 / COARSE:.1g}% of the exact values, unless a requirement asks for them: then they are "
    "exact."
)
COLUMNS = ("documents", "tokens", "perplexity", "bits/byte", "median", "p95")
CARDS = (
    ("corpus_perplexity", "corpus perplexity", "weighted by tokens"),
    ("bits_per_byte", "bits per byte", "compares across tokenizers"),
)
FIGURES = ("num_documents", "num_tokens", "corpus_perplexity", "bits_per_byte", "p50", "p95")


def write_trend(
    nights: Nights, history: pl.DataFrame, audit: AuditConfig, reused: Reused | None = None
) -> None:
    """Draw the nights and write the page; `reused` is what the latest night reused."""
    page = to_html(history, audit, nights.root.location, reused)
    nights.root.write_bytes(TREND, page.encode())


def to_html(
    history: pl.DataFrame, audit: AuditConfig, title: str, reused: Reused | None = None
) -> str:
    """The page. `history` is history.py's table, by night."""
    shown = history["night"].unique().sort().tail(MOST_NIGHTS)
    history = history.filter(pl.col("night").is_in(shown.implode()))
    return html.to_html(_to_page(history, audit, title, reused))


def _to_page(history: pl.DataFrame, audit: AuditConfig, title: str, reused: Reused | None) -> Page:
    whole = history.filter(pl.col("by").is_null())
    latest = whole.row(-1, named=True)
    num_failed = whole.filter(pl.col("verdict") == "fail").height
    about = (
        "A cross is a night that failed; a dashed line is a required bound, drawn where it is "
        f"near the values; a bar is the 95% interval of a sample. {ABOUT_QUANTILES}"
    )
    taken = [reused.in_words()] if reused else []
    figures = Section("Night by night", [*taken, *_charts(history, whole, audit), about])
    nights = Table(
        title="The nights",
        caption="The newest first",
        columns=("night", Whole("verdict"), *COLUMNS, Words("why")),
        rows=[_row(row) for row in whole.reverse().head(MOST_LISTED).iter_rows(named=True)],
    )
    return Page(
        title="Perplexity, night by night",
        subtitle=title,
        cards=[
            Card("latest night", latest["verdict"], latest["night"].isoformat()),
            *(_card(latest, *card) for card in CARDS),
            Card(
                "documents", count(latest["num_documents"]), f"{count(latest['num_tokens'])} tokens"
            ),
            Card("nights", count(whole.height), f"{count(num_failed)} failed"),
        ],
        notes=latest["reasons"] or (),
        sections=[figures, section_of(nights)],
    )


def _card(row: dict[str, Any], name: str, label: str, about: str) -> Card:
    """A figure of a night: label, value and what to know of it."""
    if not _is_estimated(row):
        return Card(label, number(row[name]), about)
    return Card(label, *estimate_in_words(row[name], _interval(row, name)))


def _row(row: dict[str, Any]) -> list[str]:
    night = row["night"].isoformat()
    return [
        Marked(night, link=f"{night}/report.html"),
        Marked(row["verdict"], "bad" if row["verdict"] == "fail" else None),
        *(_cell(row, name) for name in FIGURES),
        "; ".join(row["reasons"] or ()),
    ]


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if isinstance(value, int):
        return count(value)
    if value is None or not _is_estimated(row):
        return number(value)
    interval = _interval(row, name)
    shown, around = estimate(value, interval)
    return f"{shown} estimated" if interval is None else f"{shown} estimated ({around})"


def _is_estimated(row: dict[str, Any]) -> bool:
    return bool(row["estimated"]) or row["corpus_perplexity_low"] is not None


def _interval(row: dict[str, Any], name: str) -> Interval | None:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return None if low is None or high is None else Interval(low=low, high=high)


def _charts(history: pl.DataFrame, whole: pl.DataFrame, audit: AuditConfig) -> list[Chart]:
    """One chart per figure, then one per column for the figure that ranks."""
    drawn = []
    for name, label in CHARTS.items():
        if whole[name].drop_nulls().len():
            draw = partial(trend_svg, whole, name, label, _lines(audit, name, None))
            drawn.append(Chart(f"{label.capitalize()}, all documents", draw))
    for column in dict.fromkeys(history["by"].drop_nulls()):
        groups = history.filter(pl.col("by") == column)
        if groups["corpus_perplexity"].drop_nulls().len():
            draw = partial(groups_svg, groups, _lines(audit, "corpus_perplexity", column))
            drawn.append(Chart(f"Corpus perplexity by {column}", draw))
    return drawn


def _lines(audit: AuditConfig, name: str, by: str | None) -> list[float]:
    """The bounds that a figure must stay within."""
    metric = METRIC_OF.get(name, name)
    asked = [one for one in audit.require if (one.metric, one.by) == (metric, by)]
    return [bound for one in asked for bound in (one.min, one.max) if bound is not None]


def _night(nights: pl.Series, title: str | None = None) -> alt.X:
    # Dates have no time zone; drawn in the machine's own, a night may move to the day before.
    # A tick is a night: were they hours apart, dates would repeat.
    dates = nights.unique().sort()
    shown = dates.gather_every(-(-len(dates) // MOST_TICKS))
    stamps = shown.str.to_datetime().dt.epoch("ms").to_list()
    axis = alt.Axis(format="%Y-%m-%d", labelAngle=-30, values=stamps, grid=False)
    return alt.X("night:T", scale=alt.Scale(type="utc"), title=title, axis=axis)


def trend_svg(whole: pl.DataFrame, name: str, label: str, bounds: list[float]) -> str:
    """A figure from night to night: its interval, the bounds as dashed rules, failures marked."""
    rows = _dated(whole).drop_nulls(name)
    label = AXIS_TITLES.get(name, label)
    form = _whole_numbers(rows[name]) if name in COUNTED else alt.Axis()
    y = alt.Y(f"{name}:Q", scale=alt.Scale(zero=False), title=label, axis=form)
    base = alt.Chart(rows).encode(x=_night(rows["night"]))
    layers = [base.mark_line(color=PALETTE[0], strokeWidth=2).encode(y=y)]
    low, high = f"{name}_low", f"{name}_high"
    if low in rows.columns and rows[low].drop_nulls().len():
        around = alt.Chart(rows.drop_nulls(low)).mark_rule(color=PALETTE[4], strokeWidth=5)
        layers.append(
            around.encode(x=_night(rows["night"]), y=alt.Y(f"{low}:Q", title=label), y2=f"{high}:Q")
        )
    layers.append(
        base.mark_point(filled=True, size=90, opacity=1).encode(
            y=y,
            color=alt.Color("verdict:N", scale=_verdicts("range"), legend=_legend()),
            shape=alt.Shape("verdict:N", scale=_verdicts("shape"), legend=_legend()),
        )
    )
    return to_svg(alt.LayerChart(layer=[*layers, *_rules(bounds, rows[name])]), HEIGHT)


def _whole_numbers(counts: pl.Series) -> alt.Axis:
    """At most some ticks, at multiples of 1, 2 or 5 times a power of ten."""
    low, high = min(counts.to_list()), max(counts.to_list())
    powers = (10**power for power in range(19))
    steps = (digit * power for power in powers for digit in (1, 2, 5))
    step = next(step for step in steps if (high - low) // step < MOST_TICKS)
    first = -(-low // step) * step
    ticks = list(range(first, high + 1, step)) or [low]
    return alt.Axis(format=",d", values=ticks)


def groups_svg(groups: pl.DataFrame, bounds: list[float]) -> str:
    """Corpus perplexity of the largest groups, one line each."""
    sizes = groups.group_by("group").agg(pl.col("num_bytes").last())
    largest = sizes.sort("num_bytes", "group", descending=[True, False]).head(MOST_SERIES)
    names = largest["group"].to_list()
    labels = fit_labels(names)
    rows = _dated(groups.filter(pl.col("group").is_in(names))).with_columns(
        pl.col("group").replace_strict(labels)
    )
    scale = alt.Scale(domain=list(labels.values()), range=PALETTE)
    legend = alt.Legend(title=None, orient="top", columns=5)
    base = alt.Chart(rows.drop_nulls("corpus_perplexity")).encode(
        x=_night(rows["night"]),
        y=alt.Y(
            "corpus_perplexity:Q",
            scale=alt.Scale(type="log", nice=False),
            title="corpus perplexity (log scale)",
            axis=alt.Axis(tickCount=6, format="~s"),
        ),
        color=alt.Color("group:N", scale=scale, legend=legend),
    )
    dots = base.mark_point(filled=True)
    rules = _rules(bounds, rows["corpus_perplexity"])
    return to_svg(alt.LayerChart(layer=[base.mark_line(strokeWidth=2), dots, *rules]), HEIGHT)


def _dated(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop("reasons").with_columns(pl.col("night").dt.strftime("%Y-%m-%d"))


def _rules(bounds: list[float], values: pl.Series) -> list[alt.Chart]:
    """The bounds that are near; one far off would flatten everything else."""
    drawn = values.drop_nulls().to_list()
    near = [bound for bound in bounds if min(drawn) / NEAR <= bound <= max(drawn) * NEAR]
    if not near:
        return []
    rules = alt.Chart(pl.DataFrame({"bound": near}))
    return [rules.mark_rule(color=PALETTE[5], strokeDash=[6, 4]).encode(y="bound:Q")]


def _verdicts(what: str) -> alt.Scale:
    marks = {"range": [PALETTE[0], PALETTE[5]], "shape": ["circle", "cross"]}[what]
    return alt.Scale(domain=["pass", "fail"], range=marks)


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="top")
