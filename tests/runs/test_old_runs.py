"""Runs and folders of nights of 0.1.0: every command reads them, and goes on with them."""

import json
from pathlib import Path

import pytest

from pipeline.runs.store import RunStore
from tests.support.audits import Audits, Scorer
from tests.support.old_records import age

MONDAY, TUESDAY = "2026-01-05", "2026-01-06"
REQUIRE = '[[audit.require]]\nmetric = "corpus_perplexity"\nmax_increase = 0.01\n'


@pytest.fixture
def audits(tmp_path: Path, tiny_model: Path) -> Audits:
    """One night of it."""
    found = Audits(tmp_path, tiny_model)
    for name in ("a", "b"):
        found.write(name, [f"{name} document {i} " + "word " * i for i in range(12)])
    found.configure('by = "source"', extra=REQUIRE)
    found.night(MONDAY)
    assert age(found.runs) >= 5, "a manifest, a _SUCCESS, a verdict, a pointer and parts"
    return found


def test_every_command_reads_them(audits, winnow, tmp_path):
    run = audits.runs / MONDAY
    for command in (
        ["status", run],
        ["status", "--watch", run],
        ["verify", "--sample", "0", run],
        ["report", run],
        ["filter", run, "--percentile", "10:90", "--out", tmp_path / "kept"],
        ["compare", run, run],
        ["gc", run],
    ):
        code, _, said = winnow(*command)
        assert code == 0, said
    # An output folder that was begun by it is gone on with.
    (tmp_path / "kept/_filter.json").unlink()
    assert age(tmp_path / "kept") == 1
    code, _, said = winnow("filter", run, "--percentile", "10:90", "--out", tmp_path / "kept")
    assert code == 0, said
    assert json.loads((tmp_path / "kept/_filter.json").read_text())["after"]["documents"]


def test_an_unfinished_one_is_resumed(audits):
    run = audits.runs / MONDAY
    for name in ("_SUCCESS", "audit.json", "scores/part-00001.parquet"):
        (run / name).unlink()
    scorer = Scorer()
    assert audits.night(MONDAY, scorer).verdict == "pass"
    assert scorer.num_scored == 1
    assert RunStore(str(run)).success() is not None


def test_the_next_night_takes_them_over_and_is_held_against_them(audits):
    scorer = Scorer()
    night = audits.night(TUESDAY, scorer)
    assert scorer.num_scored == 0
    assert night.baseline.run == str(audits.runs / MONDAY)
    assert [check.state for check in night.checks] == ["pass"]
    assert json.loads((audits.runs / "latest.json").read_text())["night"] == TUESDAY
