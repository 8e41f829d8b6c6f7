"""Stable hashes: of a text, and of a row for random draws.

The same document gets the same number whatever the shards, the threads or the order, today and
under another version of Polars, whose own hash promises none of this. A row's number is SplitMix64
(Steele, Lea and Flood 2014) at a state that its file and purpose begin and its place moves on.
"""

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import polars as pl

GOLDEN = 0x9E3779B97F4A7C15
"""How far the state moves from a row to the next."""
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31
State = TypeVar("State")


def hash_bytes(content: bytes | memoryview) -> int:
    """64 bits of BLAKE2b of a text's UTF-8 bytes, as a signed integer."""
    digest = blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def first_state(key: str) -> int:
    """Where the rows of a file begin, 64 bits. Names of files need not be valid Unicode."""
    return hash_bytes(key.encode("utf-8", "surrogatepass")) % 2**64


def mix(state: State, word: Callable[[int], Any]) -> State:
    """The finalizer of SplitMix64: every bit depends on every bit.

    `state` is 64 unsigned bits, an array or an expression; `word` makes a constant of its kind.
    """
    mixed: Any = state
    for shift, factor in MIX:
        mixed = (mixed ^ (mixed // word(1 << shift))) * word(factor)
    found: State = mixed ^ (mixed // word(1 << LAST_SHIFT))
    return found


def row_hash(seed: int, purpose: str) -> pl.Expr:
    """64 uniform bits for each row of [file, row]. Purposes are independent of each other."""

    @cache
    def start(file: str) -> int:
        return first_state(f"{seed}\0{purpose}\0{file}")

    def starts(files: pl.Series) -> pl.Series:
        # Rows of a file lie together: a lookup a run of rows, not a row.
        runs = files.rle().struct
        values = np.array([start(file) for file in runs.field("value")], np.uint64)
        return pl.Series(np.repeat(values, runs.field("len").to_numpy()))

    first = pl.col("file").map_batches(starts, return_dtype=pl.UInt64, is_elementwise=True)
    return mix(first + (pl.col("row").cast(pl.UInt64) + _word(1)) * _word(GOLDEN), _word)


def uniform(bits: pl.Expr) -> pl.Expr:
    """64 bits as a Float64 in [0, 1): the upper 53 of them."""
    return (bits // _word(1 << 11)).cast(pl.Float64) * 2.0**-53


def _word(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt64)
