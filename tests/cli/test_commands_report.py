"""`winnow report`: what it prints, what it writes, and its exit code."""

import errno
import json
from functools import partial
from pathlib import Path

import pytest

from pipeline.runs.store import RunStore
from tests.support.runs import make_run

TEXTS = ["one", "two two", "two two", "", None, "three " * 100]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model) -> RunStore:
    return make_run(tmp_path_factory.mktemp("run"), tiny_model, TEXTS)


@pytest.fixture
def winnow(winnow):
    """arguments of `winnow report` -> (exit code, stdout, stderr)."""
    return partial(winnow, "report")


def test_the_files_are_written_and_named(winnow, run):
    code, out, err = winnow(run.location)
    assert code == 0
    assert "corpus" in out
    assert "1 copy" in out
    assert f"Wrote {run.location}/report.html" in err
    for kind in ("html", "json", "md"):
        assert (Path(run.location) / f"report.{kind}").stat().st_size > 0


def test_no_secret_of_the_environment_is_in_what_is_written(
    winnow, tmp_path, tiny_model, monkeypatch
):
    secret = "wJalrXUtnFEMI-K7MDENG"
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "WINNOW_WEBHOOK"):
        monkeypatch.setenv(name, secret)
    store = make_run(tmp_path, tiny_model, TEXTS)
    code, out, err = winnow(store.location)
    assert code == 0
    written = [file for file in Path(store.location).rglob("*") if file.is_file()]
    assert len(written) > 5
    for file in written:
        assert secret.encode() not in file.read_bytes(), file.name
    assert secret not in out + err


def test_the_report_of_a_decided_night_keeps_its_requirements(winnow, tmp_path, tiny_model):
    store = make_run(tmp_path, tiny_model, TEXTS)
    winnow(store.location)
    (Path(store.location) / "audit.json").write_text('{"sample": null}')
    before = (Path(store.location) / "report.json").read_bytes()
    code, out, err = winnow(store.location, "--fail-if", "documents > 1")
    assert code == 1
    assert "documents > 1" in out
    assert "Not written: the report of the night" in " ".join(err.split())
    assert "Wrote" not in err
    assert (Path(store.location) / "report.json").read_bytes() == before
    assert "Wrote" in winnow(store.location)[2]


def test_markdown_is_the_file(winnow, run):
    code, out, _ = winnow(run.location, "--md")
    assert code == 0
    assert out == (Path(run.location) / "report.md").read_text()


def test_one_form_at_a_time(winnow, run):
    code, out, err = winnow(run.location, "--md", "--json")
    assert (code, out) == (2, "")
    assert "--json and --md contradict each other" in err


def test_a_gate_that_only_tells(winnow, run):
    code, _, err = winnow(run.location, "--fail-if", "documents > 5", "--exit-zero")
    assert code == 0
    assert "FAILED: documents > 5" in err
    code, _, _ = winnow(run.location, "--fail-if", "documnts > 5", "--exit-zero")
    assert code == 2, "a mistake is no verdict"


def test_who_may_only_read_is_shown_the_report(winnow, run, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{run.location}/report.json")

    monkeypatch.setattr("jobs.cli.report.write_report", refuse)
    code, out, err = winnow(run.location)
    assert code == 2
    assert "Corpus perplexity" in out
    assert f"Error: {run.location}/report.json: Permission denied" in err
    assert "Wrote" not in err


def test_json_is_the_file(winnow, run):
    code, out, _ = winnow(run.location, "--json")
    assert code == 0
    written = json.loads((Path(run.location) / "report.json").read_text())
    assert json.loads(out) == written
    assert written["duplicates"]["num_copies"] == 1


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["table", "json"])
def test_a_requirement_that_fails_is_said_with_its_value(winnow, run, json_option):
    code, out, err = winnow(
        run.location, "--fail-if", "documents > 5", "--fail-if", "documents > 6", *json_option
    )
    assert code == 1
    assert "FAILED: documents > 5: documents = 6" in err
    assert "documents > 6" not in err
    if json_option:
        findings = json.loads(out)["requirements"]
        assert [finding["failed"] for finding in findings] == [True, False]
    else:
        assert "FAILED" in out
        assert "passed" in out


def test_requirements_that_hold_end_well(winnow, run):
    code, out, err = winnow(run.location, "--fail-if", 'share(status == "error") > 0')
    assert code == 0
    assert "passed" in out
    assert "FAILED" not in out + err


def test_a_mistake_writes_nothing(winnow, tmp_path, tiny_model):
    store = make_run(tmp_path, tiny_model, TEXTS)
    code, out, err = winnow(store.location, "--fail-if", "documnts > 5")
    assert (code, out) == (2, "")
    assert "no figure 'documnts'\n  documnts > 5\n  ^\n" in err
    assert "did you mean 'documents'?" in err
    assert not (Path(store.location) / "report.html").exists()


def test_text_stays_out_on_request(winnow, run):
    winnow(run.location)
    page = Path(run.location) / "report.html"
    assert "three three" in page.read_text()
    winnow(run.location, "--no-text")
    for kind in ("html", "json", "md"):
        assert "three three" not in (Path(run.location) / f"report.{kind}").read_text()


def test_labels_must_be_carried(winnow, run):
    code, _, err = winnow(run.location, "--separate", "source=spam")
    assert code == 2
    assert "no carried column 'source'" in err
