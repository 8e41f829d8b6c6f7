"""Comparisons for people: every output whole, and none that takes orders from a name."""

import io
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from pipeline.comparisons.charts import changes_svg, distributions_svg, trend_svg
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.comparison import Change, Comparison
from pipeline.comparisons.page import print_comparison, to_html, to_markdown, write_comparison
from pipeline.comparisons.tables import sections
from pipeline.errors import ConfigError
from pipeline.rendering.escaping import plain
from pipeline.statistics.bootstrap import Interval
from tests.reports.test_output import HOSTILE, NOT_XML, XML_SAFE, Page, cells_of, controls, short
from tests.support.made_runs import row, write_run

NAME = "HarmlessName"


def rows(factor: float, moved: bool = False) -> list[dict[str, Any]]:
    return [
        row(10, factor * (10 + i) + (i % 3 if moved else 0), 40, source=source, doc_id=NAME)
        for i, source in enumerate([NAME, "web", "books"] * 4)
    ]


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Comparison:
    """Nights of a corpus, with the name in every place that a name can be."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {"corpus": f"/{NAME}", "model": NAME}
    stores = [
        write_run(folder / NAME, {NAME: rows(1.0)}, **settings),
        write_run(
            folder / "tonight", {NAME: rows(1.0, moved=True)}, versions={NAME: 9}, **settings
        ),
        write_run(folder / "third", {NAME: rows(1.1), "b": rows(1.0)}, **settings),
    ]
    found = compare_runs(stores, by=("source",), resamples=100)
    return found.model_copy(update={"notes": [f"About {NAME}."]})


@pytest.fixture(scope="module")
def matrix(tmp_path_factory) -> Comparison:
    folder = tmp_path_factory.mktemp("matrix")
    stores = [
        write_run(folder / f"{m}{d}", {d: rows(0.5 + i)}, corpus=f"/{d}", model=m, weights=m * 64)
        for i, (m, d) in enumerate([("a", "x"), ("a", "y"), ("b", "x")])
    ]
    return compare_runs(stores, resamples=100)


def named(comparison: Comparison, text: str) -> Comparison:
    """The comparison with another name in every place."""

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(NAME, text)
        if isinstance(value, list):
            return [replaced(one) for one in value]
        if isinstance(value, dict):
            return {replaced(key): replaced(one) for key, one in value.items()}
        return value

    by = replaced(comparison.model_dump())
    for held in (*by["runs"], *by["shifts"]):
        held["groups"] = {text: held["groups"]["source"]}
    return Comparison.model_validate(by)


def printed(comparison: Comparison, width: int = 80, **settings: Any) -> str:
    screen = Console(file=io.StringIO(), width=width, **settings)
    print_comparison(comparison, screen)
    return screen.file.getvalue()


# --- hostile names


@pytest.mark.parametrize("text", XML_SAFE, ids=short)
def test_a_page_takes_nothing_from_a_name_but_text(harmless, text):
    content = to_html(named(harmless, text))
    page, usual = Page(content), Page(to_html(named(harmless, "name")))
    assert page.tags == usual.tags
    assert {name for _, name, _ in page.attributes} == {name for _, name, _ in usual.attributes}
    assert page.comments == []
    assert controls(content) == set()
    assert not NOT_XML.search(content)
    assert plain(text).strip() in {header.strip() for header in page.row_headers} | {""}


@pytest.mark.parametrize("text", HOSTILE, ids=short)
def test_markdown_cells_stay_in_their_row(harmless, text):
    content = to_markdown(named(harmless, text))
    lines, usual = (c.split("\n") for c in (content, to_markdown(named(harmless, "name"))))
    assert len(lines) == len(usual)
    for line, like in zip(lines, usual, strict=True):
        assert line[:1] == like[:1]
        if line.startswith("|"):
            assert len(cells_of(line)) == len(cells_of(like))
    assert controls(content) == set()


@pytest.mark.parametrize("text", HOSTILE, ids=short)
def test_the_terminal_gets_no_control_character_and_no_line_too_long(harmless, text):
    out = printed(named(harmless, text))
    assert controls(out) == set()
    assert all(cell_len(line) <= 80 for line in out.split("\n"))


def test_a_terminal_of_colours_gets_only_ours(harmless):
    out = printed(named(harmless, "\x1b[31mred\x1b]0;title\x07"), force_terminal=True)
    assert set(re.findall(r"\x1b[^m]*m?", out)) <= {"\x1b[1m", "\x1b[2m", "\x1b[0m", "\x1b[33m"}
    assert "\x07" not in out


def test_brackets_are_not_styles(harmless):
    out = printed(named(harmless, "[bold red]x[/bold red][/y]"), width=400)
    assert "[bold red]x[/bold red][/y]" in out


# --- what is shown


def test_a_page_runs_nothing_and_asks_for_nothing(harmless):
    page = Page(to_html(harmless))
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "form", "base", "a"}
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "xlink:href", "action", "srcset", "style")
        assert "url(" not in (value or "")
    policy = ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert policy in page.attributes


def test_a_page_has_a_chart_for_each_question(harmless, matrix):
    """Two distributions, the trend, the shifts, and the groups of both later nights."""
    assert to_html(harmless).count("<svg") == 2 + 1 + 1 + 2
    assert to_html(matrix).count("<svg") == 2 + 1
    for content in (to_html(harmless), to_html(matrix)):
        assert ">nan<" not in content.lower()
        assert content.count('role="img" aria-label="') == content.count("<figure")


def test_every_output_has_the_same_figures(harmless):
    change = harmless.shifts[1].overall.changes["perplexity"]
    shown = next(section for section in sections(harmless) if section.key == "shift")
    row_ = next(r for r in shown.rows if r[:2] == ("third", "perplexity"))
    assert float(row_[2]) == pytest.approx(change.difference, abs=0.05)
    for content in (to_html(harmless), to_markdown(harmless).replace("\\", ""), printed(harmless)):
        assert row_[2] in content
        assert f"About {NAME}." in content


def test_sections_are_those_of_the_question(harmless, matrix):
    keys = [section.key for section in sections(harmless)]
    assert keys.count("trend") == 1
    assert keys.count("files") == keys.count("pairs") == 1
    assert keys.count("moved") == 2
    assert keys.count("groups") == keys.count("quantiles") == 2
    assert "matrix" not in keys
    shown = {section.key: section for section in sections(matrix)}
    assert "trend" not in shown
    assert shown["matrix"].columns == ("model", "x", "y")
    (first, *cells), (second, *others) = shown["matrix"].rows
    assert (first, second) == ("a", "b")
    # The lowest of a dataset is marked where there is more than one; a hole is a dash.
    assert [cell.startswith("•") for cell in cells + others] == [True, False, False, False]
    assert others[1] == "-"
    assert {r[0] for r in shown["shift"].rows} == {"ay against ax", "bx against ax"}


def test_a_table_has_as_many_cells_as_columns(harmless, matrix):
    for section in [*sections(harmless), *sections(matrix)]:
        assert {len(r) for r in section.rows} == {len(section.columns)}
        assert max(section.narrow or [0]) < len(section.columns)


def test_a_wide_terminal_shows_every_column(harmless):
    assert "by chance" in printed(harmless, width=200)
    assert "by chance" not in printed(harmless, width=80)


def test_what_is_written(harmless, tmp_path):
    page = write_comparison(harmless, str(tmp_path / "new"))
    assert page == f"{tmp_path}/new/comparison.html"
    files = {file.suffix: file.read_text() for file in (tmp_path / "new").iterdir()}
    assert files[".html"] == to_html(harmless)
    assert files[".md"] == to_markdown(harmless)
    assert Comparison.model_validate(json.loads(files[".json"])) == harmless


def test_a_file_is_no_folder(harmless, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        write_comparison(harmless, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


# --- charts


def change(difference: float | None, around: tuple[float, float] | None = None) -> Change:
    interval = Interval(low=around[0], high=around[1]) if around else None
    return Change(
        baseline=1.0, value=2.0, difference=difference, relative=difference, interval=interval
    )


@pytest.mark.parametrize("text", XML_SAFE, ids=short)
def test_a_chart_is_whole_xml_whatever_its_names_are(text):
    curve = [float(i) for i in range(101)]
    for svg in (
        distributions_svg({text: curve, "web": curve}, "bits_per_byte"),
        changes_svg({text: change(0.5, (0.2, 0.7)), "web": change(-0.5)}, "bits/byte"),
        trend_svg([(text, 1.0, None), ("web", 2.0, Interval(low=1.5, high=3.0))], "perplexity"),
    ):
        tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()}
        assert tags <= {"svg", "g", "path", "line", "text", "rect", "defs", "clipPath"}
        assert "NaN" not in svg


def test_only_known_changes_are_drawn():
    svg = changes_svg({"a": change(0.5, (0.2, 0.7)), "b": change(None), "c": change(0.1)}, "x")
    assert set(re.findall(r"change in x[^\"]*: [^;]*; name: (\w)", svg)) == {"a", "c"}
