"""jobs/console/screen.py: what reaches a terminal, a log or a pipe, in which colours."""

import io
import logging
import sys

import pytest
from rich.table import Table
from rich.text import Text

from jobs.console import screen
from pipeline.rendering.escaping import UNFIT

ESCAPE = "\x1b["
HOSTILE = "[bold]a[/] \x1b[31mred\x1b]0;title\x07 \u202egnp :smile: 😀"


@pytest.fixture(autouse=True)
def plain_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(screen, "_color", "auto")


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    screen.data().print(Text("word", style="bold red"))
    return stream.getvalue()


COLOURS = {
    # asked for, environment, on a terminal -> colours
    "a terminal": ("auto", {}, True, True),
    "a pipe": ("auto", {}, False, False),
    "NO_COLOR": ("auto", {"NO_COLOR": "1"}, True, False),
    "NO_COLOR empty": ("auto", {"NO_COLOR": ""}, True, True),
    "FORCE_COLOR": ("auto", {"FORCE_COLOR": "1"}, False, True),
    "both": ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    "dumb": ("auto", {"TERM": "dumb"}, True, False),
    "never": ("never", {"FORCE_COLOR": "1"}, True, False),
    "always": ("always", {"NO_COLOR": "1"}, False, True),
}


@pytest.mark.parametrize(("asked", "env", "tty", "coloured"), COLOURS.values(), ids=COLOURS)
def test_who_decides_about_colours(monkeypatch, asked, env, tty, coloured):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    screen.choose_color(asked)
    found = printed(monkeypatch, Terminal() if tty else io.StringIO())
    assert "word" in found
    assert (ESCAPE in found) is coloured


def test_colours_in_a_log_bring_no_bars(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with screen.messages().status("working"):
        screen.say("done", style="red")
    assert "working" not in log.getvalue()
    assert "\x1b[31mdone" in log.getvalue()
    assert "\x1b[?25l" not in log.getvalue(), "the cursor is left alone"


def test_hostile_text_is_shown_and_does_nothing(capsys):
    screen.say(HOSTILE)
    shown = capsys.readouterr().err
    assert not UNFIT.search(shown.rstrip("\n"))
    assert "[bold]a[/]" in shown
    assert ":smile: 😀" in shown


def test_cells_are_no_markup(capsys):
    table = Table()
    table.add_row("[bold]cell[/]")
    screen.data().print(table)
    assert "[bold]cell[/]" in capsys.readouterr().out


def test_a_message_is_one_line_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    screen.say("word " * 40)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_place_may_be_marked_below_a_line():
    assert screen.plain_lines("a\x1b\n  ^") == "a\N{REPLACEMENT CHARACTER}\n  ^"


def test_log_lines_are_fit_to_show():
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "file %s", (HOSTILE,), None)
    shown = screen.PlainFormatter("%(message)s").format(record)
    assert shown.startswith("file [bold]a")
    assert not UNFIT.search(shown)


def test_a_stream_that_is_closed_is_no_fault(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    screen.say("nobody hears")
