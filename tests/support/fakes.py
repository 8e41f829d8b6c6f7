"""A test double that we own: an engine that answers at once, by a rule anyone can recompute."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from pipeline.schema import Logprobs, Window, WindowScore

IN_FLIGHT = 5


def fake_logprobs(prompt: list[int], num_context: int) -> Logprobs:
    """-(1 + (7 * token + 3 * predecessor) % 11 / 8): depends on both, exact in binary."""
    values = [-(1 + (7 * token + 3 * before) % 11 / 8) for before, token in pairwise(prompt)]
    return np.array(values[num_context - 1 :], dtype=np.float64)


class FakeEngine:
    """Answers out of order, a few windows behind what it has pulled."""

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        waiting: deque[tuple[int, Window]] = deque()
        for entry in windows:
            waiting.append(entry)
            if len(waiting) == IN_FLIGHT:
                yield self._answer(waiting.pop())
        while waiting:
            yield self._answer(waiting.popleft())

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        key, window = entry
        return WindowScore(key, fake_logprobs(window.prompt, window.num_context))
