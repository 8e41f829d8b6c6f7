"""Progress on stderr: a bar on a terminal, a line now and then in a log.

Owns what is shown while a run is in progress. stdout stays for data.
"""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.console import screen
from pipeline.errors import counted

if TYPE_CHECKING:
    from pipeline.verification.rescoring import Progress as Rescoring

LOG_SECONDS = 15.0
STARTS_OVER = "A verification starts over; a smaller --sample takes less time."


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


class RescoringProgress:
    """Shows how far a verification is, in tokens: documents differ in length; a context manager."""

    def __init__(self) -> None:
        self._console = screen.messages()
        self._bar: Progress | None = None
        self._task: int = 0
        self._seen: Rescoring | None = None
        self._last_log = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def check(self) -> None:
        """The records are read: the rows are next."""
        self._console.print("Checking every row …", style="dim")

    def update(self, now: "Rescoring") -> None:
        """The first of a way of rescoring begins it."""
        if self._seen is None or self._seen.way != now.way:
            self._begin(now)
        self._seen = now
        if self._bar is not None:
            documents = f"{now.documents_done}/{now.num_documents}"
            self._bar.update(self._task, completed=now.tokens_done, documents=documents)  # type: ignore[arg-type]
        elif time.monotonic() - self._last_log >= LOG_SECONDS:
            self._last_log = time.monotonic()
            self._console.print(_rescored(now))
            sys.stderr.flush()

    def how_far(self) -> str:
        """For whom it is stopped."""
        done = "" if self._seen is None else f"{_rescored(self._seen)}. "
        return f"{done}{STARTS_OVER}"

    def _begin(self, now: "Rescoring") -> None:
        self.__exit__()
        documents, tokens = counted(now.num_documents, "document"), counted(now.num_tokens, "token")
        self._console.print(f"Rescoring {documents}, {tokens}, {now.way} …", style="dim")
        self._last_log = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("Rescoring"),
                BarColumn(),
                TextColumn("{task.fields[documents]} documents,"),
                MofNCompleteColumn(),
                TextColumn("tokens,"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=now.num_tokens, documents="")
            self._bar.start()


def _rescored(now: "Rescoring") -> str:
    return (
        f"Rescored {now.documents_done:,} of {counted(now.num_documents, 'document')}, "
        f"{now.tokens_done:,} of {counted(now.num_tokens, 'token')}"
    )
