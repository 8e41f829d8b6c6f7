"""What each command leaves on stdout: whole lines, none wrapped or cut where there is no screen."""

import pytest

from tests.compatibility.install import install

PLACES = "--workers 1 --out {0}/new --model {0}/model"
COMMANDS = {
    "report": "report {0}/run --no-text",
    "report as Markdown": "report {0}/run --no-text --md",
    "report as JSON": "report {0}/run --no-text --json",
    "compare": "compare {0}/run {0}/other_run --resamples 100",
    "compare as Markdown": "compare {0}/run {0}/other_run --resamples 100 --md",
    "filter": "filter {0}/run --dry-run --percentile 10:90 --by lang",
    "plan": "plan {0}/corpus",
    "score": "score {0}/corpus --dry-run " + PLACES,
    "status": "status {0}/run",
    "watch": "status {0}/run --watch",
    "verify": "verify {0}/run --sample 0",
    "show": "show {0}/run a.parquet 0",
    "doctor": "doctor",
    "config": "config show score {0}/corpus " + PLACES,
    "version": "--version",
    "help": "--help",
}


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    return install(tmp_path_factory.mktemp("then") / ("a-long-name-" * 9) / "copy")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_stdout_ends_with_one_newline_and_cuts_nothing(winnow, fixtures, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _, out, _ = winnow(*command.format(fixtures).split())
    assert out.endswith("\n")
    assert not out.endswith("\n\n")
    if "--help" not in command:
        assert "…" not in out
        if "a-long-name-" in out:
            assert str(fixtures) in out
