"""Stable hashes: of a text, and of a row for random draws.

The same document gets the same number whatever the shards, the threads or the order, today and
under another version of Polars, whose own hash promises none of this. A row's number is SplitMix64
(Steele, Lea and Flood 2014) at a state that its file and purpose begin and its place moves on.
"""

from collections.abc import Callable
from functools import cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

GOLDEN = 0x9E3779B97F4A7C15
"""How far the state moves from a row to the next."""
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31
Words = npt.NDArray[np.uint64]


def hash_bytes(content: bytes | memoryview) -> int:
    """64 bits of BLAKE2b of a text's UTF-8 bytes, as a signed integer."""
    digest = blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def first_state(key: str) -> int:
    """Where the rows of a file begin, 64 bits. Names of files need not be valid Unicode."""
    return hash_bytes(key.encode("utf-8", "surrogatepass")) % 2**64


def mix(state: Words) -> Words:
    """The finalizer of SplitMix64, in place: every bit depends on every bit."""
    for shift, factor in MIX:
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(LAST_SHIFT)
    return state


def row_hash(seed: int, purpose: str) -> pl.Expr:
    """64 uniform bits for each row of [file, row]. Purposes are independent of each other."""
    return place_hash(lambda file: f"{seed}\0{purpose}\0{file}", pl.col("row") + 1)


def place_hash(key_of: Callable[[str], str], moves: pl.Expr) -> pl.Expr:
    """64 uniform bits for each row of [file]: its file's key, and how often the state moves on."""

    @cache
    def start(file: str) -> int:
        return first_state(key_of(file))

    def hashed(places: pl.Series) -> pl.Series:
        # Below when/then Polars gives nulls for the rows of the other branch, and drops the answer.
        moved = places.struct.field("moves")
        if moved.null_count() == len(moved):
            return pl.repeat(None, len(moved), dtype=pl.UInt64, eager=True)
        # Rows of a file lie together: one lookup per run of rows, not per row.
        runs = places.struct.field("file").rle().struct
        values = np.array([start(file) for file in runs.field("value")], np.uint64)
        state = np.repeat(values, runs.field("len").to_numpy())
        state += moved.fill_null(0).to_numpy() * np.uint64(GOLDEN)
        return pl.Series(mix(state))

    places = pl.struct("file", moves.cast(pl.UInt64).alias("moves"))
    return places.map_batches(hashed, return_dtype=pl.UInt64, is_elementwise=True)


def uniform(bits: pl.Expr) -> pl.Expr:
    """64 bits as a Float64 in [0, 1): the upper 53 of them."""
    return (bits // pl.lit(1 << 11, pl.UInt64)).cast(pl.Float64) * 2.0**-53
