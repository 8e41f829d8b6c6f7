"""A rule as text: whatever is in a name, a shell and TOML read it back."""

import shlex
import tomllib

import pytest

from jobs.explore.export import as_command, as_toml
from tests.support.reports import HOSTILE

PLAIN = {"run": "/runs/a b", "out": None, "min": {"perplexity": 5.0}, "partial": True}


def test_a_command():
    assert as_command(PLAIN | {"max": {"perplexity": 61.25}}) == (
        "winnow filter '/runs/a b' --out kept/ --min=perplexity=5 --partial --max=perplexity=61.25"
    )


def test_it_writes_beside_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("kept/", "kept-2/", "kept-3/"):
        assert f" --out {name} " in (as_command(PLAIN) or "")
        assert tomllib.loads(as_toml({"out": None}))["filter"]["out"] == name
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_comes_back_from_toml(name):
    settings = {"run": name, "out": None, "max": {name: 1e300}, "within": name}
    told = tomllib.loads(as_toml(settings | {"percentile": (2.5, 97.0)}))["filter"]
    assert told == settings | {"out": "kept/", "percentile": [2.5, 97]}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_comes_back_from_a_shell(name):
    line = as_command(PLAIN | {"max": {name: -0.5}, "within": name})
    if "=" in name or name != name.strip():
        assert line is None
        return
    assert line is not None
    assert shlex.split(line)[-2:] == [f"--max={name}=-0.5", f"--within={name}"]


@pytest.mark.parametrize("value", [5e-324, 1.7976931348623157e308, 0.1 + 0.2, -2.0000000000000004])
def test_the_very_double(value):
    told = tomllib.loads(as_toml({"max": {"x": value}}))["filter"]["max"]["x"]
    assert told == value
    line = as_command({"run": "r", "max": {"x": value}})
    assert line is not None
    assert float(shlex.split(line)[-1].rpartition("=")[2]) == value
