"""The demo where it cannot run: over what another version left, and without an engine."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.demo import demo
from pipeline.errors import RunError
from pipeline.runs.manifest import FORM_VERSION

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LEFT = {
    "another version's run": ("manifest.json", json.dumps({"schema_version": FORM_VERSION - 1})),
    "what is damaged": ("manifest.json", "{"),
    "what is no run": ("notes.txt", "mine"),
}


@pytest.mark.parametrize(("name", "content"), LEFT.values(), ids=LEFT)
def test_what_the_demo_cannot_go_on_with(tmp_path, tiny_model, monkeypatch, name, content):
    """It says which folders to remove, in words that a shell takes, and removes nothing itself."""
    folder = tmp_path / "my demo"
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus/own.txt").write_text("mine")
    (folder / "run").mkdir()
    (folder / "run" / name).write_text(content)
    before = contents(folder)
    monkeypatch.setattr(demo, "demo_model", lambda: tiny_model)
    with pytest.raises(RunError) as raised:
        demo.run_demo(folder)
    assert str(folder / "run") in str(raised.value)
    hint = raised.value.hint
    assert "--out" not in hint
    command = hint.removeprefix("start over: ").split(";")[0]
    assert shlex.split(command) == ["rm", "-r", str(folder / "run"), str(folder / "corpus")]
    assert contents(folder) == before


def test_without_an_engine_it_ends_in_a_line_and_a_hint(tmp_path):
    code = """
import runpy, sys
sys.modules["ray"] = None  # as if it were not installed
sys.argv = ["demo"]
runpy.run_module("jobs.demo", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    said, hint = done.stderr.splitlines()
    assert said.startswith("Error: the demo needs ray")
    assert hint.startswith("Hint: pip install 'winnow-ppl[cpu]'")
    assert list(tmp_path.iterdir()) == []
