"""A job's log, written to a terminal or a file.

Owns making it safe to show: a job prints parts of documents, which may contain anything. In a file
or a pipe it is left as it is.
"""

import re
from types import TracebackType
from typing import Self, TextIO

from pipeline.rendering.escaping import plain

ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
"""Colours, cursor movements and titles."""
MOST_BUFFERED = 65_536
"""Characters of an unfinished line that are buffered; a longer line is broken."""


class LogWriter:
    """Writes whole lines, so that a progress line breaks none; use as a context manager."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._rest = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._rest:
            self._write(self._rest + "\n")
            self._rest = ""

    def __call__(self, text: str) -> None:
        """Take the next piece of the log, of any length."""
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if len(self._rest) > MOST_BUFFERED:
            whole, newline, self._rest = whole + newline + self._rest, "\n", ""
        if newline:
            self._write(whole + newline)

    def _write(self, lines: str) -> None:
        if self._is_terminal:
            # A carriage return overwrites a line: only what comes after the last one is visible.
            shown = (line.rstrip("\r").rpartition("\r")[2] for line in lines.split("\n"))
            lines = "\n".join(plain(ANSI.sub("", line).expandtabs()) for line in shown)
        self._stream.write(lines)
        self._stream.flush()
