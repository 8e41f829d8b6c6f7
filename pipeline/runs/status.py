"""A run in progress, seen from its directory alone: what is done, how fast, what is left.

Owns turning one listing per update into a Snapshot, and the rate. A part's footer is read once,
when the part is new. Asks nothing of the driver, so it works on any machine that sees the
directory; what is inside a shard, and how many workers there are, only the driver knows.
"""

import contextlib
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from pyarrow import fs
from pydantic import BaseModel

from pipeline.engine.protocol import NO_WORK, Work
from pipeline.errors import RunError, counted
from pipeline.runs.lock import LOCK, Holder, is_alive, read_holder
from pipeline.runs.manifest import Manifest, Totals
from pipeline.runs.store import FAILURE_NAME, PART_NAME, RESUME, SUCCESS, RunStore

log = logging.getLogger(__name__)

RATE_SECONDS = 600.0
"""The rate covers the parts that appeared in the last ten minutes,"""
RATE_PARTS = 20
"""or of as many as this, if that reaches further back: shards may take long."""
FOOTER_READERS = 16

State = Literal["finished", "damaged", "running", "stopped"]
"""State of a run; damaged if it was finished and parts of it are missing."""


def state_of(*, has_success: bool, num_missing: int, is_driven: bool) -> State:
    """What a run is, by its records and its lock."""
    if has_success and not num_missing:
        return "finished"
    if is_driven:
        return "running"
    return "damaged" if has_success else "stopped"


def damage(num_missing: int) -> str:
    """The message for a damaged run."""
    return f"{counted(num_missing, 'part is', 'parts are')} missing; {RESUME}"


class Snapshot(BaseModel):
    """A run at one moment. Rates are None until a part of the driver at work is there."""

    at: str
    run: str
    state: State
    shards_done: int
    shards: int
    rows_done: int
    rows: int
    tokens_done: int
    rows_per_second: float | None
    tokens_per_second: float | None
    mfu: float | None
    """Model FLOPs utilization of the same parts."""
    eta_seconds: float | None
    """Seconds until the remaining shards are done, by the bytes of their text; shards given up are
    left out."""
    driver: str | None
    given_up: int
    failures: list[dict[str, Any]]

    @property
    def exit_code(self) -> int:
        """0 of a finished run, 1 if anything was given up or lost or no process is scoring it."""
        return 1 if self.failures or self.state in ("stopped", "damaged") else 0

    def same_as(self, other: "Snapshot | None") -> bool:
        """Whether nothing has happened between the two."""
        changing = {"at", "rows_per_second", "tokens_per_second", "mfu", "eta_seconds"}
        return other is not None and self.model_dump(exclude=changing) == other.model_dump(
            exclude=changing
        )


class Commit(NamedTuple):
    """A part that appeared."""

    at: float
    """Modification time of the part in seconds since the epoch, by the store's clock."""
    began: float
    """Time when the worker started the shard."""
    rows: int
    tokens: int
    text_bytes: int
    work: Work = NO_WORK


class Rate(NamedTuple):
    """Work per second."""

    rows: float
    tokens: float
    text_bytes: float
    mfu: float | None


