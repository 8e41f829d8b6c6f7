"""Exact copies inside a shard: a text is shown to the engine once, and its copies take its score.

Owns which of a shard's documents are copies, and how far back a copy is known. Only a bounded
number of texts is remembered, those seen last, and of a text no more than its hashes: memory does
not grow with the shard, and a copy of a text that is forgotten is scored again.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.schema import Document, DocumentScore
from pipeline.statistics.hashing import hash_bytes

TokenList = npt.NDArray[np.int32] | npt.NDArray[np.float32]
"""A document's value of a token column: ids, or natural-log probabilities."""

MOST_TEXTS = 1 << 15
"""Number of texts remembered; each takes about 1 kB, mostly its score row."""
MOST_LISTED_BYTES = 8 << 20
"""Bytes of text remembered if token columns are written, which take 8 bytes per token."""


@dataclass(slots=True)
class Answer:
    """What a text came to; filled in when it is scored, taken by its copies after that.

    Documents leave a shard in order, so it is there when a copy's turn has come.
    """

    num_bytes: int
    text_hash: int
    score: DocumentScore | None = None
    token_lists: dict[str, TokenList] | None = None
    """Token columns by name, if they are written."""


class RecentTexts:
    """The texts of a shard that were seen last, and their answers.

    What it remembers depends on the documents alone, whether they are scored or not: the search
    for documents that kill the engine is shown the same ones as the scoring.
    """

    def __init__(self, *, token_columns: bool = False) -> None:
        self._most_bytes = MOST_LISTED_BYTES if token_columns else math.inf
        # Two hashes of 64 bits each, one of them keyed by a secret of this process: that two texts
        # which are not equal agree in both is out of reach, by chance and by intent.
        self._answers: OrderedDict[tuple[int, int], Answer] = OrderedDict()
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def look_up(self, document: Document) -> tuple[Answer | None, bool]:
        """The answer that this document shares, if it has a text, and whether it is a copy.

        A document that may not be scored is no copy, but those that follow are copies of it.
        """
        if not document.text:
            return None, False
        content = document.text.encode()
        text_hash = hash_bytes(content)
        digest = text_hash, hash(document.text)
        answer = self._answers.get(digest)
        if answer is not None and document.error is None:
            self._answers.move_to_end(digest)
            return answer, True
        if answer is not None:
            self._num_bytes -= answer.num_bytes
            del self._answers[digest]
        answer = self._answers[digest] = Answer(len(content), text_hash)
        self._num_bytes += answer.num_bytes
        while len(self._answers) > MOST_TEXTS or self._num_bytes > self._most_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._num_bytes -= oldest.num_bytes
        return answer, False
