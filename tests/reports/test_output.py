"""Reports for people: what a corpus brings along can break neither a page, a table nor a screen."""

import html
import io
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from pipeline.rendering.charts import MOST_SERIES, REST
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import number
from pipeline.reports import wording
from pipeline.reports.charts import histogram_svg, ranges_svg, small_multiples_svg
from pipeline.reports.coverage import Coverage
from pipeline.reports.curves import ecdf_svg, lengths_svg, thresholds_svg
from pipeline.reports.groups import Group
from pipeline.reports.output import print_report, to_markdown, write_report
from pipeline.reports.page import to_html
from pipeline.reports.report import Report
from pipeline.reports.wording import COLUMNS, NARROW
from pipeline.storage.filesystem import open_root
from tests.support.reports import (
    BANDS,
    CURVE,
    HOSTILE,
    NOT_XML,
    NOT_XML_SAFE,
    QUANTILES,
    XML_SAFE,
    ecdf,
    examples,
    figures,
    histogram,
    hostile_report,
    make_report,
    nothing_scored,
)

DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def controls(text: str) -> set[str]:
    """Characters that end a line, rewrite a terminal, or turn text around; newlines are ours."""
    return {
        character
        for character in set(text) - {"\n"}
        if unicodedata.category(character) in ("Cc", "Zl", "Zp") or character in DIRECTION
    }


def short(text: str) -> str:
    return ascii(text)[1:25] or "empty"


# --- HTML


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, and the text of row headers."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.row_headers: list[str] = []
        self.comments: list[str] = []
        self._in_header = False
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "th" and ("scope", "row") in attrs:
            self._in_header = True
            self.row_headers.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "th":
            self._in_header = False

    def handle_data(self, data: str) -> None:
        if self._in_header:
            self.row_headers[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@cache
def usual_page() -> str:
    return to_html(make_report())


def assert_harmless(content: str) -> Page:
    page, usual = Page(content), Page(usual_page())
    # Nothing is there that is not in the page of a harmless corpus: no element, no attribute.
    assert page.tags == usual.tags
    assert {name for _, name, _ in page.attributes} == {name for _, name, _ in usual.attributes}
    assert page.comments == []
    # What a browser shows as a box, an arrow or another order is not in the page at all.
    assert controls(content) == set()
    assert not NOT_XML.search(content)
    return page


@pytest.mark.parametrize("first", range(0, len(XML_SAFE), 8))
def test_a_page_takes_nothing_from_a_corpus_but_text(first):
    texts = XML_SAFE[first : first + 8]
    report = make_report([*texts, "web"], by=texts[0], text=texts[-1])
    report.coverage.errors = dict.fromkeys(texts, 1)
    report.examples = [one for text in texts for one in examples(text)]
    page = assert_harmless(to_html(report))
    assert page.row_headers[2 : 4 + len(texts)] == [*map(plain, texts), "web", "all"]
    for text in texts:
        assert f"reason: {plain(text)}" in page.row_headers


def test_names_that_are_not_xml_make_a_page_too():
    """In a process of its own: an abort of the drawing library would take the tests along."""
    report = make_report(NOT_XML_SAFE, by="\x00by", text=NOT_XML_SAFE[0])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        content = process.submit(to_html, report).result()
    page = assert_harmless(content)
    assert page.row_headers[2 : 2 + len(NOT_XML_SAFE)] == [plain(text) for text in NOT_XML_SAFE]


def test_a_page_runs_nothing_and_asks_for_nothing():
    page = Page(usual_page())
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "form", "base", "a"}
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "xlink:href", "action", "srcset", "style")
        assert "url(" not in (value or "")
    policies = [
        value
        for tag, name, value in page.attributes
        if (tag, name) == ("meta", "content") and "default-src" in (value or "")
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert ("meta", "http-equiv", "Content-Security-Policy") in page.attributes


def test_a_page_has_the_charts_and_the_figures():
    content = usual_page()
    # Histogram, small multiples, ranges, cumulative; by length; kept.
    assert content.count("<svg") == 6
    for cell in ("1,234", "56,789", "12.3", "23.5", "0.987", "1,234 tokens and 12.5 documents"):
        assert cell in content


def test_every_section_is_there_and_distributions_stand_before_what_is_made_of_them():
    report = make_report(["web"], text="noise")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", to_html(report))
    shown = [html.unescape(heading) for heading in headings]
    labels = "How well scores find labels of noise"
    order = [
        "Requirements",
        "By source",
        "What this score sorts by",
        "Distributions",
        labels,
        "What keeping perplexity <= 55.0853 would remove",
        "What a threshold keeps",
        "Exact duplicates",
        "Documents at the quantiles",
        "What became of every row",
    ]
    assert shown[: len(order)] == order
    content = to_html(report)
    drawn = [found.start() for found in re.finditer("<svg", content)]
    # All of them but the last, which is what a threshold keeps.
    assert max(drawn[:-1]) < content.index(headings[shown.index(labels)]) < drawn[-1]


def test_a_page_of_a_run_in_which_nothing_was_scored():
    groups = {"source": [Group(value="web", figures=nothing_scored())]}
    report = make_report(
        overall=nothing_scored(),
        groups=groups,
        histograms=[],
        ecdfs=[],
        lengths=[],
        thresholds=[],
        examples=[],
        separation=None,
    )
    content = to_html(report)
    assert "No document has a score." in content
    assert "<svg" not in content
    assert ">nan<" not in content.lower()


# --- Markdown


def cells_of(row: str) -> list[str]:
    """The cells of a row, as a Markdown reader splits it: a pipe after a backslash is text."""
    assert row.startswith("| ")
    assert row.endswith("|")
    cells, current = [], ""
    characters = iter(row[1:])
    for character in characters:
        if character == "\\":
            current += character + next(characters)
        elif character == "|":
            cells.append(current)
            current = ""
        else:
            current += character
    return cells


def unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell)


