"""One table of all nights: a night's rows once, and a lost table made again."""

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipeline.audits.history import SCHEMA, rows_of, update_history
from pipeline.audits.nights import Nights
from pipeline.errors import RunError
from tests.audits.test_checks import part
from tests.audits.test_nights import HOSTILE, put


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(str(tmp_path / "runs"))


def groups():
    return {"source": {"web": part(12.0), HOSTILE: part(7.0)}}


def test_a_night_has_its_rows_once(nights):
    update_history(nights, put(nights, "2026-01-02", groups=groups()))
    update_history(nights, put(nights, "2026-01-01", "fail", groups=groups()))
    table = update_history(nights, put(nights, "2026-01-02", "fail"))
    assert table.select("night", "verdict", "group").rows() == [
        (date(2026, 1, 1), "fail", None),
        (date(2026, 1, 1), "fail", "web"),
        (date(2026, 1, 1), "fail", HOSTILE),
        (date(2026, 1, 2), "fail", None),
    ]
    assert table.row(1, named=True)["corpus_perplexity"] == 12.0
    assert table.row(0, named=True)["reasons"] == ["bits_per_byte is 0.72, max 0.5"]
    assert pl.read_parquet(nights.root.read_bytes("history.parquet")).equals(table)


@pytest.mark.parametrize("damage", ["removed", "torn", "other types", "another", "older"])
def test_a_lost_table_is_made_again(nights, damage, caplog):
    records = [put(nights, f"2026-01-0{i}", groups=groups()) for i in range(1, 4)]
    for record in records[:2]:
        whole = update_history(nights, record)
    if damage == "removed":
        nights.root.remove("history.parquet")
    elif damage == "torn":
        nights.root.write_bytes("history.parquet", b"PAR1")
    elif damage == "another":
        pl.DataFrame({"x": [1]}).write_parquet(nights.root.full("history.parquet"))
    elif damage == "older":  # of a backup
        older = whole.filter(pl.col("night") < date(2026, 1, 2))
        older.write_parquet(nights.root.full("history.parquet"))
    else:
        whole.with_columns(pl.col("night").cast(pl.String)).write_parquet(
            nights.root.full("history.parquet")
        )
    table = update_history(nights, records[2])
    assert table["night"].n_unique() == 3
    assert table.height == 9
    assert ("rebuilding" in caplog.text) == (damage in ("torn", "other types"))


def test_a_table_of_an_older_version(nights):
    old = rows_of(put(nights, "2026-01-01")).drop("p95").with_columns(pl.lit(1).alias("gone"))
    nights.root.write_bytes("x", b"")
    old.write_parquet(nights.root.full("history.parquet"))
    table = update_history(nights, put(nights, "2026-01-02"))
    assert table.schema == SCHEMA
    assert table.height == 2


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_table_that_is_no_file_is_not_overwritten(nights, make):
    night = put(nights, "2026-01-01")
    table = Path(nights.root.full("history.parquet"))
    make(table)
    with pytest.raises(RunError, match=r"history\.parquet is (a folder|neither)") as caught:
        update_history(nights, night)
    assert "move it away" in caught.value.hint
    assert not table.is_file()
