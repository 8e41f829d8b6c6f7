"""One table, drawn nowhere yet: terminal.py, markdown.py and html.py each draw it in their way.

Owns what a table is made of. Its cells are text of unknown origin; none is escaped here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

Tone = Literal["good", "warning", "bad"]


class Words(str):
    """The name of a column of words: to the left, and folded where there is little room.

    The first column, which names the rows, is one; others are of numbers unless they say so.
    """


class Whole(str):
    """The name of a column of words that are never folded: ids, dates, commands' states."""


class Marked(str):
    """A cell that is coloured by what it says, or leads to another page."""

    tone: Tone | None
    link: str | None

    def __new__(cls, text: str, tone: Tone | None = None, link: str | None = None) -> Self:
        marked = super().__new__(cls, text)
        marked.tone, marked.link = tone, link
        return marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as people see it."""

    title: str = ""
    caption: str = ""
    columns: tuple[str, ...]
    """Names, which may repeat: `Words`, `Whole`, or else columns of numbers."""
    rows: Sequence[Sequence[str]]
    """Rows of as many cells as columns; the first cell names the row."""
    has_header: bool = True
    """Whether the column names are shown; Markdown always shows them."""
    sums_up: bool = False
    """Whether the last row is a total."""
    narrow: tuple[int, ...] | None = None
    """Columns that are shown on a terminal too narrow for all; None shows all."""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.title

    def named(self, heading: str) -> str:
        """What it is called below a heading, which need not be said twice."""
        return ": ".join(one for one in (self.title, self.caption) if one not in ("", heading))

    def is_words(self, column: int) -> bool:
        """Whether cells may be folded."""
        return not isinstance(self.columns[column], Whole) and not self.is_number(column)

    def is_number(self, column: int) -> bool:
        """Whether cells stand to the right."""
        return column > 0 and not isinstance(self.columns[column], Words | Whole)


def facts_table(facts: Iterable[tuple[str, str]], *, name: str = "", caption: str = "") -> Table:
    """Names and values; `name` is what they are, where there has to be a header."""
    columns = (name, Words(""))
    return Table(caption=caption, columns=columns, rows=list(facts), has_header=False)
