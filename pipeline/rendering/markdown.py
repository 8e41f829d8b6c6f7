"""Tables and pages as Markdown, for a comment or a commit.

Owns escaping for it: text of unknown origin stays in its cell and is no markup.
"""

import re
from collections.abc import Sequence

from pipeline.rendering.escaping import plain
from pipeline.rendering.page import Chart, Excerpt, Page
from pipeline.rendering.table import Table, Words

MARKS = re.compile(r"([\\`*\[\]<>#|~$&]|(?<!\w)_|_(?!\w))")
"""What is markup wherever it stands; an underscore within a word is none."""
BEGINNING = re.compile(r"^(\s*[0-9]*)([.)+-])(?=[\s-]|$)")
"""What else is markup where a line begins: lists and rules."""


def escaped(text: str) -> str:
    """A cell, or what else does not begin a line."""
    return MARKS.sub(r"\\\1", plain(text)) or " "


def _line(text: str) -> str:
    return BEGINNING.sub(r"\1\\\2", escaped(text))


def to_markdown(page: Page) -> str:
    """The whole page but for its charts, and the cards that its summary says."""
    lines = [f"# {escaped(page.title)}", ""]
    if page.notes:
        lines += [*(f"> {_line(note)}" for note in page.notes), ""]
    for sentence in page.summary:
        lines += [_line(sentence), ""]
    for section in page.sections:
        shown = [block for block in section.blocks if not isinstance(block, Chart)]
        if shown and section.title:
            lines += [f"## {escaped(section.title)}", ""]
        for block in shown:
            if isinstance(block, str):
                lines += [_line(block), ""]
            else:
                table = block if isinstance(block, Table) else _excerpts(block)
                lines += _below(table, section.title)
    if page.provenance is not None:
        lines += ["## Where the numbers come from", "", *_below(page.provenance, "")]
    return "\n".join(lines)


def _below(table: Table, heading: str) -> list[str]:
    """A table and what it is called."""
    lines = [_line(name), ""] if (name := table.named(heading)) else []
    numbers = [table.is_number(at) for at in range(len(table.columns))]
    lines.append(_row(table.columns))
    lines.append("".join("| ---: " if number else "| --- " for number in numbers) + "|")
    return [*lines, *map(_row, table.rows), ""]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _excerpts(excerpts: Sequence[Excerpt]) -> Table:
    return Table(
        columns=("place", Words("document"), Words("scores"), Words("begins")),
        rows=[
            (one.place, one.document, one.about, " ".join(" ".join(one.lines).split()))
            for one in excerpts
        ],
    )
