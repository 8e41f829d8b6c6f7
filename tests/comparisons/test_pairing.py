"""pipeline/comparisons/pairing.py against SciPy and plain loops over documents."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.comparisons import matching, pairing
from pipeline.comparisons.matching import match
from pipeline.comparisons.pairing import furthest, pair, wilcoxon_p_value
from pipeline.comparisons.samples import file_order, read_sample
from pipeline.runs.scores import scan_scores
from pipeline.statistics.bootstrap import Bootstrap
from tests.support.made_runs import row, unscored, write_run


def read(*stores):
    manifests = [store.require_manifest() for store in stores]
    files = file_order(manifests)
    frames = [scan_scores(store, m) for store, m in zip(stores, manifests, strict=True)]
    return files, frames, [read_sample(frame, files, {}) for frame in frames]


def paired(*stores, resamples=100):
    files, frames, (before, after) = read(*stores)
    bootstrap = Bootstrap(seed=0, resamples=resamples)
    blocks = bootstrap.blocks(after.key, files, 0)
    return pair(
        before,
        after,
        match(before, after),
        blocks=blocks,
        bootstrap=bootstrap,
        files=files,
        run_scores=frames[1],
    )


@pytest.fixture
def small(tmp_path):
    """Six rows then; now one file less and one more, a changed text, an unscored row."""
    before = {
        "a.parquet": [row(10, 10.0, 20, doc_id=f"a{i}") for i in range(4)],
        "gone.parquet": [row(10, 10.0, 20)] * 2,
    }
    after = {
        "a.parquet": [
            row(10, 13.0, 20, doc_id="a0"),
            row(10, 9.0, 20, doc_id="a1"),
            row(10, 50.0, 20, doc_id="a2", text_hash=-1),
            unscored(doc_id="a3"),
            row(10, 10.0, 20, doc_id="a4"),
        ],
        "new.parquet": [row(10, 10.0, 20)],
    }
    return write_run(tmp_path / "before", before), write_run(tmp_path / "after", after)


def test_every_row_is_counted_once(small):
    found = paired(*small)
    assert (found.num_matched, found.num_only_in_baseline, found.num_only_in_run) == (4, 2, 2)
    assert (found.num_texts_changed, found.num_compared) == (1, 2)
    assert (found.num_rose, found.num_fell, found.num_equal) == (1, 1, 0)
    assert found.share_rose == 0.5
    bits = [(13 - 10) / 20 / math.log(2), (9 - 10) / 20 / math.log(2)]
    assert found.mean_difference == pytest.approx(sum(bits) / 2)


def test_the_furthest_are_named(small):
    found = paired(*small)
    (rose,), (fell,) = found.rose_most, found.fell_most
    assert (rose.file, rose.row, rose.doc_id, rose.num_scored_bytes) == ("a.parquet", 0, "a0", 20)
    assert rose.baseline == pytest.approx(10 / 20 / math.log(2))
    assert rose.value == pytest.approx(13 / 20 / math.log(2))
    assert rose.difference == rose.value - rose.baseline
    assert (fell.row, fell.doc_id) == (1, "a1")


def test_nothing_in_common(tmp_path):
    stores = [write_run(tmp_path / name, {name: [row(10, 10.0, 20)] * 3}) for name in ("a", "b")]
    found = paired(*stores)
    assert (found.num_matched, found.num_compared) == (0, 0)
    assert (found.mean_difference, found.share_rose, found.interval) == (None, None, None)
    assert (found.wilcoxon_p_value, found.rose_most, found.fell_most) == (None, [], [])


def test_the_same_run_does_not_move(small):
    found = paired(small[0], small[0])
    assert (found.num_equal, found.mean_difference) == (6, 0)
    assert found.wilcoxon_p_value is None
    assert (found.interval.low, found.interval.high) == (0, 0)


def test_rows_out_of_order_are_matched_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(matching, "CHUNK", 3)
    rows = {name: [row(5, 5.0 + i, 9) for i in range(7)] for name in ("z", "m", "a")}
    stores = [
        write_run(tmp_path / "one", rows),
        write_run(tmp_path / "two", dict(reversed(rows.items()))),
    ]
    _, _, (before, after) = read(*stores)
    assert np.all(np.diff(before.key) > 0)
    found = match(before, after)
    assert found.num_matched == 21
    assert found.in_baseline.tolist() == found.in_run.tolist() == list(range(21))
    assert paired(*stores).num_equal == 21


def test_the_interval_is_that_of_the_mean(tmp_path):
    random = np.random.default_rng(2)
    base = random.gamma(4, 5, 800)
    moved = base + random.normal(0.5, 2, 800)
    stores = [
        write_run(tmp_path / name, {"a": [row(10, float(x), 100) for x in nats]})
        for name, nats in (("one", base), ("two", moved))
    ]
    found = paired(*stores, resamples=1500)
    bits = (moved - base) / 100 / math.log(2)
    assert found.mean_difference == pytest.approx(bits.mean())
    half = 1.96 * bits.std() / math.sqrt(800)
    assert found.interval.low == pytest.approx(bits.mean() - half, abs=0.15 * half)
    assert found.interval.high == pytest.approx(bits.mean() + half, abs=0.15 * half)
    assert found.wilcoxon_p_value == pytest.approx(stats.wilcoxon(bits).pvalue)


@pytest.mark.parametrize("decimals", [1, 12])
def test_many_differences_are_tested_as_scipy_does(monkeypatch, decimals):
    """With ties and zeros, and with hardly any."""
    monkeypatch.setattr(pairing, "CHUNK", 100)
    differences = np.round(np.random.default_rng(1).normal(0.05, 1, 3000), decimals)
    expected = stats.wilcoxon(differences, method="asymptotic").pvalue
    assert wilcoxon_p_value(differences.copy()) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-5, 5), max_size=40), st.sampled_from([1, -1]))
def test_furthest_is_a_sort(values, sign):
    expected = sorted((-v * sign, i) for i, v in enumerate(values) if v * sign > 0)[:10]
    found = furthest(np.array(values, dtype=np.float64), 10, sign)
    assert found == [i for _, i in expected]


def test_ids_of_other_kinds_are_shown_as_text(small):
    files, frames, (before, after) = read(*small)
    numbered = frames[1].with_columns(doc_id=pl.col("row") + 100)
    bootstrap = Bootstrap(seed=0, resamples=100)
    blocks = bootstrap.blocks(after.key, files, 0)
    for scores, expected in ((numbered, "100"), (frames[1].drop("doc_id"), None)):
        found = pair(
            before,
            after,
            match(before, after),
            blocks=blocks,
            bootstrap=bootstrap,
            files=files,
            run_scores=scores,
        )
        assert found.rose_most[0].doc_id == expected
