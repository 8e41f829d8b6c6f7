"""docs/templates: each patch applies, what it adds works everywhere, and its tests pass."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "docs/templates"
COPIED = ("pipeline", "jobs", "docs", "pyproject.toml")
KINDS = sorted(file.stem for file in TEMPLATES.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_works_where_it_is_applied(kind, tmp_path):
    patch = TEMPLATES / f"{kind}.patch"
    # Not what Python compiles: another process may be writing it, under a name that is soon gone.
    leave_out = shutil.ignore_patterns("fixtures", "golden", "__pycache__")
    for name in (*COPIED, "tests"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=leave_out)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    # As in a folder that is no repository, whatever is above it.
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "GIT_CEILING_DIRECTORIES": "/"}
    environment["GIT_DIR"] = str(tmp_path / "none")

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("git", "apply", patch)
    changed = re.findall(r"^\+\+\+ b/(\S+)$", patch.read_text(), re.MULTILINE)
    run(sys.executable, "-m", "ruff", "check", "--no-cache", *changed)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", *changed)
    tests = [name for name in changed if Path(name).name.startswith("test_")]
    assert tests, "a template has its test"
    check = f"tests/templates/check_{kind}.py"
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", check, *tests)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pages_name_it(kind):
    for page in ("docs/extending.md", "CONTRIBUTING.md"):
        assert f"docs/templates/{kind}.patch" in (ROOT / page).read_text()
