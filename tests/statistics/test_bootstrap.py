"""pipeline/statistics/bootstrap.py against SciPy, and the formula for a ratio's variance."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipeline.statistics.bootstrap import (
    BATCH,
    NUM_BLOCKS,
    ROW_BITS,
    Bootstrap,
    block_sums,
    interval,
)

FILES = ["a.parquet", "b.parquet"]


def documents(num, seed=3):
    """Tokens, and nats that go with them: shape [num] each."""
    random = np.random.default_rng(seed)
    tokens = random.integers(5, 500, num)
    return tokens, tokens * random.gamma(9, 0.3, num)


def keys(num):
    """Half of them in each file."""
    row = np.arange(num, dtype=np.int64)
    return (row % 2 << ROW_BITS) + row // 2


@pytest.fixture(scope="module")
def many():
    """Resamples enough that the intervals' own noise is small."""
    return Bootstrap(seed=1, resamples=2500)


def ratio_interval(bootstrap, key, tokens, nats):
    blocks = bootstrap.blocks(key, FILES, 0)
    sums = bootstrap.resample(block_sums(blocks, [nats, tokens])[0])
    return interval(sums[:, 0] / sums[:, 1], len(key))


@pytest.mark.parametrize("num", [60, 2000, 60_000])
def test_as_wide_as_the_formula(many, num):
    """Of few documents and of many more than blocks; the delta method is the reference."""
    tokens, nats = documents(num)
    found = ratio_interval(many, np.sort(keys(num)), tokens, nats)
    ratio = nats.sum() / tokens.sum()
    deviation = math.sqrt(np.sum((nats - ratio * tokens) ** 2)) / tokens.sum()
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert found.low < ratio < found.high


def test_as_scipys_bootstrap(many):
    tokens, nats = documents(400)
    theirs = stats.bootstrap(
        (nats, tokens),
        lambda n, t, axis: n.sum(axis=axis) / t.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2500,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = ratio_interval(many, np.sort(keys(400)), tokens, nats)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * width)


def test_covers_the_truth_nineteen_times_in_twenty():
    key = np.sort(keys(150))
    bootstrap = Bootstrap(seed=0, resamples=200)
    covered = 0
    for trial in range(200):
        tokens, nats = documents(150, seed=1000 + trial)
        found = ratio_interval(bootstrap, key, tokens, nats)
        covered += found.low <= 9 * 0.3 <= found.high
    assert 0.90 <= covered / 200 <= 0.98


