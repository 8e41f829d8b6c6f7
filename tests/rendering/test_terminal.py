"""pipeline/rendering/terminal.py: no figure loses a digit, however narrow the terminal is."""

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from jobs.console import screen
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.page import print_comparison
from pipeline.rendering.page import Page, Section
from pipeline.rendering.table import Marked, Table, Whole, Words
from pipeline.rendering.terminal import NARROWEST, print_page, print_table
from pipeline.reports.output import print_report
from tests.support.made_runs import row, write_run
from tests.support.reports import make_report


def drawn(table: Table, width: int, **settings) -> str:
    out = io.StringIO()
    print_table(table, Console(file=out, width=width, **settings))
    return out.getvalue()


def table_of(words: list[str], numbers: list[str]) -> Table:
    columns = ("words", *(f"n{index}" for index in range(len(numbers))))
    return Table(columns=columns, rows=[(word, *numbers) for word in words])


@given(
    st.lists(st.text("ab 日", min_size=1, max_size=60), min_size=1, max_size=3),
    st.lists(st.integers(0, 10**15).map("{:,}".format), min_size=1, max_size=8),
    st.integers(10, 120),
)
def test_every_number_is_whole(words, numbers, width):
    shown = drawn(table_of(words, numbers), width).split()
    for number in numbers:
        assert shown.count(number) >= len(words)


@given(
    st.lists(st.text("ab 日", min_size=1, max_size=60), min_size=1, max_size=3),
    st.lists(st.integers(0, 10**9).map("{:,}".format), min_size=1, max_size=30),
    st.integers(NARROWEST + 1 + 13, 120),
)
@example(["a" * 13], ["1,000,000,000"], NARROWEST + 1 + 13)
def test_a_table_with_too_many_columns_goes_on_below_itself(words, numbers, width):
    """Each band has the names of the rows, and none is wider than the terminal."""
    lines = drawn(table_of(words, numbers), width).split("\n")
    assert all(cell_len(line) <= width for line in lines)
    heads = [line.split() for line in lines if line.startswith("words")]
    assert [name for head in heads for name in head[1:]] == [f"n{i}" for i in range(len(numbers))]
    assert all(len(head) > 1 for head in heads)


def test_words_fold_before_anything_is_wider_than_the_terminal():
    shown = drawn(table_of(["word" * 20], ["1,234,567"]), 40)
    assert max(map(len, shown.splitlines())) <= 40
    letters = "".join(shown.split()).replace("wordsn0", "").replace("1,234,567", "")
    assert letters == "word" * 20


def test_a_table_that_fits_stands_in_columns():
    assert drawn(table_of(["one", "seventeen"], ["1", "2,222"]), 60) == (
        "words      n0     n1\none         1  2,222\nseventeen   1  2,222\n"
    )


def test_columns_move_together_before_they_are_parted():
    assert drawn(table_of(["one"], ["1", "2"]), 11) == "words n0 n1\none    1  2\n"


def test_ids_are_left_whole_and_nothing_fills_up_lines():
    table = Table(
        columns=(Whole("id"), Words("command"), "code"),
        rows=[("job-1234567890123", "a b " * 9, "")],
    )
    shown = drawn(table, 40).splitlines()
    assert "job-1234567890123" in shown[1]
    assert not [line for line in shown if line != line.rstrip()]


def test_facts_have_no_header_and_narrow_terminals_fewer_columns():
    facts = Table(columns=("", Words("")), rows=[("run", "r")], has_header=False)
    assert drawn(facts, 80) == "run  r\n"
    table = Table(columns=("name", "first", "second"), rows=[("a", "1", "2")], narrow=(0, 2))
    assert "first" in drawn(table, 80)
    assert drawn(table, 12).split() == ["name", "second", "a", "2"]


def test_cells_are_coloured_by_what_they_say():
    table = Table(columns=("name", Whole("")), rows=[("a", Marked("FAILED", "bad"))])
    assert "\x1b[1;31mFAILED" in drawn(table, 80, force_terminal=True, color_system="standard")


def test_a_pipe_is_as_wide_as_anything_needs(capsys):
    words = "word " * 100
    table = table_of([words.strip()], [f"{10**9:,}"] * 50)
    print_page(Page(title="", sections=[Section("", [words.strip(), table])]), screen.data())
    told = capsys.readouterr().out.split("\n")
    assert len(told) == 4
    assert told[0] == words.strip()
    assert told[2].split() == [*words.split(), *[f"{10**9:,}"] * 50]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_reports_and_comparisons_on_narrow_terminals(tmp_path, width):
    report = make_report(["web", "books"])
    report.overall.num_tokens = 123_456_789_012
    out = io.StringIO()
    console = Console(file=out, width=width)
    print_report(report, console)
    assert "123,456,789,012" in out.getvalue()
    rows = [row(123_456_789, 2.5e8, 4 * 123_456_789, source="web") for _ in range(3)]
    runs = [write_run(tmp_path / name, {"a": rows}) for name in ("one", "two")]
    print_comparison(compare_runs(runs), console)
    assert "370,370,367" in out.getvalue()
