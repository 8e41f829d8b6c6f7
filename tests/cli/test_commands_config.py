"""`winnow config show`: each setting as it would take effect, and where it comes from."""

import json
from pathlib import Path

import pytest

NIGHT = """\
[score]
corpus = "data/"
model = "org/m"
carry = ["source"]

[audit]
runs = "nights"
by = "source"

[audit.webhook]
url = "https://hooks.slack.com/services/T0/B0/s3cr3t"

[plan.workers.h100]
tokens_per_second = 60_000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "night.toml"
    path.write_text(NIGHT)
    return path


@pytest.fixture
def show(winnow):
    """arguments -> {(table, name): (value, origin)}."""

    def run(*arguments: str | Path) -> dict[tuple[str | None, str], tuple[object, str]]:
        code, out, err = winnow("config", "show", *arguments, "--json")
        assert code == 0, err
        settings = json.loads(out)["settings"]
        return {(one["table"], one["name"]): (one["value"], one["origin"]) for one in settings}

    return run


def test_each_source_is_named(show, file, monkeypatch):
    monkeypatch.setenv("WINNOW_SCORE_LIMIT", "5")
    monkeypatch.setenv("WINNOW_SCORE_DTYPE", "float16")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    found = show("score", "other/", "--config", file, "--dtype", "float32", "--no-dedup")
    assert found["score", "corpus"] == (["other/"], "argument")
    assert found["score", "dtype"] == ("float32", "--dtype")
    assert found["score", "dedup"] == (False, "--dedup")
    assert found["score", "limit"] == (5, "WINNOW_SCORE_LIMIT")
    assert found["score", "address"] == ("head:6379", "RAY_ADDRESS")
    assert found["score", "model"] == ("org/m", f"{file} (at line 3)")
    assert found["score", "carry"] == (["source"], f"{file} (at line 4)")
    assert found["score", "max_attempts"] == (3, "default")
    assert found["score", "out"] == (None, "not set")


def test_what_is_shown_is_what_takes_effect(show, winnow, tiny_model, tmp_path, monkeypatch):
    """Held against the plan of a dry run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"body": ["one"]}), tmp_path / "a.parquet")
    file = tmp_path / "c.toml"
    file.write_text('[score]\ntext_column = "body"\nwindow_tokens = 100\nmin_k_percent = 10.0\n')
    monkeypatch.setenv("WINNOW_SCORE_WINDOW_TOKENS", "90")
    arguments = ["score", tmp_path, "--out", tmp_path / "run", "--model", tiny_model]
    arguments += ["--config", file, "--context-tokens", "7"]
    found = show(*arguments)
    code, out, err = winnow(*arguments, "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    for name in ("window_tokens", "context_tokens", "min_k_percent", "long_documents"):
        assert found["score", name][0] == plan[name], name


def test_a_night_has_all_its_tables_and_no_secret(show, winnow, file):
    found = show("audit", file, "--night", "2026-01-05")
    assert found["audit", "runs"] == ("nights", f"{file} (at line 7)")
    assert found["audit", "webhook"] == ({"url": "(hidden)"}, f"{file} (at line 10)")
    assert found[None, "night"] == ("2026-01-05", "--night")
    assert ("score", "out") not in found, "a night chooses it"
    code, out, err = winnow("config", "show", "audit", file)
    assert code == 0
    assert "s3cr3t" not in out + err
    assert "audit.runs" in out


def test_each_setting_says_what_it_does(winnow, file):
    _, out, _ = winnow("config", "show", "audit", file, "--json")
    for one in json.loads(out)["settings"]:
        assert one["help"].endswith((".", "]")), one["name"]


def test_a_secret_in_an_option_is_not_repeated(show):
    found = show("score", "s3://key:hunter2@bucket/web")
    assert found["score", "corpus"] == (["(hidden)"], "argument")


def test_prices_and_commands_without_a_file(show, file):
    found = show("plan", "--config", file, "--limit", "9")
    assert found["plan", "workers"] == ({"h100": {"tokens_per_second": 60000}}, str(file))
    assert found["score", "limit"] == (9, "--limit")
    assert show("report", "runs/x", "--by", "lang")[None, "by"] == (["lang"], "--by")


REFUSED = {
    "a typing error": (["repot"], "did you mean 'report'?"),
    "a group": (["jobs"], "'jobs' is not a command that has settings"),
    "nothing": ([], "Missing argument"),
    "a value": (["score", "--limit", "0"], "--limit = 0: must be greater"),
    "a value in the file": (["score", "--config", "{file}"], "0: must be greater than or equal"),
    "an option": (["score", "--modle", "x"], "did you mean --model?"),
    "no file": (["audit", "none.toml"], "cannot read the configuration none.toml"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_one_clear_line(winnow, tmp_path, arguments, message):
    file = tmp_path / "bad.toml"
    file.write_text("[score]\nwindow_tokens = 9\nlimit = 0")
    code, out, err = winnow("config", "show", *(one.format(file=file) for one in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert "(at line 3)" in err or "{file}" not in arguments
