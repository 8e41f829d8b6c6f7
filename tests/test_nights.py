"""The folder of all nights: which were good, which is the latest, one table and one page of all."""

import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline import nights as module
from pipeline.audit_config import AuditConfig, Requirement
from pipeline.errors import RunError
from pipeline.history import SCHEMA, rows_of, update_history
from pipeline.nights import Nights, below
from pipeline.trend import to_html, write_trend
from tests.test_audit_checks import part
from tests.test_webhook import make_record

HOSTILE = "</svg><script>alert(1)</script>\x1b[2J\u202e & \"' {{ 7*7 }}"


def put(nights: Nights, night: str, verdict: str = "pass", **changes):
    record = make_record(night=night, verdict=verdict, run=nights.location(night), **changes)
    nights.write_record(record)
    nights.root.write_bytes(f"{night}/manifest.json", b"{}")
    return record


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(str(tmp_path / "runs"))


def test_below_a_uri():
    assert below("s3://b/runs/", "x") == "s3://b/runs/x"
    assert below("s3://b/runs?region=eu", "x") == "s3://b/runs/x?region=eu"
    assert below("/a?b/runs", "x") == "/a?b/runs/x"


def test_which_nights(nights, tmp_path):
    assert nights.names() == []
    put(nights, "2026-01-01")
    put(nights, "2026-01-02", "fail")
    (tmp_path / "runs" / "2026-01-03").mkdir()  # begun by nobody
    (tmp_path / "runs" / "latest-old").mkdir()
    (tmp_path / "runs" / "2026-01-09").touch()
    assert nights.names() == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert nights.last_good("2026-01-04").night == "2026-01-01"
    assert nights.last_good("2026-01-01") is None
    assert nights.last_run("2026-01-04") == nights.location("2026-01-02")
    assert nights.last_run("2026-01-01") is None


def test_a_damaged_verdict_is_said_and_is_no_baseline(nights):
    put(nights, "2026-01-01")
    put(nights, "2026-01-02")
    nights.root.write_bytes("2026-01-02/audit.json", b'{"verdict": "pa')
    with pytest.raises(RunError, match=r"2026-01-02/audit.json is damaged"):
        nights.record("2026-01-02")
    assert nights.last_good("2026-01-03").night == "2026-01-01"


def test_runs_is_a_file(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(RunError, match="is a file, not a folder of nights"):
        Nights(str(tmp_path / "runs"))


def test_the_latest(nights, tmp_path):
    nights.point_to(put(nights, "2026-01-02", "fail"))
    nights.point_to(put(nights, "2026-01-01"))  # made up for
    latest = json.loads((tmp_path / "runs" / "latest.json").read_text())
    assert latest == {
        "night": "2026-01-02",
        "run": nights.location("2026-01-02"),
        "verdict": "fail",
    }
    nights.point_to(put(nights, "2026-01-03"))
    assert (tmp_path / "runs" / "latest").readlink() == Path("2026-01-03")
    (tmp_path / "runs" / "latest").unlink()
    (tmp_path / "runs" / "latest").mkdir()  # somebody's own
    nights.point_to(put(nights, "2026-01-04"))
    assert json.loads((tmp_path / "runs" / module.LATEST).read_text())["night"] == "2026-01-04"


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


@pytest.mark.parametrize("damage", ["removed", "torn", "other types"])
def test_a_lost_table_is_made_again(nights, damage, caplog):
    records = [put(nights, f"2026-01-0{i}", groups=groups()) for i in range(1, 4)]
    for record in records[:2]:
        whole = update_history(nights, record)
    if damage == "removed":
        nights.root.remove("history.parquet")
    elif damage == "torn":
        nights.root.write_bytes("history.parquet", b"PAR1")
    else:
        whole.with_columns(pl.col("night").cast(pl.String)).write_parquet(
            nights.root.full("history.parquet")
        )
    table = update_history(nights, records[2])
    assert table["night"].n_unique() == 3
    assert table.height == 9
    assert ("is made again" in caplog.text) == (damage != "removed")


def test_a_table_of_an_older_version(nights):
    old = rows_of(put(nights, "2026-01-01")).drop("p95").with_columns(pl.lit(1).alias("gone"))
    nights.root.write_bytes("x", b"")
    old.write_parquet(nights.root.full("history.parquet"))
    table = update_history(nights, put(nights, "2026-01-02"))
    assert table.schema == SCHEMA
    assert table.height == 2


def history(num_nights: int) -> pl.DataFrame:
    rows = []
    for i in range(num_nights):
        night = (date(2026, 1, 1) + timedelta(days=i)).isoformat()
        record = make_record(
            night=night,
            verdict="fail" if i % 5 == 4 else "pass",
            overall=part(10.0 + i % 7),
            groups=groups(),
            reasons=[HOSTILE] if i % 5 == 4 else [],
        )
        rows.append(rows_of(record))
    return pl.concat(rows)


def test_the_page(nights):
    asked = AuditConfig(
        runs="r",
        require=(
            Requirement(metric="corpus_perplexity", max=14.5),
            Requirement(metric="corpus_perplexity", by="source", max=20),
        ),
    )
    page = to_html(history(15), asked, HOSTILE)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "{{" in page  # what somebody else wrote, as text
    assert page.count("<figure") == 5
    assert "stroke-dasharray" in page
    assert page.index("2026-01-15/report.html") < page.index("2026-01-14/report.html")
    write_trend(nights, history(1), asked)
    assert "2026-01-01" in nights.root.read_bytes("trend.html").decode()


def test_a_night_without_any_score():
    record = make_record(night="2026-01-01", overall=part(None, 0))
    page = to_html(rows_of(record), AuditConfig(runs="r"), "runs")
    assert "2026-01-01" in page
