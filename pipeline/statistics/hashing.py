"""Hashes that stay what they are: of a text, and of a row for chance.

The same document gets the same number whatever the shards, the threads or the order, today and
under another version of Polars, whose own hash promises none of this.
"""

from functools import cache
from hashlib import blake2b

import numpy as np
import polars as pl

GOLDEN = 0x9E3779B97F4A7C15
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


def hash_text(text: str) -> int:
    """64 bits of BLAKE2b of the UTF-8 bytes, as a signed integer."""
    return hash_bytes(text.encode())


def hash_bytes(content: bytes | memoryview) -> int:
    """The same of UTF-8 bytes."""
    digest = blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def row_hash(seed: int, purpose: str) -> pl.Expr:
    """64 uniform bits for each row of [file, row].

    SplitMix64 (Steele, Lea and Flood 2014) at state BLAKE2b(seed, purpose, file) + row steps.
    Purposes are independent of each other.
    """

    @cache
    def start(file: str) -> int:
        key = f"{seed}\0{purpose}\0{file}".encode()
        return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")

    def starts(files: pl.Series) -> pl.Series:
        # Rows of a file lie together: a lookup a run of rows, not a row.
        runs = files.rle().struct
        values = np.array([start(file) for file in runs.field("value")], np.uint64)
        return pl.Series(np.repeat(values, runs.field("len").to_numpy()))

    first = pl.col("file").map_batches(starts, return_dtype=pl.UInt64, is_elementwise=True)
    state = first + (pl.col("row").cast(pl.UInt64) + _word(1)) * _word(GOLDEN)
    for shift, factor in MIX:
        state = (state ^ (state // _word(1 << shift))) * _word(factor)
    return state ^ (state // _word(1 << LAST_SHIFT))


def uniform(bits: pl.Expr) -> pl.Expr:
    """64 bits as a Float64 in [0, 1): the upper 53 of them."""
    return (bits // _word(1 << 11)).cast(pl.Float64) * 2.0**-53


def _word(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt64)
