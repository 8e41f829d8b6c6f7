"""`winnow compare`: words, exit codes, and what goes where."""

import json
import re
from functools import partial

import pytest

from tests.support.made_runs import row, write_run


@pytest.fixture
def winnow(winnow):
    """arguments of `winnow compare` -> (exit code, stdout, stderr)."""
    return partial(winnow, "compare")


@pytest.fixture
def two(tmp_path) -> list[str]:
    rows = [row(10, 10.0 + i, 40, source="web") for i in range(8)]
    moved = [row(10, 11.0 + i, 40, source="web") for i in range(8)]
    write_run(tmp_path / "one", {"a": rows})
    write_run(tmp_path / "two", {"a": moved}, weights="b" * 64)
    return [str(tmp_path / name) for name in ("one", "two")]


def test_a_table_and_nothing_written(winnow, two, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = winnow(*two)
    assert code == 0
    assert re.search(r"^one \*", out, re.MULTILINE)
    assert "Document by document" in out
    assert "Wrote" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_json_is_data_and_the_rest_is_not_in_it(winnow, two, tmp_path):
    out_folder = tmp_path / "diff"
    code, out, err = winnow(*two, "--json", "--by", "source", "--out", out_folder, "--seed", 7)
    assert code == 0
    content = json.loads(out)
    assert content["by"] == ["source"]
    assert content["intervals"]["seed"] == 7
    assert f"Wrote {out_folder}/comparison.html" in err
    assert json.loads((out_folder / "comparison.json").read_text()) == content
    assert sorted(file.name for file in out_folder.iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.md",
    ]


def test_markdown_is_the_file(winnow, two, tmp_path):
    code, out, _ = winnow(*two, "--md", "--out", tmp_path / "diff")
    assert code == 0
    assert out == (tmp_path / "diff" / "comparison.md").read_text()
    assert "| --- |" in out


def test_resamples_and_baseline_are_passed_on(winnow, two):
    code, out, _ = winnow(two[0], "--baseline", two[1], "--resamples", 150, "--json")
    content = json.loads(out)
    assert code == 0
    assert content["intervals"]["resamples"] == 150
    assert content["baseline"] == "two"


REFUSED = {
    "one run": (["{one}"], "one run alone cannot be compared"),
    "no run": (["{one}", "/nowhere/at-all"], "is not a run directory"),
    "baseline": (["{one}", "{two}", "--baseline", "/nowhere"], "is not a run directory"),
    "column": (["{one}", "{two}", "--by", "sourc"], "did you mean 'source'?"),
    "rules": (["{one}", "{other}"], "window_tokens 64 -> 128"),
    "unfinished": (["{one}", "{unfinished}"], "--partial"),
    "too few resamples": (["{one}", "{two}", "--resamples", "5"], "--resamples"),
    "a file": (["{one}", "{two}", "--out", "{one}/manifest.json"], "is a file"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_one_clear_line(winnow, two, tmp_path, arguments, message):
    files = {"a": [row(10, 10.0, 40, source="web")]}
    write_run(tmp_path / "other", files, window_tokens=128)
    write_run(tmp_path / "unfinished", files, finished=False)
    places = {name: tmp_path / name for name in ("one", "two", "other", "unfinished")}
    code, out, err = winnow(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_unfinished_runs_on_request(winnow, two, tmp_path):
    write_run(tmp_path / "unfinished", {"a": [row(10, 10.0, 40)]}, finished=False)
    code, out, _ = winnow(two[0], tmp_path / "unfinished", "--partial")
    assert code == 0
    assert "is not complete." in " ".join(out.split())
