"""One page, drawn nowhere yet: what it says, in which order, for terminal, Markdown and HTML.

Owns what a page is made of. Its texts are of unknown origin; none is escaped here. What each medium
leaves out: a terminal charts, documents and where the numbers come from; Markdown charts and cards;
HTML the sentences that cards say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.rendering.table import Table


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture and what it says, for those who do not see it."""

    title: str
    draw: Callable[[], str]
    """Makes the SVG with vl-convert, which escapes its text; called when the chart is shown."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A figure at the top of a page."""

    name: str
    value: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A document, or how it begins."""

    place: str
    """Why the document is shown: its quantile."""
    document: str
    """File and row of the document."""
    doc_id: str | None
    about: str
    """Scores of the document."""
    lines: Sequence[str]


Block = Table | Chart | Sequence[Excerpt] | str
"""A block of a page; a string is a paragraph."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is below it."""

    title: str
    blocks: Sequence[Block]
    on_terminal: bool = True

    @property
    def tables(self) -> list[Table]:
        """Those of its blocks that are tables."""
        return [block for block in self.blocks if isinstance(block, Table)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a person is shown of a report, a comparison, a night, ..."""

    title: str
    subtitle: str = ""
    cards: Sequence[Card] = ()
    summary: Sequence[str] = ()
    """Sentences with the figures of the cards, for formats without cards."""
    notes: Sequence[str] = ()
    """What a reader must know before believing the numbers."""
    sections: Sequence[Section]
    provenance: Table | None = None
    """Where the numbers come from; see `facts_table`."""
    terms: Sequence[tuple[str, str]] = field(default=())
    """Meanings of the columns."""


def section_of(table: Table, *charts: Chart, on_terminal: bool = True) -> Section:
    """A table below its own title, and what is drawn of it."""
    return Section(table.title, [*charts, table], on_terminal)
