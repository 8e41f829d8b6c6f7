"""In CI a test is skipped for a known reason or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = """
import pytest

def test_left_out():
    pytest.skip("no frobnicator on PATH")
"""


@pytest.mark.parametrize(("allowed", "code"), [(None, 0), ("no frobnicator", 0), ("root may", 1)])
def test_an_unknown_reason_fails(tmp_path, monkeypatch, allowed, code):
    if allowed is None:
        monkeypatch.delenv("WINNOW_MAY_SKIP", raising=False)
    else:
        monkeypatch.setenv("WINNOW_MAY_SKIP", allowed)
    (tmp_path / "test_one.py").write_text(SKIPPED)
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_sessionfinish")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert ("must not be skipped here" in done.stdout) == bool(code)
