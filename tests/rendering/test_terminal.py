"""pipeline/rendering/terminal.py: no figure loses a digit, however narrow the terminal is."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.page import print_comparison
from pipeline.rendering.terminal import print_table
from pipeline.reports.output import print_report
from tests.support.made_runs import row, write_run
from tests.support.reports import make_report


def drawn(table: Table, width: int) -> str:
    out = io.StringIO()
    print_table(table, Console(file=out, width=width))
    return out.getvalue()


def table_of(words: list[str], numbers: list[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("words", overflow="fold")
    for index in range(len(numbers)):
        table.add_column(f"n{index}", justify="right", no_wrap=True)
    for word in words:
        table.add_row(word, *numbers)
    return table


@given(
    st.lists(st.text("ab 日", min_size=1, max_size=60), min_size=1, max_size=3),
    st.lists(st.integers(0, 10**15).map("{:,}".format), min_size=1, max_size=8),
    st.integers(10, 120),
)
def test_every_number_is_whole(words, numbers, width):
    shown = drawn(table_of(words, numbers), width).split()
    for number in numbers:
        assert shown.count(number) >= len(words)


def test_words_fold_before_anything_is_wider_than_the_terminal():
    shown = drawn(table_of(["word" * 20], ["1,234,567"]), 40)
    assert max(map(len, shown.splitlines())) <= 40
    letters = "".join(shown.split()).replace("wordsn0", "").replace("1,234,567", "")
    assert letters == "word" * 20


def test_a_table_that_fits_is_left_alone():
    table, out = table_of(["one", "two"], ["1", "22"]), io.StringIO()
    Console(file=out, width=60).print(table)
    assert drawn(table, 60) == out.getvalue()


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
