"""jobs/submission/log_text.py: any log, in any pieces, whole in a file, harmless on a terminal."""

import io

from hypothesis import given
from hypothesis import strategies as st

from jobs.submission.log_text import MOST_BUFFERED, LogWriter
from pipeline.rendering.escaping import UNFIT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, pieces: list[str]) -> str:
    with LogWriter(stream) as write:
        for piece in pieces:
            write(piece)
    return stream.getvalue()


@given(pieces=st.lists(st.text(alphabet=st.sampled_from("ab\n\r\x1b[2J"))))
def test_a_file_gets_all_of_it(pieces):
    text = "".join(pieces)
    assert written(io.StringIO(newline=""), pieces) == text + (
        "\n" if text and not text.endswith("\n") else ""
    )


@given(pieces=st.lists(st.text()))
def test_a_terminal_gets_nothing_that_it_obeys(pieces):
    shown = written(Terminal(newline=""), pieces)
    assert not UNFIT.search(shown.replace("\n", ""))
    assert shown.count("\n") >= "".join(pieces).count("\n")


def test_lines_are_written_whole():
    stream = io.StringIO()
    with LogWriter(stream) as write:
        write("one")
        assert stream.getvalue() == ""
        write(" line\nand")
        assert stream.getvalue() == "one line\n"
    assert stream.getvalue() == "one line\nand\n"


def test_what_a_terminal_sees():
    log = "\x1b[31mred\x1b[0m\ttab\n\x1b]0;title\x07plain\n 10%\r 50%\rdone\r\n\x07bell\n"
    assert written(Terminal(), [log]) == "red     tab\nplain\ndone\n\N{REPLACEMENT CHARACTER}bell\n"


def test_a_line_without_end_does_not_fill_the_memory():
    stream = io.StringIO()
    with LogWriter(stream) as write:
        write("x" * (MOST_BUFFERED + 1))
        assert len(stream.getvalue()) > MOST_BUFFERED
