"""Traces where the time of a run goes: spans of work by process and lane, in Chrome's trace format.

Owns the bounded buffer that spans are kept in and the file they end in, which opens in Perfetto
(ui.perfetto.dev) and chrome://tracing. A span is of a batch, a shard or a phase, never of a token
or a document. Machines' clocks are taken as they are: those that disagree shift their workers.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from pipeline.errors import ConfigError, named

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MOST_SPANS = 1 << 14
"""The newest spans of a process, kept until they are taken several times per second."""
MOST_COLLECTED = 1 << 18
"""Kept of a whole run, the first; a file of about 30 MB."""
JOIN_NS = 1_000_000
LONGEST_JOINED_NS = 1_000_000_000
ENGINE = "engine"
PHASES = "phases"


class Span(NamedTuple):
    """A span of time."""

    name: str
    lane: str
    """Spans of a lane follow or enclose each other."""
    start_ns: int
    """Since the epoch. Whole numbers: a float of so many seconds would let nested spans cross."""
    duration_ns: int
    arguments: dict[str, Any] | None = None
    overlaps: bool = False
    """Spans of its lane may overlap it."""


class Tracer:
    """The spans of this process. Safe to use from several threads."""

    def __init__(self) -> None:
        # The wall clock may be set while a run goes on; durations and order must not suffer.
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._spans: deque[Span] = deque(maxlen=MOST_SPANS)
        self._lock = threading.Lock()
        self._num_added = self._num_taken = 0

    def add(
        self,
        name: str,
        lane: str,
        began: float,
        ended: float,
        *,
        overlaps: bool = False,
        **more: Any,
    ) -> None:
        """A span from `began` to `ended`, as time.monotonic() has them."""
        span = Span(name, lane, *self._times(began, ended), more or None, overlaps)
        with self._lock:
            self._spans.append(span)
            self._num_added += 1

    def _times(self, began: float, ended: float) -> tuple[int, int]:
        start = round(1e9 * began)
        return self._epoch_ns + start, round(1e9 * ended) - start

    def add_step(self, began: float, ended: float) -> None:
        """A step of the engine; steps that follow each other closely are one busy span."""
        start, duration = self._times(began, ended)
        with self._lock:
            last = self._spans[-1] if self._spans else None
            if last is not None and last.lane == ENGINE and last.name == "busy":
                gap = start - last.start_ns - last.duration_ns
                if gap <= JOIN_NS and last.duration_ns < LONGEST_JOINED_NS:
                    whole = start + duration - last.start_ns
                    steps = (last.arguments or {}).get("steps", 0) + 1
                    self._spans[-1] = Span("busy", ENGINE, last.start_ns, whole, {"steps": steps})
                    return
            self._spans.append(Span("busy", ENGINE, start, duration, {"steps": 1}))
            self._num_added += 1

    @contextmanager
    def span(self, name: str, lane: str, **more: Any) -> Iterator[None]:
        """A span as long as the block, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, lane, began, time.monotonic(), **more)

    def take(self) -> tuple[list[Span], int]:
        """The spans since the last call, and how many of them there was no room for."""
        with self._lock:
            taken = list(self._spans)
            self._spans.clear()
            lost = self._num_added - self._num_taken - len(taken)
            self._num_taken = self._num_added
        return taken, lost


