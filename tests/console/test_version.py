"""The version names the commit where one is known."""

import json
import re
import subprocess
from importlib.metadata import version

import pytest

from jobs.console import version as module
from jobs.console.version import NAME, version_line


class Installed:
    """A distribution that pip installed."""

    version = "0.1.0"

    def __init__(self, origin):
        self._origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self._origin


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.delenv(module.OF_IMAGE, raising=False)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "jobs/console/version.py"))
    return tmp_path


def test_a_checkout_names_its_commit(checkout):
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        own = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", "-C", checkout, *own, *command], check=True)
    head = subprocess.run(
        ["git", "-C", checkout, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    assert version_line() == f"{version(NAME)} ({head})"


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "0.1.0"),
        (json.dumps({"url": "file:///x", "dir_info": {"editable": True}}), "0.1.0"),
        (
            json.dumps({"url": "u", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}),
            "0.1.0 (0123456)",
        ),
    ],
    ids=["an index", "a folder", "a repository"],
)
def test_an_install_names_what_pip_knows(checkout, monkeypatch, origin, line):
    monkeypatch.setattr(module, "distribution", lambda name: Installed(origin))
    assert version_line() == line


@pytest.mark.parametrize(
    ("built_from", "line"), [("89abcde-dirty", "0.1.0 (89abcde-dirty)"), ("", "0.1.0")]
)
def test_an_image_names_what_it_was_built_from(checkout, monkeypatch, built_from, line):
    monkeypatch.setattr(module, "distribution", lambda name: Installed(None))
    monkeypatch.setenv(module.OF_IMAGE, built_from)
    assert version_line() == line


def test_the_command_prints_it(winnow):
    code, out, err = winnow("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"[\d.]+( \([0-9a-f]{7,}(-dirty)?\))?\n", out)
