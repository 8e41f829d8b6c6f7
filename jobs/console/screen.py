"""Where commands print: stdout for data, stderr for progress and messages; colours; safe text.

Owns the consoles, so that colours, bars and what a closed pipe does are the same everywhere. Text
of unknown origin is made fit to show here once more, at the last door before a terminal.
"""

import errno
import logging
import os
import sys
from typing import Any, Literal, NoReturn, get_args

from rich.console import Console

from pipeline.rendering.escaping import plain

AS_WIDE_AS_NEEDED = 1 << 20
"""Width of output that is not a terminal: readers of a log or a pipe break lines themselves."""
Color = Literal["auto", "always", "never"]
_color: Color = "auto"


class _Screen(Console):
    """A console that takes no text for markup or for commands to the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        fit = (plain_lines(one) if isinstance(one, str) else one for one in objects)
        super().print(*fit, **options)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def choose_color(asked: str) -> None:
    """What --color or WINNOW_COLOR asks for; holds for every console made from here on."""
    global _color
    _color = next(kind for kind in get_args(Color) if kind == asked)


def data() -> Console:
    """stdout, for what was asked."""
    return _screen(stderr=False)


def messages() -> Console:
    """stderr, for everything else; a message is one line however narrow the terminal is."""
    return _screen(stderr=True)


def say(text: str, style: str | None = None) -> None:
    """A message on stderr, whatever is in it."""
    messages().print(text, style=style)


def plain_lines(text: str) -> str:
    """`plain`, line by line: some messages point at a place below a line."""
    return "\n".join(plain(line) for line in text.split("\n"))


def _screen(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    return _Screen(
        stderr=stderr,
        width=None if is_terminal else AS_WIDE_AS_NEEDED,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=stderr,
        # Set explicitly: rich takes FORCE_COLOR for a terminal, and would draw bars into a log.
        force_terminal=is_terminal,
        color_system=_color_system(is_terminal=is_terminal),
    )


def _color_system(*, is_terminal: bool) -> Literal["auto", "standard"] | None:
    """no-color.org and its opposite, force-color.org; an explicit choice overrides both."""
    asked = _color
    if asked == "auto":
        if os.environ.get("NO_COLOR"):
            asked = "never"
        elif os.environ.get("FORCE_COLOR"):
            asked = "always"
    if asked == "never":
        return None
    return "standard" if asked == "always" else "auto" if is_terminal else None


class PlainFormatter(logging.Formatter):
    """Log lines for a terminal: names of files and columns are in them."""

    def format(self, record: logging.LogRecord) -> str:
        return plain_lines(super().format(record))