@pytest.mark.parametrize("text", HOSTILE, ids=short)
def test_markdown_cells_stay_in_their_row(text):
    content = to_markdown(hostile_report(text))
    usual = to_markdown(make_report(["name", "web"]))
    # As many lines as for a harmless name, each of the same kind and width.
    lines, usual_lines = content.split("\n"), usual.split("\n")
    assert len(lines) == len(usual_lines)
    for line, like in zip(lines, usual_lines, strict=True):
        assert line[:1] == like[:1]
        if line.startswith("|"):
            assert len(cells_of(line)) == len(cells_of(like))
    at = next(i for i, line in enumerate(lines) if "| documents | scored |" in line)
    header, row = lines[at], lines[at + 2]
    for cells in (cells_of(header), cells_of(row)):
        assert unescaped(cells[0]).strip() == plain(text).strip()
        assert len(cells) == 1 + len(COLUMNS)
    assert controls(content) == set()


@pytest.mark.parametrize("text", HOSTILE, ids=short)
def test_markdown_takes_no_markup_from_a_corpus(text):
    content = to_markdown(hostile_report(text))
    for mark in "<>`[]*_#":
        for place in re.finditer(re.escape(mark), content):
            before = content[: place.start()]
            is_ours = set(before.rpartition("\n")[2]) <= {"#"} and mark in "#>"
            escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
            assert is_ours or escaped, content[place.start() - 20 : place.start() + 20]


# --- terminal


def printed(report: Report, width: int = 80, **settings: Any) -> str:
    screen = Console(file=io.StringIO(), width=width, **settings)
    print_report(report, screen)
    return screen.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE, ids=short)
def test_the_terminal_gets_no_control_character_and_no_line_too_long(text):
    out = printed(hostile_report(text))
    assert controls(out) == set()
    for line in out.split("\n"):
        assert cell_len(line) <= 80


def test_a_terminal_of_colours_gets_only_ours():
    out = printed(hostile_report("\x1b[31mred\x1b]0;title\x07"), force_terminal=True)
    # Bold and the colours of verdicts and notes; nothing that sets a title, moves or clears.
    ours = {"\x1b[1m", "\x1b[0m", "\x1b[33m", "\x1b[32m", "\x1b[1;31m"}
    assert set(re.findall(r"\x1b[^m]*m?", out)) <= ours
    assert "\x07" not in out


@pytest.mark.parametrize("text", ["[bold red]markup[/bold red]", "[/bold red]", "[link=x]a[/link]"])
def test_brackets_are_not_styles(text):
    lines = printed(hostile_report(text), width=400).split("\n")
    at = next(i for i, line in enumerate(lines) if " documents " in line)
    assert lines[at].startswith(text)
    assert lines[at + 1].startswith(text)


def test_the_terminal_has_the_figures_named():
    out = printed(make_report(), width=80)
    assert ["source", *" ".join(NARROW).split()] in [line.split() for line in out.split("\n")]
    wide = " ".join(("source", *(name for name, _ in COLUMNS)))
    assert wide in [" ".join(line.split()) for line in printed(make_report(), 200).split("\n")]
    out = " ".join(out.split())
    assert "Corpus perplexity 12.3 weighted by tokens, 23.5 weighted by documents" in out
    assert "0.987 bits per byte" in out
    assert "Engines idle: 6.2% of the time between their first and last step." in out


