"""Which documents of a shard kill the engine: a search by parts.

Owns the search alone, with no Ray in it: the driver has parts of the shard scored, tells what
became of each, and gets the next ones. Results of probes are thrown away; the shard is scored once
more, whole, when the search is over.
"""

from collections import Counter, deque
from typing import NamedTuple

FAN_OUT = 8
"""Parts that a deadly part is cut into: an engine's start costs more than scoring a part."""
CONFIRMATIONS = 2
"""Deaths of a document alone before it is blamed: a machine may die too."""
MOST_POISON = 16
"""More deadly documents than this in one shard are no documents' fault."""


class Rows(NamedTuple):
    """Consecutive documents of a shard, by position."""

    first: int
    end: int


class PoisonSearch:
    """The search in one shard, known to be deadly as a whole."""

    def __init__(self, num_rows: int) -> None:
        self.poison: set[int] = set()
        self._waiting: deque[Rows] = deque()
        self._running: set[Rows] = set()
        self._deaths: Counter[int] = Counter()
        self._cut(Rows(0, num_rows))

    @property
    def is_over(self) -> bool:
        return not self._waiting and not self._running

    @property
    def is_hopeless(self) -> bool:
        """Too much is deadly for it to be the documents."""
        return len(self.poison) > MOST_POISON

    def take(self) -> list[Rows]:
        """The parts to probe next."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._running.update(taken)
        return taken

    def survived(self, rows: Rows) -> None:
        self._running.discard(rows)

    def died(self, rows: Rows) -> None:
        """An engine died with this part, alone."""
        self._running.discard(rows)
        if rows.end - rows.first > 1:
            self._cut(rows)
            return
        self._deaths[rows.first] += 1
        if self._deaths[rows.first] >= CONFIRMATIONS:
            self.poison.add(rows.first)
        else:
            self._waiting.append(rows)

    def _cut(self, rows: Rows) -> None:
        size = max(1, -(-(rows.end - rows.first) // FAN_OUT))
        for first in range(rows.first, rows.end, size):
            self._waiting.append(Rows(first, min(first + size, rows.end)))
