"""A comparison for people: terminal, Markdown and one HTML file.

Owns drawing the tables of tables.py and the charts of charts.py, each escaped
for where it goes: names come from corpora and folders and are taken for hostile.
"""

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.comparisons.charts import changes_svg, distributions_svg, trend_svg
from pipeline.comparisons.comparison import Comparison
from pipeline.comparisons.sections import Section
from pipeline.comparisons.tables import (
    LABELS,
    TERMS,
    TITLES,
    cards,
    facts,
    figures_shown,
    sections,
)
from pipeline.errors import ConfigError, named
from pipeline.rendering.escaping import plain
from pipeline.rendering.page import Chart, render_page
from pipeline.rendering.terminal import print_table
from pipeline.reports.output import markdown
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
    for section in sections(comparison):
        if section.on_terminal:
            console.print(Text(plain(section.title), style="bold"))
            if section.about:
                console.print(Text(plain(section.about), style="dim"))
            print_table(_table(section, console.width), console)
            console.print()
    for note in comparison.notes:
        console.print(Text(plain(note), style="yellow"))


def _table(section: Section, width: int) -> Table:
    lines = [[plain(cell) for cell in line] for line in (section.columns, *section.rows)]
    widths = [max(map(cell_len, column)) + 1 for column in zip(*lines, strict=True)]
    every = tuple(range(len(section.columns)))
    shown = every if sum(widths) <= width else section.narrow or every
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for i in shown:
        words = i < section.text_columns
        table.add_column(
            Text(lines[0][i]),
            justify="left" if words else "right",
            overflow="fold",
            no_wrap=not words,
        )
    for line in lines[1:]:
        table.add_row(*(Text(line[i]) for i in shown))
    return table


def to_markdown(comparison: Comparison) -> str:
    """Tables for a comment or a commit."""
    lines = ["# Perplexity comparison", ""]
    lines += [f"> {markdown(note)}" for note in comparison.notes] + [""]
    for section in sections(comparison):
        lines += [f"## {markdown(section.title)}", ""]
        lines += [markdown(section.about), ""] if section.about else []
        numbers = len(section.columns) - section.text_columns
        lines.append("| " + " | ".join(markdown(name) for name in section.columns) + " |")
        lines.append("| --- " * section.text_columns + "| ---: " * numbers + "|")
        lines += ["| " + " | ".join(markdown(cell) for cell in row) + " |" for row in section.rows]
        lines.append("")
    lines += ["| provenance | |", "| --- | --- |"]
    lines += [f"| {markdown(name)} | {markdown(value)} |" for name, value in facts(comparison)]
    return "\n".join(lines) + "\n"


def to_html(comparison: Comparison) -> str:
    """One self-contained page: no script, no request, names escaped."""
    return render_page(
        "compare.html",
        comparison=comparison,
        title=TITLES[comparison.kind],
        cards=cards(comparison),
        sections=[(one, _charts(comparison, one)) for one in sections(comparison)],
        facts=facts(comparison),
        terms=TERMS,
    )


def _charts(comparison: Comparison, section: Section) -> list[Chart]:
    """What is drawn above a table."""
    drawn = {}
    if section.key == "runs":
        for figure in figures_shown(comparison):
            curves = {run.name: run.percentiles[figure] for run in comparison.runs}
            title = f"Distribution of {LABELS[figure]} over documents, by run"
            drawn[title] = distributions_svg(curves, figure)
    if section.key == "trend":
        figure = comparison.ranked_by
        title = f"{LABELS[figure]} from run to run, with 95% intervals"
        intervals = {run.name: run.intervals[figure] for run in comparison.runs}
        steps = [
            (step.run, step.value, intervals[step.run])
            for step in comparison.trend or ()
            if step.value is not None
        ]
        drawn[title] = trend_svg(steps, LABELS[figure])
    if sum(one.difference is not None for one in section.changes.values()) > 1:
        drawn[f"{section.title}: change in {section.unit}"] = changes_svg(
            section.changes, section.unit
        )
    return [Chart.of(title, svg) for title, svg in drawn.items()]
