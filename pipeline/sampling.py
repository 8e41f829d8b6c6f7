"""Chance that does not depend on how the work was dealt: a hash of seed, file and row.

Owns the hash. The same document gets the same number whatever the shards, the threads or the
order, today and under another version of Polars, whose own hash promises none of this.
"""

from collections.abc import Iterable
from hashlib import blake2b

import polars as pl

GOLDEN = 0x9E3779B97F4A7C15
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31


def with_row_hash(
    rows: pl.LazyFrame, name: str, seed: int, purpose: str, files: Iterable[str]
) -> pl.LazyFrame:
    """`rows` [file, row, ...] in order with 64 uniform bits for each, as the column `name`.

    SplitMix64 (Steele, Lea and Flood 2014) at state BLAKE2b(seed, purpose, file) + row steps.
    Purposes are independent of each other. `files` are all that may occur.
    """
    names = list(files)
    starts = pl.LazyFrame(
        {"file": names, name: [_start(seed, purpose, file) for file in names]},
        schema={"file": pl.String, name: pl.UInt64},
    )
    # A join streams; a lookup by expression would take every row into memory.
    joined = rows.join(starts, on="file", how="left", maintain_order="left")
    state = pl.col(name) + (pl.col("row").cast(pl.UInt64) + _word(1)) * _word(GOLDEN)
    for shift, factor in MIX:
        state = (state ^ (state // _word(1 << shift))) * _word(factor)
    return joined.with_columns((state ^ (state // _word(1 << LAST_SHIFT))).alias(name))


def uniform(bits: pl.Expr) -> pl.Expr:
    """64 bits as a Float64 in [0, 1): the upper 53 of them."""
    return (bits // _word(1 << 11)).cast(pl.Float64) * 2.0**-53


def _start(seed: int, purpose: str, name: str) -> int:
    key = f"{seed}\0{purpose}\0{name}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


def _word(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt64)
