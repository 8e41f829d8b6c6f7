"""Bins beside the run: found again, and never of other scores."""

import shutil
from pathlib import Path

import pytest

from pipeline.explore import cache
from pipeline.explore.cache import cached_bins
from pipeline.explore.run import open_run
from pipeline.runs.store import RunStore


@pytest.fixture
def run(scored: RunStore, tmp_path, monkeypatch) -> Path:
    """A run that is large enough to keep its bins."""
    monkeypatch.setattr(cache, "FEWEST_ROWS", 1)
    shutil.copytree(scored.location, tmp_path / "run")
    return tmp_path / "run"


def never(*_, **__):
    raise AssertionError("read the scores again")


def test_the_second_look_reads_no_scores(run, monkeypatch):
    first = cached_bins(open_run(str(run)), "perplexity", "source")
    monkeypatch.setattr(cache, "fill_bins", never)
    second = cached_bins(open_run(str(run)), "perplexity", "source")
    assert second.cells.equals(first.cells)
    assert (second.scale, second.groups) == (first.scale, first.groups)
    with pytest.raises(AssertionError):
        cached_bins(open_run(str(run)), "num_tokens", "source")


@pytest.mark.parametrize("at", [3, 40, -1])
def test_damage_is_found(run, monkeypatch, at):
    first = cached_bins(open_run(str(run)), "perplexity", None)
    [file] = (run / "explore").iterdir()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert cached_bins(open_run(str(run)), "perplexity", None).cells.equals(first.cells)
    monkeypatch.setattr(cache, "fill_bins", never)
    cached_bins(open_run(str(run)), "perplexity", None)  # replaced


def test_of_other_scores_it_is_made_anew(run, scored, monkeypatch):
    opened = open_run(str(run))
    cached_bins(opened, "perplexity", None)
    monkeypatch.setattr(cache, "fill_bins", never)
    monkeypatch.setattr("pipeline.explore.run.identify", lambda parts: "other")
    with pytest.raises(AssertionError):
        cached_bins(open_run(str(run)), "perplexity", None)


def test_where_nothing_may_be_written_nothing_is_kept(run):
    (run / "explore").write_text("in the way")
    assert cached_bins(open_run(str(run)), "perplexity", None).cells.height


def test_a_small_run_keeps_none(scored):
    cached_bins(open_run(scored.location), "perplexity", None)
    assert not Path(scored.location, "explore").exists()