def test_every_page_says_how_idle_the_engines_were_and_what_was_scored_once():
    report = make_report()
    for page in (to_markdown(report), to_html(report)):
        assert "6.2% of the time between their first and last step" in page
        assert "37.5% of peak floating point" in page
        assert "3 documents took the score of an equal text" in page
    unknown = report.provenance.model_copy(
        update={"engine_idle_share": None, "mfu": None, "num_rows_copied": None}
    )
    older = report.model_copy(update={"provenance": unknown})
    assert "Engines idle" not in printed(older)
    assert "MFU" in printed(report)
    assert "MFU" not in printed(older)
    assert "| MFU | not measured |" in to_markdown(older)
    assert "| engines idle | not measured |" in to_markdown(older)


# --- what a reader must know


def test_notes_say_what_is_missing():
    coverage = Coverage(
        num_rows_planned=100,
        num_shards=7,
        num_shards_done=2,
        statuses={"ok": 10, "truncated": 5, "null": 1200, "skipped": 3},
        errors={},
        unreadable_files={"a.parquet": "0 bytes"},
        given_up=[],
    )
    report = make_report(complete=False, coverage=coverage)
    wanted = (
        "This run is not complete: 2 of 7 shards are in these figures.",
        "Not read: a.parquet: 0 bytes",
        "Documents without a score: 1,200 null, 3 skipped.",
    )
    for out in (printed(report), to_html(report), to_markdown(report).replace("\\", "")):
        for note in wanted:
            assert note in out


def test_a_run_without_faults_has_no_notes():
    coverage = make_report().coverage.model_copy(
        update={"statuses": {"ok": 5}, "unreadable_files": {}}
    )
    report = make_report(coverage=coverage)
    for out in (printed(report), to_html(report), to_markdown(report)):
        assert "Not read" not in out
        assert "without a score" not in out
        assert "not complete" not in out


def test_the_reports_are_written_into_the_run(tmp_path):
    report = hostile_report("[link](javascript:x)")
    where = write_report(report, open_root(str(tmp_path)))
    assert where == f"{tmp_path}/report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]
    assert Report.model_validate(json.loads((tmp_path / "report.json").read_text())) == report
    assert (tmp_path / "report.html").read_text() == to_html(report)
    assert (tmp_path / "report.md").read_text() == to_markdown(report)


# --- numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.000123456, "0.000123"),
        (0.98765, "0.988"),
        (1.0, "1"),
        (12.345, "12.3"),
        (99.94, "99.9"),
        (99.96, "100"),
        (100.4, "100"),
        (1234.5678, "1,235"),
        (9_999_999.0, "9,999,999"),
        (12_345_678.0, "1.23e+07"),
        (1.5e300, "1.50e+300"),
        (-12.345, "-12.3"),
        (-1234.5, "-1,234"),
        (7, "7"),
    ],
    ids=str,
)
def test_numbers(value, text):
    assert number(value) == text


# --- charts


def bars(svg: str) -> Iterator[tuple[str, float, float]]:
    """(series, top, height) of every bar of a histogram, in pixels."""
    for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        if "mark-rect" in group.get("class", ""):
            for path in group:
                shape = re.fullmatch(
                    r"M([\d.]+),([\d.]+)h([\d.]+)v([\d.]+)h-([\d.]+)Z", path.get("d")
                )
                series = path.get("aria-label").rpartition("series: ")[2]
                yield series, float(shape[2]), float(shape[4])


def pixels_a_document(svg: str) -> float:
    """From the axis, whose ends are the ends of the plot."""
    top = re.search(
        r"titled 'documents' for a linear scale with values from [0.]+ to ([\d,.]+)", svg
    )
    (height,) = re.findall(r'class="background" aria-hidden="true" d="M0,0h720v(\d+)h-720Z"', svg)
    return float(height) / float(top[1].replace(",", ""))


@pytest.mark.parametrize(
    "documents",
    [
        {"all": [3, 0, 1]},
        {"a": [3, 0, 1, 0], "b": [2, 5, 0, 0], "c": [0, 0, 0, 7]},
        {f"s{i:02}": [i, 1, 30 - i] for i in range(MOST_SERIES)},
        {f"s{i:02}": [i, 1, 30 - i] for i in range(3 * MOST_SERIES)},
        {REST: [50, 50, 50]} | {f"s{i:02}": [i, 1, 30 - i] for i in range(3 * MOST_SERIES)},
    ],
    ids=["one series", "three", "as many as have colours", "many", "one called like the rest"],
)
def test_stacked_heights_add_up_to_the_documents(documents):
    svg = histogram_svg(histogram(documents))
    scale = pixels_a_document(svg)
    heights = [height for _, _, height in bars(svg)]
    assert sum(heights) / scale == pytest.approx(sum(map(sum, documents.values())))
    assert len({series for series, _, _ in bars(svg)}) <= MOST_SERIES


