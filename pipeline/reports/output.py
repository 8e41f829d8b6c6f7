"""A report for people: terminal and Markdown, and the files of a run.

Owns escaping for both. Names and texts come from corpora and are taken for hostile. The page is
page.py's, the words are wording.py's.
"""

import re

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import number
from pipeline.rendering.terminal import print_table
from pipeline.reports import tables, wording
from pipeline.reports.page import to_html
from pipeline.reports.report import Report
from pipeline.runs.store import RunStore
from pipeline.verification.verify import Verification

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


def write_report(report: Report, store: RunStore) -> str:
    """Write report.html, .json and .md into the run; returns the location of the page."""
    store.root.write_bytes("report.json", (report.model_dump_json(indent=1) + "\n").encode())
    store.root.write_bytes("report.md", to_markdown(report).encode())
    store.root.write_bytes("report.html", to_html(report).encode())
    return store.root.show("report.html")


def print_report(report: Report, console: Console) -> None:
    """The tables by group, and what to know about them; 80 columns wide."""
    for table in tables.by_group(report):
        names = list(table.columns)
        shown = [0, *(names.index(name) for name in wording.TERMINAL_COLUMNS)]
        _print_table(table, console, shown)
    if report.sample is None:
        console.print(Text(wording.headline(report.overall)))
    console.print(Text(wording.copies(report)))
    if report.provenance.engine_idle_share is not None:
        console.print(Text(f"Engines idle: {wording.idle(report.provenance.engine_idle_share)}."))
    for table in (*tables.separation(report), *tables.requirements(report)):
        console.print()
        console.print(Text(plain(table.title), style="bold"))
        console.print(Text(plain(table.caption)))
        _print_table(table, console, list(range(len(table.columns))))
    for note in wording.notes(report):
        console.print(Text(note, style="yellow"))


def _print_table(table: tables.Table, console: Console, shown: list[int]) -> None:
    drawn = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for at in shown:
        is_text = at == 0 or table.columns[at] in tables.TEXT_COLUMNS
        drawn.add_column(
            Text(plain(table.columns[at])),
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
        )
    for position, row in enumerate(table.rows):
        is_sum = table.sums_up and position == len(table.rows) - 1
        drawn.add_row(*(Text(plain(row[at])) for at in shown), style="bold" if is_sum else None)
    print_table(drawn, console)
    console.print()


def print_verification(verification: Verification, console: Console) -> None:
    """One line a check, then the sampled documents that are furthest off."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in verification.checks:
        mark = Text("ok", style="green") if check.passed else Text("FAILED", style="bold red")
        table.add_row(Text(check.name), mark, Text(plain(check.detail)))
    print_table(table, console)
    truth = verification.truth
    if truth is None:
        return
    console.print(
        Text(
            f"\nPerplexity of the sample: {truth.corpus_perplexity:.6g}, by the reference "
            f"{truth.reference_corpus_perplexity:.6g}; of a document off by "
            f"{truth.largest_perplexity_error:.2e} at most, "
            f"{truth.mean_perplexity_error:.2e} on average. Furthest off:"
        )
    )
    worst = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("document", "tokens", "nll", "reference", "error"):
        is_text = name == "document"
        worst.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text)
    for one in truth.worst:
        figures = [f"{one.num_tokens:,}", f"{one.nll:.4f}", f"{one.reference_nll:.4f}"]
        where = f"{plain(one.file)} row {one.row}"
        worst.add_row(*(Text(cell) for cell in [where, *figures, f"{one.nll_error:.2e}"]))
    print_table(worst, console)


def to_markdown(report: Report) -> str:
    """Tables for a comment or a commit."""
    lines = ["# Perplexity report", ""]
    lines += [f"> {markdown(note)}" for note in wording.notes(report)] + [""]
    if report.sample is None:
        lines += [
            markdown(wording.headline(report.overall)),
            "",
            markdown(wording.copies(report)),
            "",
        ]
    for table in [
        *tables.by_group(report),
        *tables.requirements(report),
        *tables.separation(report),
        *tables.thresholds(report),
        *tables.duplicates(report),
        *tables.outcomes(report),
        *_examples(report),
    ]:
        lines += [f"## {markdown(table.title)}", ""]
        lines += [markdown(table.caption), ""] if table.caption else []
        lines.append("| " + " | ".join(map(markdown, table.columns)) + " |")
        lines.append("| --- " + "| ---: " * (len(table.columns) - 1) + "|")
        lines += ["| " + " | ".join(map(markdown, row)) + " |" for row in table.rows]
        lines.append("")
    lines += ["## Where the numbers come from", "", "| provenance | |", "| --- | --- |"]
    lines += [f"| {name} | {markdown(value)} |" for name, value in wording.facts(report)]
    return "\n".join(lines) + "\n"


def _examples(report: Report) -> list[tables.Table]:
    rows = [
        (
            one.place,
            f"{one.file} row {one.row}",
            number(one.perplexity),
            " ".join(" ".join(wording.excerpt_lines(one)).split()),
        )
        for one in report.examples
    ]
    columns = ("place", "document", "perplexity", "begins")
    return (
        [tables.Table(f"Documents at the quantiles{wording.of_rows(report)}", "", columns, rows)]
        if rows
        else []
    )


def markdown(text: str) -> str:
    """Text of unknown origin for a cell or a line of Markdown."""
    return MARKDOWN.sub(r"\\\1", plain(text)) or " "
