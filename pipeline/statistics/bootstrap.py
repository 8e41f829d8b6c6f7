"""Confidence intervals over documents, of figures that are ratios of sums.

The bootstrap of Efron 1979 with percentile intervals, in the form of Hanley and MacGibbon 2006
that fits any number of documents: each resample weighs a document by a draw from Poisson(1). The
draw is one per block: documents are assigned to NUM_BLOCKS blocks at random, so that of many
documents those of a block weigh alike, which leaves the interval's width right (Wolter 2007,
chapter 2). The block follows from a document's place in the corpus, so runs over one corpus are
resampled alike: the interval of their difference is that of paired documents.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

from pipeline.statistics.hashing import GOLDEN, first_state, mix, place_hash
from pipeline.statistics.quantile import quantiles

NUM_BLOCKS = 1 << 14
CONFIDENCE = 0.95
BATCH = 64
CHUNK = 1 << 20
FEWEST_DOCUMENTS = 2
RESAMPLES = 1000
"""Default number of resamples."""
METHOD = (
    f"Poisson bootstrap over documents (assigned by a seeded hash to {NUM_BLOCKS:,} blocks), "
    "percentile interval"
)
Blocks = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
ROW_BITS = 40
"""Bits of a document's key that hold its row; its file's number is in the bits above."""


class Interval(BaseModel):
    """Where a figure lies with 95% confidence."""

    low: float
    high: float


class Intervals(BaseModel):
    """How the intervals were found."""

    method: str
    confidence: float
    resamples: int
    seed: int


class Bootstrap:
    """The weights of the blocks in every resample."""

    def __init__(self, *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        self.seed = seed
        self.resamples = resamples
        self._weights = _weights(seed, resamples)

    def described(self) -> Intervals:
        """What a report says of the method."""
        return Intervals(
            method=METHOD, confidence=CONFIDENCE, resamples=self.resamples, seed=self.seed
        )

    def resample(self, sums: Values) -> Values:
        """Sums per block, shape [NUM_BLOCKS, k], to sums per resample, shape [resamples, k]."""
        found = np.empty((self.resamples, sums.shape[1]))
        for start in range(0, self.resamples, BATCH):
            weights = self._weights[start : start + BATCH].astype(np.float64)
            found[start : start + BATCH] = weights @ sums
        return found

    def blocks(self, key: npt.NDArray[np.int64], files: list[str], corpus: int) -> Blocks:
        """The block of each document, shape [n].

        `key` is a file's number in `files` << ROW_BITS | row, shape [n];
        `corpus` is a number that two runs share only if they scored the same documents.
        """
        starts = [first_state(self._key(corpus, name)) for name in files]
        salts = np.array(starts, np.uint64)
        blocks = np.empty(len(key), np.uint16)
        for start in range(0, len(key), CHUNK):
            part = key[start : start + CHUNK]
            row = (part & ((1 << ROW_BITS) - 1)).astype(np.uint64)
            mixed = mix(salts[part >> ROW_BITS] + row * np.uint64(GOLDEN))
            blocks[start : start + CHUNK] = mixed & np.uint64(NUM_BLOCKS - 1)
        return blocks

    def block_expr(self, corpus: int = 0) -> pl.Expr:
        """`blocks` as an expression over rows [file, row]."""
        hashed = place_hash(lambda file: self._key(corpus, file), pl.col("row"))
        return hashed % NUM_BLOCKS

    def _key(self, corpus: int, file: str) -> str:
        return f"{self.seed} {corpus} {file}"


@lru_cache(1)
def _weights(seed: int, resamples: int) -> npt.NDArray[np.uint8]:
    """Shape [resamples, NUM_BLOCKS]."""
    random = np.random.default_rng(seed)
    # One byte per weight: a Poisson(1) draw above 255 practically never occurs.
    weights = np.empty((resamples, NUM_BLOCKS), np.uint8)
    for start in range(0, resamples, BATCH):
        batch = weights[start : start + BATCH]
        batch[:] = random.poisson(1.0, batch.shape)
    return weights


class BlockSums:
    """Sums of columns by group and block, batch by batch: what `Bootstrap.resample` takes."""

    def __init__(self, num_columns: int, num_groups: int = 1) -> None:
        self._num_groups = num_groups
        self._sums = np.zeros((num_columns, num_groups * NUM_BLOCKS))

    def add(self, at: npt.NDArray[np.int64], columns: Sequence[npt.NDArray[Any]]) -> None:
        """Add rows, one array element each; `at` is group * NUM_BLOCKS + block."""
        for sums, column in zip(self._sums, columns, strict=True):
            sums += np.bincount(at, weights=column, minlength=len(sums))

    def by_group(self) -> Values:
        """Shape [num_groups, NUM_BLOCKS, num_columns]."""
        return np.moveaxis(self._sums.reshape(len(self._sums), self._num_groups, NUM_BLOCKS), 0, -1)


def block_sums(
    blocks: Blocks,
    columns: list[npt.NDArray[Any]],
    *,
    where: Mask | None = None,
    groups: npt.NDArray[np.uint8] | None = None,
    num_groups: int = 1,
) -> Values:
    """BlockSums of whole columns, shape [n] each: shape [num_groups, NUM_BLOCKS, len(columns)].

    Only rows that `where` leaves out may be NaN.
    """
    sums = BlockSums(len(columns), num_groups)
    for start in range(0, len(blocks), CHUNK):
        part = slice(start, start + CHUNK)
        at = blocks[part].astype(np.int64)
        if groups is not None:
            at += groups[part].astype(np.int64) * NUM_BLOCKS
        kept = slice(None) if where is None else where[part]
        sums.add(at[kept], [column[part][kept] for column in columns])
    return sums.by_group()


def interval(resampled: Values, num_documents: int) -> Interval | None:
    """The percentile interval of a figure whose values, shape [resamples], are given.

    None for fewer than two documents: one document never varies, which is no certainty.
    """
    finite = resampled[np.isfinite(resampled)]
    if num_documents < FEWEST_DOCUMENTS or not len(finite):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = quantiles(finite, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))