def test_every_series_has_the_height_of_its_documents():
    documents = {"a": [3, 0, 1], "b": [2, 5, 0]}
    svg = histogram_svg(histogram(documents))
    scale = pixels_a_document(svg)
    for name, counts in documents.items():
        heights = [height / scale for series, _, height in bars(svg) if series == name]
        assert heights == pytest.approx([count for count in counts if count])


def test_bars_stand_on_each_other():
    svg = histogram_svg(histogram({"a": [3], "b": [2], "c": [4]}))
    spans = sorted((top, top + height) for _, top, height in bars(svg))
    for (_, bottom), (top, _) in pairwise(spans):
        assert bottom == pytest.approx(top)


def test_the_largest_series_are_shown_and_the_rest_added_up():
    documents = {f"s{i:02}": [i + 1] for i in range(20)}
    svg = histogram_svg(histogram(documents))
    heights = {series: height / pixels_a_document(svg) for series, _, height in bars(svg)}
    shown = {f"s{i:02}": i + 1 for i in range(11, 20)}
    assert heights == pytest.approx(shown | {REST: sum(range(1, 12))})


@pytest.mark.parametrize("text", XML_SAFE, ids=short)
def test_a_chart_is_whole_xml_whatever_its_names_are(text):
    groups = [Group(value=text, figures=figures()), Group(value="web", figures=figures())]
    for svg in (
        histogram_svg(histogram({text: [1, 2], "web": [3, 4]}, by=text)),
        small_multiples_svg(histogram({text: [1, 2], "web": [3, 4]}, by=text)),
        ranges_svg(groups, "perplexity"),
        ecdf_svg(ecdf([text, "web"], text)),
    ):
        tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()}
        assert tags <= {"svg", "g", "path", "line", "text", "rect", "defs", "clipPath"}


def test_curves_are_whole_xml():
    for svg in (thresholds_svg(CURVE), lengths_svg(BANDS), lengths_svg(BANDS[1:])):
        assert ET.fromstring(svg).tag.endswith("svg")
        assert "NaN" not in svg


def test_a_range_for_every_group_that_has_scores():
    groups = [
        Group(value="web", figures=figures()),
        Group(value="none", figures=nothing_scored()),
        Group(value="books", figures=figures()),
    ]
    svg = ranges_svg(groups, "bits_per_byte")
    points = re.findall(r'aria-label="[^"]*group: (\w+)" role="graphics-symbol" aria-rol', svg)
    assert points == ["web", "books"]


def test_a_quantile_of_zero_does_not_spoil_the_chart():
    """Text that a model knows by heart has 0 bits per byte, of which there is no logarithm."""
    quantiles = {"bits_per_byte": QUANTILES | {"p1": 0.0, "p5": 0.0}, "perplexity": QUANTILES}
    groups = [
        Group(value="known", figures=figures(quantiles=quantiles)),
        Group(value="web", figures=figures()),
    ]
    assert "NaN" not in ranges_svg(groups, "bits_per_byte")


ESTIMATES = {
    "both": (50_000, 56_789, "estimated 50,000, scored 56,789 (+13.6%)"),
    "too many": (50_000, 40_000, "estimated 50,000, scored 40,000 (-20.0%)"),
    "not finished": (50_000, None, "estimated 50,000"),
    "an older run": (None, 40_000, "not estimated"),
    "nothing": (0, 0, "estimated 0, scored 0"),
}


@pytest.mark.parametrize(("estimated", "scored", "words"), ESTIMATES.values(), ids=ESTIMATES)
def test_the_estimate_against_what_was_scored(estimated, scored, words):
    report = make_report()
    found = {"estimated_tokens": estimated, "scored_tokens": scored}
    report = report.model_copy(update={"provenance": report.provenance.model_copy(update=found)})
    assert dict(wording.facts(report))["tokens"] == words
    assert words in html.unescape(to_html(report))
    assert words in re.sub(r"\\(.)", r"\1", to_markdown(report))


def test_markdown_begins_with_the_headline_figures():
    page = to_markdown(make_report())
    assert page.index("Corpus perplexity 12") < page.index("\n## ")
