"""The command line with everything real: plan, score, kill, score again, status, report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

NUM_DOCUMENTS = 240
PATIENCE_SECONDS = 240.0
AWKWARD = [None, "", "x", " \n\t ", "a\x00b", "Σ😀 \u0645\u0631\u062d\u0628\u0627", "<s></s>" * 20]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    texts = [
        AWKWARD[i] if i < len(AWKWARD) else f"Document {i} says " + "so and so, " * (i % 60)
        for i in range(NUM_DOCUMENTS - 1)
    ]
    texts.append("a long one " * 2800)
    sources = ["odd" if i % 2 else "even" for i in range(NUM_DOCUMENTS)]
    table = pa.table({"doc_id": range(NUM_DOCUMENTS), "source": sources, "text": texts})
    half = NUM_DOCUMENTS // 2
    pq.write_table(table.slice(0, half), folder / "a b.parquet", row_group_size=10)
    pq.write_table(table.slice(half), folder / "ü%20=.parquet", row_group_size=10)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A private HOME: Ray writes into it. No setting of the caller's leaks in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WINNOW_", "RAY_"))}
    return kept | {"HOME": str(tmp_path_factory.mktemp("home"))}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs.cli", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def winnow(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = start(environment, *arguments)
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # or the tests that follow are blamed for it
        process.communicate()
        raise
    return process.returncode, out, err


def score_arguments(corpus: Path, model: Path, run: Path) -> list[str]:
    settings = ["--carry", "source", "--dtype", "float32", "--shard-tokens", "3000"]
    return ["score", str(corpus), "--out", str(run), "--model", str(model), *settings]


def stop_after_parts(process: subprocess.Popen[str], run: Path, parts: int, how: int) -> None:
    """Send a signal once so many parts are there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list(run.glob("scores/part-*.parquet"))) < parts:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"waited for {parts} parts in {run}"
        time.sleep(0.02)
    process.send_signal(how)


def rows(run: Path) -> pl.DataFrame:
    return pl.scan_parquet(run / "scores" / "part-*.parquet").sort("doc_id").collect()


@pytest.fixture(scope="module")
def finished(corpus, tiny_model, environment, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    arguments = [*score_arguments(corpus, tiny_model, run), "--json"]
    code, out, err = winnow(environment, *arguments)
    assert code == 0, err
    assert json.loads(out)["totals"]["num_rows"] == NUM_DOCUMENTS
    return run


def test_rows_out_are_rows_in(finished, corpus):
    scores = rows(finished)
    assert scores["doc_id"].to_list() == list(range(NUM_DOCUMENTS))
    texts = pl.concat([pl.read_parquet(file) for file in sorted(corpus.iterdir())])
    assert scores["source"].to_list() == texts["source"].to_list()
    statuses = scores["status"].to_list()
    assert statuses[:2] == ["null", "empty"]
    assert set(statuses[2:]) == {"ok"}
    # A token a byte: nothing is lost or normalised on the way to the model.
    sizes = [len((text or "").encode()) for text in texts["text"]]
    assert scores["num_tokens"].to_list() == scores["num_bytes"].to_list() == sizes
    assert scores["num_windows"][NUM_DOCUMENTS - 1] > 50
    for metric in ("nll", "perplexity", "bits_per_byte"):
        assert scores[metric].null_count() == 2
        assert scores[metric].is_finite().drop_nulls().all()


def test_killed_and_terminated_gives_the_same_rows(
    finished, corpus, tiny_model, environment, tmp_path
):
    run = tmp_path / "run"
    arguments = score_arguments(corpus, tiny_model, run)

    killed = start(environment, *arguments)
    stop_after_parts(killed, run, 1, signal.SIGKILL)
    killed.communicate(timeout=PATIENCE_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    assert not (run / "_SUCCESS").exists()

    terminated = start(environment, *arguments)
    stop_after_parts(terminated, run, 3, signal.SIGTERM)
    _, err = terminated.communicate(timeout=PATIENCE_SECONDS)
    assert terminated.returncode == 143, err
    assert "Run the same command again to continue" in err
    assert "Traceback" not in err
    early = {path: path.stat().st_mtime_ns for path in run.glob("scores/part-*.parquet")}
    assert len(early) >= 3
    code, out, _ = winnow(environment, "status", str(run), "--json")
    assert code == 0
    assert json.loads(out)["state"] == "stopped"

    code, _, err = winnow(environment, *arguments)

    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in early} == early
    # Float32 noise only: which documents share a step depends on the moment.
    assert_frame_equal(rows(run), rows(finished), rel_tol=1e-5)


def test_two_workers_give_the_same_rows(finished, corpus, tiny_model, environment, tmp_path):
    arguments = score_arguments(corpus, tiny_model, tmp_path / "run")
    code, _, err = winnow(environment, *arguments, "--workers", "2")
    assert code == 0, err
    assert_frame_equal(rows(tmp_path / "run"), rows(finished), rel_tol=1e-5)


def test_verify(finished, environment):
    code, out, err = winnow(environment, "verify", str(finished), "--sample", "12", "--json")
    assert code == 0, err
    verification = json.loads(out)
    assert {check["name"] for check in verification["checks"]} >= {"rows", "totals", "truth"}
    assert verification["truth"]["largest_nll_error"] < 1e-4

    code, out, _ = winnow(environment, "verify", str(finished), "--tolerance", "0")
    assert code == 1
    assert "FAILED" in out


def test_a_finished_run_is_done_at_once(finished, corpus, tiny_model, environment):
    code, out, _ = winnow(environment, *score_arguments(corpus, tiny_model, finished), "--json")
    assert code == 0
    assert json.loads(out)["num_shards_scored"] == 0


def test_status_and_report(finished, environment):
    code, out, _ = winnow(environment, "status", str(finished), "--json")
    assert code == 0
    assert json.loads(out)["state"] == "finished"

    code, out, err = winnow(environment, "report", str(finished), "--by", "source")

    assert code == 0, err
    assert "odd" in out
    assert "even" in out
    report = json.loads((finished / "report.json").read_text())
    assert report["overall"]["num_documents"] == NUM_DOCUMENTS
    scores = rows(finished)
    assert report["overall"]["nll"] == pytest.approx(scores["nll"].sum())
    page = (finished / "report.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert (finished / "report.md").read_text().startswith("# Perplexity report")


def test_another_request_for_the_same_folder_is_refused(finished, corpus, tiny_model, environment):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    arguments = score_arguments(corpus, tiny_model, finished)
    code, _, err = winnow(environment, *arguments, "--window-tokens", "100", "--prefix", "eos")
    assert code == 2
    assert "window_tokens 511 -> 100" in err
    assert "prefix bos -> eos" in err
    assert "Hint:" in err
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