def test_a_seed_gives_the_same_and_another_does_not():
    tokens, nats = documents(200)
    first, again, other = (
        ratio_interval(Bootstrap(seed=seed, resamples=200), np.sort(keys(200)), tokens, nats)
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_a_seed_deals_other_blocks_and_draws_other_weights():
    """Either alone would leave what they have in common to every seed."""
    one, other = (Bootstrap(seed=seed, resamples=50) for seed in (5, 6))
    blocks = [each.blocks(np.sort(keys(200)), FILES, 0).tolist() for each in (one, other)]
    assert blocks[0] != blocks[1]
    sums = np.ones((NUM_BLOCKS, 1))
    assert one.resample(sums).tolist() != other.resample(sums).tolist()
    said = one.described()
    assert (said.seed, said.resamples) == (5, 50)


def test_weights_are_draws_from_a_poisson_distribution():
    """How many documents a resample has varies as much as they are many."""
    drawn = Bootstrap(seed=2, resamples=2000).resample(np.ones((NUM_BLOCKS, 1)))[:, 0]
    assert drawn.mean() == pytest.approx(NUM_BLOCKS, rel=1e-3)
    assert drawn.var() == pytest.approx(NUM_BLOCKS, rel=0.12)


def test_the_last_resample_is_drawn_too():
    """Resamples are made some at a time, and one is left over."""
    for num in (1, BATCH, BATCH + 1):
        drawn = Bootstrap(seed=4, resamples=num).resample(np.ones((NUM_BLOCKS, 1)))[:, 0]
        assert len(drawn) == num
        assert np.abs(drawn - NUM_BLOCKS).max() < 6 * math.sqrt(NUM_BLOCKS)


def test_rows_have_the_block_of_their_key(monkeypatch):
    monkeypatch.setattr("pipeline.statistics.bootstrap.CHUNK", 7)
    bootstrap = Bootstrap(seed=3, resamples=2)
    key = np.sort(keys(100))
    rows = pl.DataFrame(
        {"file": [FILES[one] for one in key >> ROW_BITS], "row": key & ((1 << ROW_BITS) - 1)}
    )
    found = rows.select(bootstrap.block_expr(9)).to_series()
    assert found.to_list() == bootstrap.blocks(key, FILES, 9).tolist()


def test_documents_are_resampled_together_where_they_are_the_same():
    """The difference of two runs that differ by a constant does not vary; of unrelated it does."""
    tokens, nats = documents(500)
    bootstrap = Bootstrap(seed=0, resamples=300)
    key = np.sort(keys(500))
    mean = {}
    for corpus in (0, 1):
        blocks = bootstrap.blocks(key, FILES, corpus)
        sums = bootstrap.resample(block_sums(blocks, [nats, tokens])[0])
        mean[corpus] = sums[:, 0] / sums[:, 1]
    blocks = bootstrap.blocks(key, FILES, 0)
    sums = bootstrap.resample(block_sums(blocks, [nats + tokens, tokens])[0])
    assert np.ptp(sums[:, 0] / sums[:, 1] - mean[0]) < 1e-9
    assert np.ptp(mean[1] - mean[0]) > 0.01


def test_the_block_does_not_depend_on_which_other_files_there_are():
    bootstrap = Bootstrap(seed=0, resamples=2)
    row = np.arange(50, dtype=np.int64)
    alone = bootstrap.blocks(row, ["b.parquet"], 0)
    beside = bootstrap.blocks((1 << ROW_BITS) + row, FILES, 0)
    assert alone.tolist() == beside.tolist()


def test_documents_are_dealt_evenly():
    blocks = Bootstrap(seed=0, resamples=2).blocks(keys(40 * NUM_BLOCKS), FILES, 0)
    counts = np.bincount(blocks, minlength=NUM_BLOCKS)
    chi_squared = np.sum((counts - 40) ** 2 / 40)
    assert stats.chi2.sf(chi_squared, NUM_BLOCKS - 1) > 1e-4


def test_sums_by_block_and_group(monkeypatch):
    monkeypatch.setattr("pipeline.statistics.bootstrap.CHUNK", 7)
    random = np.random.default_rng(0)
    blocks = random.integers(0, 5, 100).astype(np.uint16)
    groups = random.integers(0, 3, 100).astype(np.uint8)
    values = random.normal(size=100)
    kept = random.random(100) < 0.7
    values[~kept] = np.nan
    sums = block_sums(blocks, [values], where=kept, groups=groups, num_groups=3)
    assert sums.shape == (3, NUM_BLOCKS, 1)
    for group in range(3):
        for block in range(5):
            inside = kept & (groups == group) & (blocks == block)
            assert sums[group, block, 0] == pytest.approx(math.fsum(values[inside]))


@pytest.mark.parametrize("num", [0, 1])
def test_one_document_has_no_interval(num):
    assert interval(np.ones(100), num) is None


def test_resamples_without_a_document_are_left_out():
    found = interval(np.array([1.0, 2.0, np.nan, 3.0]), 2)
    assert 1 <= found.low <= found.high <= 3
    assert interval(np.array([np.nan, np.nan]), 2) is None


def test_a_resample_that_divides_by_nothing_is_left_out():
    found = interval(np.array([1.0, 2.0, np.inf, 3.0]), 2)
    assert 1 <= found.low <= found.high <= 3