class Watch:
    """Watches a run, and reads each file once."""

    def __init__(self, store: RunStore, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest
        self._totals: dict[int, Totals] = {}
        self._commits: dict[int, Commit] = {}
        self._failures: dict[str, tuple[datetime | None, dict[str, Any]]] = {}

    def look(self) -> Snapshot:
        """The run now: one listing, the lock, and what is new. Raises RunError, StoreError."""
        manifest = self._manifest
        found = self._store.root.files(recursive=True)
        holder = read_holder(self._store.root) if LOCK in found else None
        driven = holder is not None and is_alive(holder)
        # A driver writes _SUCCESS before it lets go of the lock, so who finds none looks again.
        if SUCCESS not in found and not driven and self._store.root.exists(SUCCESS):
            found = self._store.root.files(recursive=True)
        self._read_parts(found)
        failures = self._read_failures(found)
        num_missing = len(manifest.shards) - len(self._totals)
        state = state_of(has_success=SUCCESS in found, num_missing=num_missing, is_driven=driven)
        rate = self._rate(holder) if state == "running" else None
        return Snapshot(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=self._store.location,
            state=state,
            shards_done=len(self._totals),
            shards=len(manifest.shards),
            rows_done=self._rows(self._totals),
            rows=manifest.num_rows,
            tokens_done=sum(part.num_tokens for part in self._totals.values()),
            rows_per_second=rate.rows if rate else None,
            tokens_per_second=rate.tokens if rate else None,
            mfu=rate.mfu if rate else None,
            eta_seconds=self._eta(rate, failures),
            driver=str(holder) if driven else None,
            given_up=len(failures),
            failures=failures,
        )

    def _rows(self, shards: Iterable[int]) -> int:
        return sum(self._manifest.shards[shard].num_rows for shard in shards)

    def _read_parts(self, found: dict[str, fs.FileInfo]) -> None:
        there: dict[int, fs.FileInfo] = {}
        for name, info in found.items():
            match = PART_NAME.fullmatch(name)
            if match and int(match[1]) < len(self._manifest.shards):
                there[int(match[1])] = info
        for gone in self._totals.keys() - there.keys():  # deleted, to be scored again
            del self._totals[gone]
            self._commits.pop(gone, None)
        new = sorted(there.keys() - self._totals.keys())
        with ThreadPoolExecutor(FOOTER_READERS) as readers:
            for shard, footer in zip(new, readers.map(self._footer, new), strict=True):
                if footer is None:
                    self._totals[shard] = Totals()
                    continue
                totals = footer.totals
                self._totals[shard] = totals
                modified = there[shard].mtime
                # A part that was reused from another run says nothing of the speed of this one.
                if footer.run_id == self._manifest.run_id and modified is not None:
                    at = modified.timestamp()
                    text_bytes = self._manifest.shards[shard].text_bytes
                    done = (totals.num_rows, totals.num_tokens, text_bytes)
                    work = Work(totals.flops, totals.peak_flops)
                    self._commits[shard] = Commit(at, at - totals.seconds, *done, work)

    def _footer(self, shard: int) -> Any:
        try:
            return self._store.footer(shard)
        except RunError as error:
            log.warning("%s", error)
            return None

    def _read_failures(self, found: dict[str, fs.FileInfo]) -> list[dict[str, Any]]:
        names = sorted(name for name in found if FAILURE_NAME.fullmatch(name))
        for name in names:
            if name not in self._failures or self._failures[name][0] != found[name].mtime:
                # The driver deletes the record of a shard that is scored after all.
                with contextlib.suppress(FileNotFoundError):
                    self._failures[name] = (found[name].mtime, self._store.failure(name))
        return [self._failures[name][1] for name in names if name in self._failures]

    def _rate(self, holder: Holder | None) -> Rate | None:
        since = holder.process_started if holder is not None else 0.0
        return rate_of([c for c in self._commits.values() if c.at >= since], time.time())

    def _eta(self, rate: Rate | None, failures: list[dict[str, Any]]) -> float | None:
        if rate is None or not rate.text_bytes:
            return None
        given_up = {failure.get("shard") for failure in failures}
        left = (s for s in self._manifest.shards if s.id not in self._totals.keys() | given_up)
        return sum(shard.text_bytes for shard in left) / rate.text_bytes


def rate_of(commits: list[Commit], now: float) -> Rate | None:
    """Work per second by the latest commits of one driver; None without any.

    Counted from one commit, or from the begin of the first, to the latest. Workers that start
    together finish together, so a silence counts only once it is longer than any before it.
    """
    ordered = sorted(commits)
    if not ordered:
        return None
    first = min(len(ordered) - 1, max(0, len(ordered) - RATE_PARTS))
    while first > 0 and ordered[first - 1].at > now - RATE_SECONDS:
        first -= 1
    begin = min(commit.began for commit in ordered) if first == 0 else ordered[first - 1].at
    counted = ordered[first:]
    moments = [begin, *(commit.at for commit in counted)]
    longest = max(b - a for a, b in pairwise(moments))
    seconds = max(moments[-1], now - longest) - begin
    if seconds <= 0:
        return None
    peak = sum(commit.work.peak_flops for commit in counted)
    return Rate(
        sum(commit.rows for commit in counted) / seconds,
        sum(commit.tokens for commit in counted) / seconds,
        sum(commit.text_bytes for commit in counted) / seconds,
        sum(commit.work.flops for commit in counted) / peak if peak > 0 else None,
    )