@dataclass(frozen=True, slots=True)
class ShardTrace:
    """The two lanes of a shard: the thread that reads ahead, and the one that scores."""

    tracer: Tracer | None = None
    lane: int = 0
    """Which of the shards in work at once."""

    def reading(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        """`work`, each call of it a span of the thread that reads ahead."""
        return self._timed(name, "reading", work)

    def scoring(self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        """The same of the thread that scores."""
        return self._timed(name, "scoring", work)

    def each_read(self, name: str, source: Iterable[T]) -> Iterator[T]:
        """The items of `source`, the making of each of them a span of the thread that reads."""
        return self._each(self.reading(name, iter(source).__next__))

    def each_scored(self, name: str, source: Iterable[T]) -> Iterator[T]:
        """The same in the thread that scores."""
        return self._each(self.scoring(name, iter(source).__next__))

    def _timed(self, name: str, lane: str, work: Callable[P, T]) -> Callable[P, T]:
        tracer = self.tracer
        if tracer is None:
            return work

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            with tracer.span(name, f"{lane} {self.lane}"):
                return work(*args, **kwargs)

        return timed

    def _each(self, make: Callable[[], T]) -> Iterator[T]:
        while True:
            try:
                item = make()
            except StopIteration:
                return
            yield item


NO_TRACE = ShardTrace()


class RunTrace:
    """The spans of a whole run, gathered by its driver; does nothing without a file to write."""

    def __init__(self, file: str | None) -> None:
        """Raises ConfigError if the file could not be written: not after hours of scoring."""
        self._file = Path(file).absolute() if file else None
        self._tracer = Tracer() if file else None
        self._spans: list[tuple[int, Span]] = []
        self._num_lost = 0
        self._phase: tuple[str, float] | None = None
        if self._file is not None and (reason := _obstacle(self._file)):
            raise ConfigError(f"{named('trace')} {file} {reason}", hint="give a file to write")

    @property
    def is_on(self) -> bool:
        return self._file is not None

    def phase(self, text: str | None) -> None:
        """The phase of the driver that went on ends, and the next one begins."""
        now = time.monotonic()
        if self._tracer is not None and self._phase is not None:
            self._tracer.add(self._phase[0], PHASES, self._phase[1], now)
        self._phase = (text, now) if text else None

    def dispatched(self, what: str, worker: int, began: float) -> None:
        """A shard that was dispatched at `began`, of time.monotonic(), is done."""
        if self._tracer is not None:
            ended = time.monotonic()
            self._tracer.add(what, "dispatched", began, ended, overlaps=True, worker=worker)

    def gather(self, spans: Iterable[Span], num_lost: int, *, worker: int) -> None:
        """Spans of a worker."""
        self._keep(worker + 1, spans)
        self._num_lost += num_lost

    def _keep(self, process: int, spans: Iterable[Span]) -> None:
        for span in spans:
            if len(self._spans) < MOST_COLLECTED:
                self._spans.append((process, span))
            else:
                self._num_lost += 1

    def write(self) -> None:
        """Write the file, however the run ended; a failure to write does not fail the run."""
        if self._file is None or self._tracer is None:
            return
        self.phase(None)
        spans, lost = self._tracer.take()
        self.gather(spans, lost, worker=-1)
        temporary = self._file.with_name(f".{self._file.name}.part")
        try:
            temporary.write_text(to_chrome(self._spans, self._num_lost), encoding="utf-8")
            temporary.replace(self._file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            log.warning("the trace %s cannot be written: %s", self._file, error.strerror)


def _obstacle(file: Path) -> str | None:
    if file.is_dir():
        return "is a folder"
    if not file.parent.is_dir():
        return "is in a folder that does not exist"
    return None if os.access(file.parent, os.W_OK) else "is in a folder that cannot be written to"


def to_chrome(spans: list[tuple[int, Span]], num_lost: int) -> str:
    """Spans by process (0 is the driver, n + 1 worker n) as JSON, one event per line.

    The format is Google's "Trace Event Format": complete events ("X"), nestable asynchronous ones
    ("b", "e") where they overlap, and names of processes and threads ("M"). Times are microseconds
    from the first span on.
    """
    first = min((span.start_ns for _, span in spans), default=0)
    lanes: dict[tuple[int, str], int] = {}
    events: list[dict[str, Any]] = []
    for number, (process, span) in enumerate(sorted(spans, key=lambda one: one[1].start_ns)):
        thread = lanes.setdefault((process, span.lane), len(lanes))
        start, end = span.start_ns - first, span.start_ns - first + span.duration_ns
        event = {
            "name": span.name,
            "cat": "winnow",
            "pid": process,
            "tid": thread,
            "ts": start / 1000,
        }
        more = {"args": span.arguments} if span.arguments else {}
        if span.overlaps:
            events.append(event | {"ph": "b", "id": number} | more)
            events.append(event | {"ph": "e", "id": number, "ts": end / 1000})
        else:
            events.append(event | {"ph": "X", "dur": span.duration_ns / 1000} | more)
    names = [
        {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": lane}}
        for (process, lane), thread in lanes.items()
    ]
    for process in sorted({process for process, _ in lanes}):
        name = f"worker {process - 1}" if process else "driver"
        names.append({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}})
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in [*names, *events])
    told = json.dumps({"spans_lost": num_lost})
    return f'{{"displayTimeUnit":"ms","otherData":{told},"traceEvents":[\n{lines}\n]}}\n'
