"""What every engine is: windows in, log-probabilities out."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from pipeline.schema import Window, WindowScore


class Usage(NamedTuple):
    """Seconds that an engine computed, of so many seconds that it was in use."""

    busy: float
    seconds: float


class Engine(Protocol):
    """Anything that scores windows."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        """Score keyed windows, in any order, pulling no more of them than keeps it busy.

        Safe to call from several threads; each gets its own windows' scores. Raises EngineError
        when the engine is beyond use.
        """
        ...
