"""pipeline/statistics/hashing.py: the hash, against the published algorithm in plain Python."""

from hashlib import blake2b

import numpy as np
import polars as pl
from scipy import stats

from pipeline.statistics.bootstrap import NUM_BLOCKS, ROW_BITS, Bootstrap
from pipeline.statistics.hashing import row_hash, uniform

MASK = 2**64 - 1


def splitmix(seed: int, purpose: str, file: str, row: int) -> int:
    start = int.from_bytes(
        blake2b(f"{seed}\0{purpose}\0{file}".encode(), digest_size=8).digest(), "little"
    )
    z = (start + (row + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hashes(rows: list[tuple[str, int]], seed: int = 0, purpose: str = "p") -> list[int]:
    frame = pl.LazyFrame(rows, schema={"file": pl.String, "row": pl.Int64}, orient="row")
    return frame.select(row_hash(seed, purpose)).collect(engine="streaming").to_series().to_list()


def test_the_published_algorithm():
    rows = [("a.parquet", 0), ("b/é.parquet", 2**40), ("a.parquet", 1), ("", 7)]
    for seed, purpose in ((0, "order"), (7, "sample"), (-1, "order")):
        expected = [splitmix(seed, purpose, file, row) for file, row in rows]
        assert hashes(rows, seed, purpose) == expected


def test_it_does_not_depend_on_the_neighbours():
    rows = [(name, row) for name in ("a", "b") for row in range(20)]
    whole = hashes(rows)
    assert whole == hashes(rows[:13]) + hashes(rows[13:])
    assert len(set(whole)) == len(rows)


def test_uniform():
    bits = hashes([(f"{i % 3}", i) for i in range(20_000)])
    frame = pl.DataFrame({"bits": pl.Series(bits, dtype=pl.UInt64)})
    chance = frame.select(uniform(pl.col("bits"))).to_series().to_numpy()
    assert chance.min() >= 0
    assert chance.max() < 1
    assert stats.kstest(chance, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(chance[:-1], chance[1:])[0, 1]) < 0.03
    ends = pl.DataFrame({"bits": pl.Series([0, MASK], dtype=pl.UInt64)})
    assert ends.select(uniform(pl.col("bits"))).to_series().to_list() == [0.0, 1 - 2**-53]


def test_blocks_of_the_bootstrap_are_of_the_same_hash():
    """A document's block is what it was: intervals of earlier comparisons come out again."""
    names = ["a.parquet", "b/\udcff.parquet"]
    key = np.array([0, 7, (1 << ROW_BITS) + 3, (1 << ROW_BITS) + 2**39], np.int64)
    expected = []
    for file, row in (names[0], 0), (names[0], 7), (names[1], 3), (names[1], 2**39):
        salt = blake2b(f"5 2 {file}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        z = (int.from_bytes(salt, "little") + row * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        expected.append((z ^ (z >> 31)) % NUM_BLOCKS)
    assert Bootstrap(seed=5, resamples=1).blocks(key, names, 2).tolist() == expected
