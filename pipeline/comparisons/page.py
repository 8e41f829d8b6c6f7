"""A comparison for people: what a page of it says and in which order, and its files.

Names come from corpora and folders and are taken for hostile; rendering/ escapes them.
"""

from functools import partial

from rich.console import Console

from pipeline.comparisons.charts import changes_svg, distributions_svg, trend_svg
from pipeline.comparisons.comparison import Comparison
from pipeline.comparisons.sections import Compared
from pipeline.comparisons.tables import (
    LABELS,
    TERMS,
    TITLES,
    cards,
    facts,
    sections,
)
from pipeline.errors import ConfigError, named
from pipeline.rendering import html, markdown
from pipeline.rendering.page import Chart, Page, section_of
from pipeline.rendering.table import facts_table
from pipeline.rendering.terminal import print_page
from pipeline.storage.filesystem import open_root


def write_comparison(comparison: Comparison, folder: str) -> str:
    """Write comparison.html, .json and .md; returns the location of the page."""
    root = open_root(folder)
    if root.is_file():
        raise ConfigError(f"{named('out')} {folder} is a file, not a folder")
    contents = {
        "json": comparison.model_dump_json(indent=1) + "\n",
        "md": to_markdown(comparison),
        "html": to_html(comparison),
    }
    for ending, content in contents.items():
        root.write_bytes(f"comparison.{ending}", content.encode())
    return f"{root.location}/comparison.html"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The tables that fit, and what to know about them."""
    print_page(to_page(comparison), console)


def to_markdown(comparison: Comparison) -> str:
    """Tables for a comment or a commit."""
    return markdown.to_markdown(to_page(comparison))


def to_html(comparison: Comparison) -> str:
    """One self-contained page."""
    return html.to_html(to_page(comparison))


def to_page(comparison: Comparison) -> Page:
    """The page."""
    names = ", ".join(run.name for run in comparison.runs)
    return Page(
        title="Perplexity comparison",
        subtitle=f"{TITLES[comparison.kind]}: {names}",
        cards=cards(comparison),
        notes=comparison.notes,
        sections=[
            section_of(one, *_charts(comparison, one), on_terminal=one.on_terminal)
            for one in sections(comparison)
        ],
        provenance=facts_table(facts(comparison), name="provenance", caption="What is compared"),
        terms=TERMS,
    )


def _charts(comparison: Comparison, section: Compared) -> list[Chart]:
    """What is drawn above a table."""
    drawn: list[Chart] = []
    if section.key == "runs":
        for figure in comparison.runs[0].percentiles:
            curves = {run.name: run.percentiles[figure] for run in comparison.runs}
            title = f"Distribution of {LABELS[figure]} over documents, by run"
            drawn.append(Chart(title, partial(distributions_svg, curves, figure)))
    if section.key == "trend":
        figure = comparison.ranked_by
        title = f"{LABELS[figure]} from run to run, with 95% intervals"
        intervals = {run.name: run.intervals[figure] for run in comparison.runs}
        steps = [
            (step.run, step.value, intervals[step.run])
            for step in comparison.trend or ()
            if step.value is not None
        ]
        drawn.append(Chart(title, partial(trend_svg, steps, LABELS[figure])))
    if sum(one.difference is not None for one in section.changes.values()) > 1:
        title = f"{section.title}: change in {section.unit}"
        drawn.append(Chart(title, partial(changes_svg, section.changes, section.unit)))
    return drawn
