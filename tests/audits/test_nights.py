"""The folder of all nights: which were good, which is the latest."""

import json
from pathlib import Path

import pytest

from pipeline.audits import nights as module
from pipeline.audits.nights import Nights, below
from pipeline.errors import RunError
from tests.nights.test_webhook import make_record

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
    [why] = nights.damaged("2026-01-03", "2026-01-01")
    assert "2026-01-02/audit.json is damaged" in why
    assert nights.damaged("2026-01-02", None) == []
    assert nights.damaged("2026-01-03", "2026-01-02") == []


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
