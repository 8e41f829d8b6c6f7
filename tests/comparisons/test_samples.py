"""pipeline/comparisons/samples.py: rows as on disk, in order, the same numbers everywhere."""

import math

import numpy as np
import pytest

from pipeline.comparisons.samples import Sample, file_order, read_sample
from pipeline.comparisons.shifts import (
    BITS,
    PERPLEXITY,
    WHOLE,
    count_scored,
    percentiles,
    resample,
)
from pipeline.reports.groups import OTHERS
from pipeline.runs.scores import scan_scores
from pipeline.statistics.bootstrap import ROW_BITS, Bootstrap
from tests.support.made_runs import hash_of, row, unscored, write_run


def test_every_row_in_order_of_file_and_row(tmp_path):
    files = {
        "z": [row(5, 5.0 + i, 9, source="web") for i in range(3)],
        "b": [unscored(source=None), row(7, 2.5, 11, source="books", text_hash=None)],
    }
    store = write_run(tmp_path / "run", files)
    other = write_run(tmp_path / "other", {"m": files["b"]})
    manifest = store.require_manifest()
    numbers = file_order([manifest, other.require_manifest()])
    assert numbers == ["b", "m", "z"]
    groups = {"source": ["web", "(null)", OTHERS]}
    found = read_sample(scan_scores(store, manifest), numbers, groups)
    located = [(numbers[key >> ROW_BITS], key & (2**ROW_BITS - 1)) for key in found.key.tolist()]
    assert located == [("b", 0), ("b", 1), ("z", 0), ("z", 1), ("z", 2)]
    assert found.groups["source"].tolist() == [1, 2, 0, 0, 0]
    assert found.num_tokens.tolist() == [0, 7, 5, 5, 5]
    assert found.num_scored_bytes.tolist() == [0, 11, 9, 9, 9]
    assert found.text_hash.tolist() == [hash_of("b", 0), 0, *(hash_of("z", i) for i in range(3))]
    assert found.scored().tolist() == [False, True, True, True, True]
    assert np.isnan(found.nll[0])
    rows = np.array([1, 4])
    assert found.metric("log_perplexity", rows).tolist() == [2.5 / 7, 7 / 5]
    expected = [2.5 / 11 / math.log(2), 7 / 9 / math.log(2)]
    assert np.allclose(found.metric("bits_per_byte", rows), expected)


def test_a_run_without_rows(tmp_path):
    store = write_run(tmp_path / "run", {})
    manifest = store.require_manifest()
    found = read_sample(scan_scores(store, manifest), [], {"source": ["web"]})
    assert len(found.key) == len(found.groups["source"]) == 0


def test_documents_of_a_sample_are_resampled_by_their_weight():
    """Those that stand for nearly all decide nearly alone, in figures and in percentiles."""
    random = np.random.default_rng(0)
    num = 200
    is_heavy = np.arange(num) % 2 == 0
    sample = Sample(
        key=np.arange(num, dtype=np.int64),
        text_hash=np.zeros(num, np.int64),
        nll=np.where(is_heavy, 2.0, random.uniform(3, 9, num)) * 10,
        num_tokens=np.full(num, 10, np.uint32),
        num_scored_bytes=np.full(num, 40, np.uint32),
        num_scored_words=np.full(num, 8, np.uint32),
        weight=np.where(is_heavy, 1e9, 1e-3),
    )
    bootstrap = Bootstrap(seed=0, resamples=50)
    blocks = bootstrap.blocks(sample.key, ["a"], 0)
    found = resample(sample, blocks, bootstrap, {})[WHOLE]
    assert found[PERPLEXITY] == pytest.approx(np.exp(2.0), rel=1e-9)
    assert found[BITS] == pytest.approx(0.5 / np.log(2), rel=1e-9)
    shares = percentiles(sample, [PERPLEXITY])[PERPLEXITY]
    assert shares[1:100] == pytest.approx([np.exp(2.0)] * 99, rel=1e-6)
    assert count_scored(sample, {}) == {WHOLE: num}
