"""One table in three media: whatever text is in a cell, it is there as text, and in its cell.

Markdown is read by markdown-it, HTML by html.parser: neither is ours.
"""

import io
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from pipeline.rendering.escaping import UNFIT, plain
from pipeline.rendering.html import to_html
from pipeline.rendering.markdown import to_markdown
from pipeline.rendering.page import Card, Excerpt, Page, Section
from pipeline.rendering.table import Marked, Table, Whole, Words, facts_table
from pipeline.rendering.terminal import print_page
from tests.support.reports import HOSTILE

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(HOSTILE),
    st.text("|\\`*_&<>[]$~#+-.()!=0a\n ", max_size=9),
)


def page_of(*texts: str) -> Page:
    """The texts in every place that a text can be."""
    first = texts[0]
    table = Table(
        title=first,
        caption=first,
        columns=("row", *map(Words, texts)),
        rows=[("row", *texts), (first, *map(Marked, texts))],
        sums_up=True,
    )
    shown = Excerpt(place=first, document=first, doc_id=first, about=first, lines=[first])
    return Page(
        title=first,
        subtitle=first,
        cards=[Card(first, first, first)],
        summary=[first],
        notes=[first],
        sections=[Section(first, [first, table, [shown]])],
        provenance=facts_table([(first, first)], name="provenance"),
        terms=[(first, first)],
    )


class Cells(HTMLParser):
    """The tables of a page, and its tags."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[str] = []
        self._in_cell = False
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data


@given(TEXTS, TEXTS)
@example("", " ")
def test_html_has_every_text_in_its_cell(one, other):
    found, usual = (Cells(to_html(page_of(*texts))) for texts in ((one, other), ("a", "b")))
    assert found.tags == usual.tags
    shown = [plain(one), plain(other)]
    assert found.tables[0] == [["row", *shown], ["row", *shown], [plain(one), *shown]]
    assert found.tables[1] == [[plain(one)] * 2]


def markdown_tables(content: str) -> list[list[list[str]]]:
    """Cells as a reader of Markdown sees them; markup in one would be no text."""
    tables: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(content):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and token.level >= 4:
            assert {one.type for one in token.children} <= {"text", "text_special"}
            tables[-1][-1].append("".join(one.content for one in token.children))
    return tables


@given(TEXTS, TEXTS)
@example("", " ")
@example("a\\", "|")
def test_markdown_has_every_text_in_its_cell(one, other):
    found = markdown_tables(to_markdown(page_of(one, other)))
    first, second = (plain(text).strip() for text in (one, other))
    assert found[0] == [["row", first, second]] * 2 + [[first, first, second]]
    assert found[1][1:] == [[first, first, first, plain(" ".join(one.split()))]]
    assert found[2] == [["provenance", ""], [first, first]]


@given(TEXTS, TEXTS, st.integers(20, 200))
def test_a_terminal_has_every_letter_and_no_command(one, other, width):
    out = io.StringIO()
    print_page(page_of(one, other), Console(file=out, width=width))
    assert not UNFIT.search(out.getvalue().replace("\n", ""))
    wide = io.StringIO()
    print_page(page_of(one, other), Console(file=wide, width=10_000))
    for text in (one, other):
        assert plain(text).strip() in wide.getvalue()


def test_a_table_has_as_many_cells_as_columns():
    with pytest.raises(AssertionError):
        Table(columns=("a", "b"), rows=[("1",)])


def test_kinds_of_columns():
    table = Table(columns=("name", Whole("id"), Words("what"), "count"), rows=[])
    assert [table.is_words(at) for at in range(4)] == [True, False, True, False]
    assert [table.is_number(at) for at in range(4)] == [False, False, False, True]


def test_a_cell_may_lead_to_another_page():
    table = Table(title="t", columns=("night",), rows=[(Marked("n", link="n/report.html"),)])
    content = to_html(Page(title="p", sections=[Section("t", [table])]))
    assert '<a href="n/report.html">n</a>' in content


def test_markdown_is_escaped_only_where_it_would_be_markup():
    """`print` shows it as it is: with figures and options to read."""
    plain_texts = ("88 (95% interval 75 to 105)", "2.12e+13", "-1.5%", "add --min num_tokens=20!")
    table = Table(columns=plain_texts, rows=[plain_texts])
    shown = to_markdown(Page(title="T", sections=[Section("S", [*plain_texts[:2], table])]))
    assert "\\" not in shown
    begun = to_markdown(Page(title="T", summary=["- a", "1. b", "# c", "_d_ e_f"], sections=[]))
    assert begun.splitlines()[2::2] == ["\\- a", "1\\. b", "\\# c", "\\_d\\_ e_f"]


@given(text=TEXTS)
@example(text="- a")
@example(text="1) a")
@example(text="---")
@example(text="+")
def test_a_line_of_markdown_is_a_line(text):
    shown = to_markdown(Page(title="T", summary=[text], sections=[]))
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(shown)
    kinds = [token.type for token in tokens[3:]]
    words = "".join(part.content for token in tokens[3:] for part in token.children or ())
    assert words == plain(text).strip()
    assert set(kinds) <= {"paragraph_open", "inline", "paragraph_close"}
