"""Which documents two runs have in common.

Owns what makes two rows one document. In this order, each step among the rows that are left:

1. the same file and row, and the same text;
2. the same id, which no other row of either run has, and the same text;
3. the same text, wherever it is: the first copy with the first, the second with the second, so
   that of a text with copies as many are paired as both runs have. Rows without a text count as
   copies of one text;
4. the same id and another text: one document that was edited. It is in both, and not compared;
5. over one corpus whose rows mostly stayed where they were: the same file and row and another
   text, unless ids say that these are two documents. Edited, too.

Texts are the same if their 64-bit hashes are: among 10^8 documents of each run a pair of different
texts by mistake has a chance of 1 in 1,800, and an id in common makes it 1 in 10^22.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from pipeline.comparisons.samples import Ids, Sample

CHUNK = 1 << 20
Rows = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]


class PairedBy(BaseModel):
    """Documents of the same text in both runs, by what paired them."""

    locator: int
    """Documents paired by file and row."""
    doc_id: int
    """Documents paired by an id that is unique in both runs."""
    text_hash: int
    """Documents paired by text alone; of repeated texts, as many as both runs have."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Positions, in both samples, of the documents that are compared, in order of the run's."""

    in_baseline: Rows
    in_run: Rows
    paired_by: PairedBy
    num_texts_changed: int
    """Documents in both whose text was edited."""

    @property
    def num_matched(self) -> int:
        by = self.paired_by
        return by.locator + by.doc_id + by.text_hash + self.num_texts_changed


def match(
    baseline: Sample,
    run: Sample,
    *,
    ids: Callable[[], tuple[Ids, Ids]] | None = None,
    same_corpus: bool = True,
) -> Matched:
    """Find each document of the run in the baseline, and keep those with a score in both.

    `ids` reads the ids of both, where both have any; it is asked only where file and row leave
    documents on both sides.
    """
    pairs = _Pairs(baseline, run)
    by_locator = pairs.pair(baseline.key, run.key)
    by_id = by_text = edited = 0
    own: tuple[Ids, Ids] | None = None
    if pairs.has_left:
        if ids is not None:
            own = _unique_only(*ids())
            by_id = pairs.pair(*own, leave_out=0)
        by_text = pairs.pair(baseline.text_hash, run.text_hash)
    if pairs.has_left and own is not None:
        edited += pairs.pair(*own, leave_out=0, texts_differ=True)
    if pairs.has_left and same_corpus and by_locator >= by_id + by_text:
        edited += pairs.pair(baseline.key, run.key, texts_differ=True, unless_both=own)
    return Matched(
        *pairs.compared(),
        PairedBy(locator=by_locator, doc_id=by_id, text_hash=by_text),
        edited,
    )


class _Pairs:
    """The pairs found so far, and the rows that are left."""

    def __init__(self, baseline: Sample, run: Sample) -> None:
        self._samples = (baseline, run)
        self._left = (np.ones(len(baseline.key), np.bool_), np.ones(len(run.key), np.bool_))
        self._scored = (baseline.scored(), run.scored())
        self._found: list[tuple[Rows, Rows]] = []

    @property
    def has_left(self) -> bool:
        return all(bool(left.any()) for left in self._left)

    def pair(
        self,
        baseline: Numbers,
        run: Numbers,
        *,
        leave_out: int | None = None,
        texts_differ: bool = False,
        unless_both: tuple[Ids, Ids] | None = None,
    ) -> int:
        """Pair rows that are left and share a number, and a text unless `texts_differ`; how many.

        `leave_out` is a number that pairs nothing. Rows which both have a number among
        `unless_both` are not paired.
        """
        num_pairs = 0
        rests = []
        for left, numbers in zip(self._left, (baseline, run), strict=True):
            wanted = left if leave_out is None else left & (numbers != leave_out)
            rests.append(None if wanted.all() else np.flatnonzero(wanted))
        for there, here in _join(_taken(baseline, rests[0]), _taken(run, rests[1])):
            there, here = (
                at if rest is None else rest[at]
                for at, rest in zip((there, here), rests, strict=True)
            )
            if unless_both is not None:
                kept = (unless_both[0][there] == 0) | (unless_both[1][here] == 0)
                there, here = there[kept], here[kept]
            if not texts_differ:
                before, after = self._samples
                same = before.text_hash[there] == after.text_hash[here]
                there, here = there[same], here[same]
                both = self._scored[0][there] & self._scored[1][here]
                self._found.append((there[both], here[both]))
            self._left[0][there] = False
            self._left[1][here] = False
            num_pairs += len(there)
        return num_pairs

    def compared(self) -> tuple[Rows, Rows]:
        """The pairs with one text and a score in both, in order of the run's rows."""
        nothing = [np.empty(0, np.int64)]
        there = np.concatenate([one for one, _ in self._found] or nothing)
        here = np.concatenate([one for _, one in self._found] or nothing)
        if np.any(here[1:] < here[:-1]):
            order = np.argsort(here, kind="stable")
            there, here = there[order], here[order]
        return there, here


def _join(theirs: Numbers, ours: Numbers) -> Iterator[tuple[Rows, Rows]]:
    """Positions of equal numbers, in pieces: the first of a number with the first, and so on."""
    if not len(theirs) or not len(ours):
        return
    orders = [_ascending(numbers) for numbers in (theirs, ours)]
    theirs, ours = (
        numbers if order is None else numbers[order]
        for numbers, order in zip((theirs, ours), orders, strict=True)
    )
    for start in range(0, len(ours), CHUNK):
        numbers = ours[start : start + CHUNK]
        here = np.arange(start, start + len(numbers))
        nth = here - np.searchsorted(ours, numbers, side="left")
        there = np.searchsorted(theirs, numbers, side="left") + nth
        hit = there < np.searchsorted(theirs, numbers, side="right")
        there, here = there[hit], here[hit]
        yield (
            there if orders[0] is None else orders[0][there],
            here if orders[1] is None else orders[1][here],
        )


def _taken(numbers: Numbers, rows: Rows | None) -> Numbers:
    """Those of the rows; None: all, without a copy."""
    return numbers if rows is None else numbers[rows]


def _ascending(numbers: Numbers) -> Rows | None:
    """Positions in ascending order, equal ones as they are; None where they are in order."""
    if not np.any(numbers[1:] < numbers[:-1]):
        return None
    return np.argsort(numbers, kind="stable")


def _unique_only(*ids: Ids) -> tuple[Ids, Ids]:
    """The ids of both runs, with 0 for each that its run has more than once."""
    for own in ids:
        ordered = np.sort(own)
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if len(repeated):
            near = np.minimum(np.searchsorted(repeated, own), len(repeated) - 1)
            own[repeated[near] == own] = 0
    first, second = ids
    return first, second
