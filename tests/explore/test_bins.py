"""Bins against NumPy, and what a page reads off them."""

import numpy as np
import polars as pl
import pytest

from pipeline.explore.bins import LOG_BINS, UNSCORED, ZERO, fill_bins, group_of
from pipeline.explore.run import open_run
from tests.support.made_runs import row, unscored, write_run

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
