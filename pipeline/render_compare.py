"""A comparison for people: terminal, Markdown and one HTML file.

Owns drawing the tables of comparison_tables.py and the charts of charts_compare.py, each escaped
for where it goes: names come from corpora and folders and are taken for hostile.
"""

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.comparison import Comparison
from pipeline.comparison_tables import Section, sections
from pipeline.escaping import plain
from pipeline.filesystem import open_root
from pipeline.render import markdown


def write_comparison(comparison: Comparison, folder: str) -> str:
    """Write comparison.json and .md; returns the location of the page."""
    root = open_root(folder)
    root.write_bytes("comparison.json", (comparison.model_dump_json(indent=1) + "\n").encode())
    root.write_bytes("comparison.md", to_markdown(comparison).encode())
    return f"{root.location}/comparison.md"


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The tables that fit, and what to know about them."""
    for section in sections(comparison):
        if section.on_terminal:
            console.print(Text(plain(section.title), style="bold"))
            if section.about:
                console.print(Text(plain(section.about), style="dim"))
            console.print(_table(section, console.width))
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
        show_header=any(section.columns),
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
    intervals = comparison.intervals
    lines.append(
        f"Intervals: {intervals.method}; {intervals.resamples:,} resamples, seed {intervals.seed}."
    )
    return "\n".join(lines) + "\n"
