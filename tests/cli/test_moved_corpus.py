"""What a run's commands make of a corpus that was touched, moved, renamed or edited since."""

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.nights import audit as module
from tests.support.audits import Audits, Scorer
from tests.support.edits import edit_unseen, move, touch, write_plain
from tests.support.runs import score_corpus

ROWS = 12
RULE = ("--percentile", "20:80")


def texts_of(name: str) -> list[str | None]:
    return [f"{name} {i:02d} " + "word " * (i % 5) for i in range(ROWS)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.parquet", "deep/b.parquet"):
        write_plain(folder / name, texts_of(name))
    return folder


@pytest.fixture
def run(corpus: Path, tmp_path: Path, tiny_model: Path) -> Path:
    score_corpus(corpus, tmp_path / "run", tiny_model)
    return tmp_path / "run"


def report_of(winnow, run: Path, *options: str | Path) -> list[dict]:
    code, out, _ = winnow("report", run, "--json", *options)
    assert code == 0
    examples: list[dict] = json.loads(out)["examples"]
    return examples


def corpus_check(winnow, run: Path, *options: str | Path) -> dict:
    _, out, _ = winnow("verify", run, "--sample", "0", "--json", *options)
    return next(one for one in json.loads(out)["checks"] if one["name"] == "corpus")


def everything_reads_it(winnow, run: Path, out: Path, *options: str | Path) -> None:
    """Filter, report and verify find the corpus."""
    code, _, err = winnow("filter", run, "--out", out, *RULE, *options)
    assert code == 0, err
    assert sum(pq.read_metadata(file).num_rows for file in out.rglob("*.parquet"))
    assert all(one["excerpt"] for one in report_of(winnow, run, *options))
    assert winnow("verify", run, "--sample", "4", "--tolerance", "1e9", *options)[0] == 0


def test_a_touched_corpus_is_the_same(winnow, run, corpus, tmp_path):
    touch(corpus / "a.parquet")
    everything_reads_it(winnow, run, tmp_path / "out")


@pytest.mark.parametrize("spelling", ["{}", "{}/**/*.parquet", "file://{}"])
def test_a_moved_corpus_is_named(winnow, run, corpus, tmp_path, spelling):
    before = (run / "manifest.json").read_bytes()
    move(corpus, tmp_path / "archive" / "web")
    code, _, err = winnow("filter", run, "--out", tmp_path / "out", *RULE)
    assert code == 2
    assert f"{corpus}/a.parquet is no longer in the corpus (and 1 more)" in err
    assert "give its new location with --corpus" in err
    assert not any(one["excerpt"] for one in report_of(winnow, run))
    assert not corpus_check(winnow, run)["passed"]

    where = spelling.format(tmp_path / "archive" / "web")
    everything_reads_it(winnow, run, tmp_path / "out", "--corpus", where)
    assert (run / "manifest.json").read_bytes() == before


def test_a_moved_corpus_of_one_file_may_be_renamed(winnow, corpus, tmp_path, tiny_model):
    score_corpus(corpus / "a.parquet", tmp_path / "run", tiny_model)
    move(corpus / "a.parquet", tmp_path / "elsewhere" / "z.pq")
    where = tmp_path / "elsewhere" / "z.pq"
    everything_reads_it(winnow, tmp_path / "run", tmp_path / "out", "--corpus", where)
    assert [path.name for path in (tmp_path / "out").glob("*.parquet")] == ["a.parquet"]


def test_a_filter_that_was_stopped_goes_on_after_the_move(winnow, run, corpus, tmp_path):
    out = tmp_path / "out"
    assert winnow("filter", run, "--out", out, *RULE)[0] == 0
    whole = {path.name: pq.read_table(path) for path in out.rglob("*.parquet")}
    (out / "_filter.json").unlink()
    (out / "a.parquet").unlink()
    move(corpus, tmp_path / "new")
    code, _, err = winnow("filter", run, "--out", out, *RULE, "--corpus", tmp_path / "new")
    assert code == 0, err
    assert {path.name: pq.read_table(path) for path in out.rglob("*.parquet")} == whole
    assert json.loads((out / "_filter.json").read_text())["corpus"] == str(tmp_path / "new")


def test_the_output_may_not_lie_in_the_moved_corpus(winnow, run, corpus, tmp_path):
    move(corpus, tmp_path / "new")
    code, _, err = winnow(
        "filter", run, "--out", tmp_path / "new" / "kept", *RULE, "--corpus", tmp_path / "new"
    )
    assert code == 2
    assert "is inside the corpus" in err


def test_the_place_may_be_set_in_the_environment(winnow, run, corpus, tmp_path, monkeypatch):
    move(corpus, tmp_path / "new")
    for command in ("FILTER", "REPORT", "VERIFY"):
        monkeypatch.setenv(f"WINNOW_{command}_CORPUS", str(tmp_path / "new"))
    everything_reads_it(winnow, run, tmp_path / "out")


def test_the_place_may_be_set_in_a_file(winnow, run, corpus, tmp_path):
    move(corpus, tmp_path / "new")
    (tmp_path / "f.toml").write_text(f'[filter]\ncorpus = "{tmp_path / "new"}"\n')
    code, _, err = winnow(
        "filter", run, "--out", tmp_path / "o", *RULE, "--config", tmp_path / "f.toml"
    )
    assert code == 0, err


@pytest.mark.parametrize("command", ["filter", "report", "verify"])
def test_a_place_that_is_not_there_is_a_line(winnow, run, tmp_path, command):
    options = ("--out", tmp_path / "out", *RULE) if command == "filter" else ()
    code, _, err = winnow(command, run, "--corpus", tmp_path / "nowhere", *options)
    assert code == 2
    assert f"no such file or folder: {tmp_path}/nowhere" in err


@pytest.mark.parametrize("keep_time", [True, False], ids=["same time", "another time"])
def test_another_text_behind_equal_size_and_footer_is_found(
    winnow, run, corpus, tmp_path, keep_time
):
    file = "deep/b.parquet"
    for row in range(ROWS):
        edit_unseen(corpus / file, f"{file} {row:02d}", f"{file} X{row % 10}", keep_time=keep_time)
    said = f"{file}, row 0: the text is not the one that was scored"
    code, _, err = winnow("filter", run, "--out", tmp_path / "out", *RULE, "--unscored", "keep")
    assert code == 2
    assert f"{file}, row " in err
    assert ": the text is not the one that was scored" in err
    assert not (tmp_path / "out" / "_filter.json").exists()
    examples = report_of(winnow, run)
    edited = [one for one in examples if one["file"] == file]
    assert edited
    assert {one["excerpt"] for one in edited} == {None}
    assert all("not the one that was scored" in one["missing"] for one in edited)
    code, _, err = winnow("verify", run, "--sample", "50", "--tolerance", "1e9")
    assert code != 0
    if keep_time:  # not read by the check of integrity, which says so; the sample finds it
        assert f"{file}, row " in err
        assert "2 trusted by size, footer and time" in corpus_check(winnow, run)["detail"]
    else:
        assert said in corpus_check(winnow, run)["detail"]


# --- audits


@pytest.fixture
def audits(tmp_path: Path, tiny_model: Path, monkeypatch) -> Audits:
    monkeypatch.setattr(module, "run_night", partial(module.run_night, score=Scorer()))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = Audits(tmp_path, tiny_model)
    for name in "ab":
        found.write(name, [f"{name} {i} " + "word " * i for i in range(9)])
    return found


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_night_finds_a_corpus_that_was_moved_and_takes_over_what_it_had(
    audits, winnow, tmp_path, monkeypatch, given
):
    assert winnow("audit", audits.file, "--night", "2026-01-05")[0] == 0
    move(audits.corpus, tmp_path / "new")
    assert winnow("audit", audits.file, "--night", "2026-01-06")[0] == 2

    touch(tmp_path / "new" / "a.parquet")
    options: tuple[str | Path, ...] = ("--corpus", tmp_path / "new")
    if given == "environment":
        monkeypatch.setenv("WINNOW_AUDIT_CORPUS", str(tmp_path / "new"))
        options = ()
    code, out, err = winnow("audit", audits.file, "--night", "2026-01-06", "--json", *options)
    assert code == 0, err
    record = json.loads(out)
    assert record["reuse"]["num_rows"] == 18
    assert record["corpus"] == str(tmp_path / "new")
    assert not [note for note in record["notes"] if "another corpus" in note]
