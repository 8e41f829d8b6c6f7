"""Bins against NumPy, and what a page reads off them."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.explore.bins import LOG_BINS, UNSCORED, ZERO, fill_bins, group_of
from pipeline.explore.run import open_run
from tests.support.made_runs import row, unscored, write_run
from tests.support.runs import score_corpus

METRICS = ["perplexity", "bits_per_byte", "num_tokens", "num_skipped_tokens", "min_k_logprob"]


@pytest.mark.parametrize("metric", METRICS)
def test_bins_hold_every_document_once(scored, metric):
    run = open_run(scored.location)
    bins = fill_bins(run, metric, group_of(run, "source"))
    rows = run.rows().collect()
    values = rows.filter(pl.col("status") == "ok")[metric].drop_nulls().to_numpy()
    cells = bins.cells.filter(pl.col("bin") != UNSCORED)
    assert cells["documents"].sum() == len(values)
    assert cells["low"].min() == values.min()
    assert cells["high"].max() == values.max()
    if bins.scale.kind == "log":
        expected = np.where(values > 0, np.floor(np.log(values.clip(1e-300)) * LOG_BINS), ZERO)
    else:
        expected = np.floor((values - values.min()) / bins.scale.width).clip(0, 511)
    found = dict(cells.group_by("bin").agg(pl.col("documents").sum()).iter_rows())
    assert found == dict(zip(*np.unique(expected.astype(int), return_counts=True), strict=True))
    for name, column in (("tokens", "num_tokens"), ("bytes", "num_bytes")):
        extra = rows["num_skipped_tokens"].sum() if name == "tokens" else 0
        assert bins.cells[name].sum() == rows[column].sum() + extra


def test_every_group_has_its_own(scored):
    run = open_run(scored.location)
    bins = fill_bins(run, "perplexity", group_of(run, "source"))
    assert set(bins.groups) == {"web", "books", "code", "(null)"}
    rows = run.rows().collect()
    for code, name in enumerate(bins.groups):
        own = bins.cells.filter(group=code)
        value = None if name == "(null)" else name
        assert own["documents"].sum() == rows.filter(pl.col("source").eq_missing(value)).height


def test_without_groups_there_is_one(scored):
    run = open_run(scored.location)
    bins = fill_bins(run, "perplexity", group_of(run, None))
    assert bins.groups == ("",)
    assert bins.cells["documents"].sum() == run.num_rows


def test_zero_and_what_has_no_value_stand_apart(tmp_path):
    rows = [row(10, 0.0, 40), row(10, 5.0, 40), unscored("error")]
    run = open_run(write_run(tmp_path / "run", {"a": rows}).location)
    cells = fill_bins(run, "bits_per_byte", group_of(run, None)).cells
    assert cells["bin"].to_list()[:2] == [UNSCORED, ZERO]
    assert cells["documents"].to_list() == [1, 1, 1]


INTEGERS = {
    "years": ([2019, 2020, 2020, 2021, None], "whole", 3),
    "years of two centuries": ([1800, 1801, 1900, 2024], "whole", 4),
    "marks": ([1, 2, 3, 5, 5], "whole", 4),
    "with nothing": ([0, 0, 1], "whole", 2),
    "below zero": ([-2, -1, 0, 2], "whole", 4),
    "one value": ([7, 7], "whole", 1),
    "sizes": ([0, 1, 10, 10_000], "log", 4),
    "votes": ([1, 128], "whole", 2),
    "more votes": ([1, 129], "log", 2),
    "seconds": ([1_600_000_000, 1_600_000_001, 1_700_000_000], "linear", 2),
    "no value": ([None, None], "log", 0),
    "the largest there are": ([2**63 - 1, 2**63 - 2], "whole", 1),
    "of every size": ([-(2**63), 2**63 - 1], "linear", 2),
}


@pytest.mark.parametrize(("values", "kind", "number"), INTEGERS.values(), ids=INTEGERS)
def test_few_whole_numbers_have_a_bin_each(tmp_path, tiny_model, values, kind, number):
    (tmp_path / "data").mkdir()
    texts = [f"text {i} of many" for i in range(len(values))]
    table = pa.table({"text": texts, "n": pa.array(values, pa.int64())})
    pq.write_table(table, tmp_path / "data/0.parquet")
    store = score_corpus(tmp_path / "data", tmp_path / "run", tiny_model, carry=("n",))
    run = open_run(store.location)
    bins = fill_bins(run, "n", group_of(run, None))
    found = bins.cells.filter(pl.col("bin") != UNSCORED)
    assert (bins.scale.kind, found.height) == (kind, number)
    assert found["documents"].sum() == len([one for one in values if one is not None])
    if kind == "whole":
        assert found["low"].to_list() == found["high"].to_list()
        middle = bins.scale.start + bins.scale.width * (found["bin"] + 0.5)
        assert middle.to_list() == found["low"].to_list()


def test_values_that_a_log_axis_does_not_tell_apart(tmp_path, tiny_model):
    (tmp_path / "data").mkdir()
    values = np.linspace(0.999, 1.001, 41)
    table = pa.table({"text": [f"text {i} of many" for i in range(41)], "n": values})
    pq.write_table(table, tmp_path / "data/0.parquet")
    store = score_corpus(tmp_path / "data", tmp_path / "run", tiny_model, carry=("n",))
    run = open_run(store.location)
    assert fill_bins(run, "n", group_of(run, None)).cells.height == 41


def test_progress_adds_up_to_every_row(scored, monkeypatch):
    monkeypatch.setattr("pipeline.explore.run.CHUNK_ROWS", 50)
    run = open_run(scored.location)
    told: list[int] = []
    whole = fill_bins(run, "perplexity", group_of(run, "source"), progress=told.append)
    assert len(told) > 2
    assert sum(told) == run.num_rows
    monkeypatch.undo()
    again = fill_bins(run, "perplexity", group_of(run, "source"))
    assert whole.cells.equals(again.cells)


def test_a_condition_narrows_it_down(scored):
    run = open_run(scored.location)
    where = pl.col("source") == "web"
    bins = fill_bins(run, "perplexity", group_of(run, None), where=where)
    assert bins.cells["documents"].sum() == run.rows().filter(where).collect().height
