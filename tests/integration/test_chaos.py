"""`make chaos` for a minute, and that it would notice what it looks for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runs.parts import FOOTER_KEY
from tests.chaos.corpus import ROWS_PER_GROUP, Undisturbed
from tests.support.runs import score_corpus

ROOT = Path(__file__).parents[2]
SEED = 47720
"""Deals deaths of an engine, a machine and a driver, on a store its own; and the last moments."""


@pytest.mark.timeout(900)
def test_a_short_soak(tmp_path):
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "0", "--seed", str(SEED)]
    # A cluster that ran in this process has left its token's settings.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    ended = subprocess.run(
        [*command, "--files", "1", "--faults", "3"],
        cwd=ROOT,
        env=environment | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    disk, store = (line for line in ended.stdout.splitlines() if line.startswith("round-"))
    assert {"engine process killed", "machine lost", "driver killed", "all parts"} <= caused(disk)
    assert "store killed and restarted" in caused(store)
    assert disk.endswith("every row equal")
    assert store.endswith("every row equal")


def caused(told: str) -> set[str]:
    """`round-1 (a fault, another one): ...`"""
    return set(told[told.index("(") + 1 : told.index(")")].split(", "))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"), num_files=1)


@pytest.fixture
def run(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    settings = undisturbed.settings | {"carry": ("id",)}
    score_corpus(undisturbed.corpus, tmp_path / "run", undisturbed.model, **settings)
    return tmp_path / "run"


def rewrite(part: Path, change) -> None:
    table = pq.read_table(part)
    metadata = pq.read_metadata(part).metadata
    kept = {FOOTER_KEY.encode(): metadata[FOOTER_KEY.encode()]}
    pq.write_table(change(table).replace_schema_metadata(kept), part)


def test_an_equal_run_has_no_difference(undisturbed, run):
    assert undisturbed.compare(str(run)).is_none


def test_lost_rows_are_counted(undisturbed, run):
    (run / "scores" / "part-00003.parquet").unlink()
    difference = undisturbed.compare(str(run))
    assert (difference.lost, difference.doubled) == (ROWS_PER_GROUP, 0)
    assert not difference.is_none


def test_doubled_rows_are_counted(undisturbed, run):
    rewrite(run / "scores" / "part-00003.parquet", lambda rows: pa.concat_tables([rows, rows]))
    difference = undisturbed.compare(str(run))
    assert (difference.lost, difference.doubled) == (0, ROWS_PER_GROUP)


def test_a_part_in_place_of_another_is_both(undisturbed, run):
    shutil.copy(run / "scores" / "part-00003.parquet", run / "scores" / "part-00004.parquet")
    difference = undisturbed.compare(str(run))
    assert (difference.lost, difference.doubled) == (ROWS_PER_GROUP, ROWS_PER_GROUP)


def test_changed_and_swapped_rows_are_counted(undisturbed, run):
    rewrite(run / "scores" / "part-00003.parquet", lambda rows: rows.take([1, 0, *range(2, 8)]))
    difference = undisturbed.compare(str(run))
    assert (difference.lost, difference.doubled, difference.changed) == (0, 0, 2)


def test_what_is_left_behind_is_named(undisturbed, run):
    (run / "scores" / ".tmp-0-part-00003.parquet").write_bytes(b"half")
    assert undisturbed.compare(str(run)).is_none  # gc removes it
    (run / "scores" / "half").write_bytes(b"half")
    assert undisturbed.compare(str(run)).complaints == ("left behind: scores/half",)
