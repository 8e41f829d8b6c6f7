"""Which documents of a shard kill the engine: a search by parts.

Owns the search alone, with no Ray in it: the driver has parts of the shard scored, tells what
became of each, and gets the next ones. Results of probes are thrown away; the shard is scored once
more, whole but for the deadly documents, when the search is over.

A search ends: every death is a restart of an engine, and there are at most MOST_DEATHS of them. If
FUTILE_DEATHS engines die before any part survives, the documents are not to blame.
"""

from collections import Counter, deque
from itertools import islice
from typing import Any, NamedTuple

from pipeline.runs.manifest import Manifest

FAN_OUT = 8
"""Number of pieces that a range of documents that killed an engine is cut into, all in flight at
once: starting an engine costs more than scoring a piece."""
CONFIRMATIONS = 2
"""Deaths of a document alone before it is blamed: a machine may die too."""
FUTILE_DEATHS = 64
"""Deaths, without a survivor, after which a search and its shard are given up."""
MOST_DEATHS = 512
"""Deaths after which a search treats every document still in doubt as deadly."""
MOST_ROWS = 100
"""Deadly documents that a record in `failed/` names."""


class Rows(NamedTuple):
    """Consecutive documents of a shard, by position."""

    first: int
    end: int


class PoisonSearch:
    """The search in one shard, known to be deadly as a whole."""

    def __init__(self, num_rows: int) -> None:
        self.poison: dict[int, str] = {}
        """Deadly documents by position, and what the engine said when it died; empty if nothing."""
        self.num_doubtful = 0
        """Documents of `poison` that were not tried alone."""
        self._num_deaths = 0
        self._any_survived = False
        self._waiting: deque[Rows] = deque()
        self._running: set[Rows] = set()
        self._deaths: Counter[int] = Counter()
        self._cut(Rows(0, num_rows))

    @property
    def is_over(self) -> bool:
        return not self._waiting and not self._running

    @property
    def is_hopeless(self) -> bool:
        """Nothing survives: the documents are not to blame."""
        return not self._any_survived and self._num_deaths >= FUTILE_DEATHS

    def take(self) -> list[Rows]:
        """The parts to probe next: the smallest first, so that some survive soon."""
        room = min(FAN_OUT - len(self._running), len(self._waiting))
        taken = [self._waiting.popleft() for _ in range(room)]
        self._running.update(taken)
        return taken

    def survived(self, rows: Rows) -> None:
        self._running.discard(rows)
        self._any_survived = True

    def died(self, rows: Rows, reason: str = "") -> None:
        """An engine died on this part alone; `reason` is its error, if it gave one."""
        self._running.discard(rows)
        self._num_deaths += 1
        if rows.end - rows.first > 1:
            self._cut(rows)
        else:
            self._blame(rows, reason)
        if self._num_deaths >= MOST_DEATHS:
            self._end()

    def _blame(self, rows: Rows, reason: str) -> None:
        self._deaths[rows.first] += 1
        # The same error as another document's, confirmed by as many deaths, is no accident.
        is_known = reason != "" and reason in self.poison.values()
        if is_known or self._deaths[rows.first] >= CONFIRMATIONS:
            self.poison[rows.first] = reason
        else:
            self._waiting.appendleft(rows)

    def _end(self) -> None:
        """Treat every document not known to be sound as deadly, so that the others are scored."""
        for rows in (*self._waiting, *self._running):
            self.poison |= dict.fromkeys(range(*rows), "")
            self.num_doubtful += rows.end - rows.first
        self._waiting.clear()
        self._running.clear()

    def verdict(self) -> str:
        """What was found, in a line."""
        said = Counter(filter(None, self.poison.values())).most_common(1)
        reason = f": {said[0][0]}" if said else ""
        if self.is_hopeless:
            return f"{self._num_deaths} engines died without scoring a document{reason}"
        num = len(self.poison)
        doubtful = f" ({self.num_doubtful:,} not tried alone)" if self.num_doubtful else ""
        what = f"a document{doubtful} kills" if num == 1 else f"{num:,} documents{doubtful} kill"
        return f"{what} the engine{reason}"

    def record(self, manifest: Manifest, shard: int) -> dict[str, Any]:
        """What of a shard is not scored, for `failed/`."""
        rows = list(islice(manifest.rows_at(shard, sorted(self.poison)), MOST_ROWS))
        return {
            "file": rows[0][0],
            "reason": self.verdict(),
            "num_rows": len(self.poison),
            "rows": [{"file": file, "row": row} for file, row in rows],
        }

    def _cut(self, rows: Rows) -> None:
        size = max(1, -(-(rows.end - rows.first) // FAN_OUT))
        for first in reversed(range(rows.first, rows.end, size)):
            self._waiting.appendleft(Rows(first, min(first + size, rows.end)))
