"""Progress on stderr: a bar on a terminal, a line now and then in a log.

Owns what is shown while a run is in progress. stdout stays for data.
"""

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.console import screen

LOG_SECONDS = 15.0


class ProgressListener:
    """Shows a run's phases and how far it is; use as a context manager."""

    def __init__(self) -> None:
        self._console = screen.messages()
        self._bar: Progress | None = None
        self._task: int = 0
        self._num_rows = 0
        self._last_log = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, text: str) -> None:
        """A slow phase begins."""
        self._console.print(f"{text} …", style="dim")

    def begin(self, num_rows: int, num_done: int) -> None:
        """Scoring begins, with `num_done` of the documents already there."""
        self._num_rows = num_rows
        if num_done:
            self._console.print(f"{num_done} of {num_rows} documents are already scored")
        self._last_log = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("Scoring"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("documents, {task.fields[rate]} tokens/s,"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=num_rows, completed=num_done, rate="-")
            self._bar.start()
        self._already = num_done

    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None:
        """This driver has scored this many documents and tokens in this many seconds."""
        rate = f"{num_tokens / seconds:,.0f}" if seconds > 0 and num_tokens else "-"
        done = self._already + num_rows
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=rate)  # type: ignore[arg-type]
        elif time.monotonic() - self._last_log >= LOG_SECONDS:
            self._last_log = time.monotonic()
            self._console.print(f"{done} of {self._num_rows} documents, {rate} tokens/s")
            sys.stderr.flush()
