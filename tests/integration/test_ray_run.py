"""Runs through a real local Ray, with a fast engine of our own so that faults cost seconds.

The same path with real vLLM is test_cli_flow.py's.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from jobs.run import score as driver
from jobs.run.score import Outcome, run_score
from pipeline.engine.protocol import EngineSettings
from pipeline.errors import EngineError, ModelError, RunError
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import Window, WindowScore
from pipeline.settings.config import ScoreConfig, Workers
from pipeline.tracing import Tracer
from tests.support.fakes import FakeEngine
from tests.support.faulty import (
    POISON_TOKENS,
    Faulty,
    Silent,
    die_after_the_rename,
    fail,
    healthy,
    kill_this_process,
)
from tests.support.homes import ray_home
from tests.support.traces import check_trace

NUM_FILES = 3
DOCUMENTS_PER_FILE = 20
NUM_DOCUMENTS = NUM_FILES * DOCUMENTS_PER_FILE


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Workers unpickle the engines of tests/ by name; and Ray writes its token into HOME.

    One HOME for the whole file: Ray reads its token once a process.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("HOME", str(ray_home()))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for file in range(NUM_FILES):
        texts = [f"document {file} {row} " + "word " * row for row in range(DOCUMENTS_PER_FILE)]
        if file == 1:
            texts[7] = "x" * POISON_TOKENS
        ids = [f"{file}/{row}" for row in range(DOCUMENTS_PER_FILE)]
        table = pa.table({"id": ids, "text": texts})
        pq.write_table(table, folder / f"f{file}.parquet", row_group_size=5)
    return folder


@pytest.fixture
def config(corpus: Path, tiny_model: Path, tmp_path: Path) -> ScoreConfig:
    return ScoreConfig(
        corpus=str(corpus),
        out=str(tmp_path / "run"),
        model=str(tiny_model),
        carry=("id",),
        shard_tokens=60,
        workers=Workers(2, 2),
    )


def score(config: ScoreConfig, make_engine=healthy) -> Outcome:
    return run_score(config, Silent(), make_engine)


def rows(config: ScoreConfig):
    store = RunStore(config.out)
    return scan_scores(store, store.require_manifest()).sort("file", "row").collect()


def undisturbed(config: ScoreConfig, tmp_path: Path):
    other = config.model_copy(update={"out": str(tmp_path / "undisturbed")})
    assert score(other).exit_code == 0
    return rows(other)


def test_every_row_once_with_two_workers(config):
    outcome = score(config)

    assert outcome.exit_code == 0
    assert outcome.num_shards_scored == len(outcome.manifest.shards) > 4
    scores = rows(config)
    assert scores["doc_id"].to_list() == [
        f"{file}/{row}" for file in range(NUM_FILES) for row in range(DOCUMENTS_PER_FILE)
    ]
    assert set(scores["status"]) == {"ok"}
    assert outcome.success is not None
    assert outcome.success.totals.num_rows == NUM_DOCUMENTS
    assert outcome.success.totals.num_tokens == scores["num_tokens"].sum()
    assert outcome.success.totals.nll == pytest.approx(scores["nll"].sum(), rel=1e-12)
    assert not (Path(config.out) / "_LOCK").exists()


def test_modules_of_the_current_folder_shadow_nothing(config, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("pipeline.py", "jobs.py", "queue.py"):
        (folder / name).write_text("raise SystemExit('my own module')")
    monkeypatch.chdir(folder)
    relative = config.model_copy(
        update={"corpus": ("../corpus",), "out": "../run", "model": os.path.relpath(config.model)}
    )
    assert score(relative).exit_code == 0
    assert len(rows(config)) == NUM_DOCUMENTS


@dataclass(frozen=True)
class Traced:
    """Makes engines that tell when they compute, as vLLM's does."""

    def __call__(self, settings: EngineSettings) -> "TracedEngine":
        return TracedEngine()


class TracedEngine(FakeEngine):
    def __init__(self) -> None:
        self._stepping = threading.Lock()

    def trace(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        with self._stepping:
            began = time.monotonic()
            time.sleep(0.002)
            self._tracer.add_step(began, time.monotonic())
            return super()._answer(entry)


def test_a_trace_has_every_shard_of_every_worker(config, tmp_path):
    file = tmp_path / "trace.json"
    outcome = score(config.model_copy(update={"trace": str(file)}), Traced())

    events = check_trace(file)
    names = {(e["pid"], e["name"]) for e in events if e["ph"] != "M"}
    phases = ["Planning", "Starting Ray", "Loading the model into 2 engines", "Scoring"]
    assert names >= {(0, phase) for phase in phases}
    for worker in (1, 2):
        assert names >= {(worker, name) for name in ("loading the model", "reading", "tokenizing")}
        assert names >= {(worker, name) for name in ("busy", "folding", "writing", "committing")}
    shards = {f"shard {shard.id}" for shard in outcome.manifest.shards}
    assert {e["name"] for e in events if e["ph"] == "X" and e["pid"]} >= shards
    assert {e["name"] for e in events if e["ph"] == "b"} == shards
    steps = sum(e["args"]["steps"] for e in events if e["name"] == "busy")
    assert steps == NUM_DOCUMENTS


def test_a_run_that_is_stopped_leaves_a_trace(config, tmp_path):
    """In the middle of it: some shards are scored, and one never is."""
    file, happened = tmp_path / "trace.json", tmp_path / "happened"
    happened.mkdir()

    class Stops(Silent):
        def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None:
            if num_rows:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_score(
            config.model_copy(update={"trace": str(file)}), Stops(), Faulty(happened, 1, hang)
        )

    events = check_trace(file)
    names = {e["name"] for e in events}
    assert "Scoring" in names
    assert {"reading", "tokenizing", "loading the model"} <= names
    assert any(name.endswith(", unfinished") for name in names)


def test_a_finished_run_scores_nothing_again(config, monkeypatch):
    first = score(config)
    before = {path: path.stat().st_mtime_ns for path in Path(config.out).rglob("*")}

    def no_ray(address: str | None) -> None:
        raise AssertionError("a finished run started Ray")

    monkeypatch.setattr(driver, "connected", no_ray)
    again = score(config)

    assert again.num_shards_scored == 0
    assert again.success == first.success
    assert {path: path.stat().st_mtime_ns for path in Path(config.out).rglob("*")} == before


def test_only_missing_shards_are_scored(config, tmp_path):
    whole = undisturbed(config, tmp_path)
    score(config)
    parts = sorted(Path(config.out, "scores").iterdir())
    kept = {path: path.stat().st_mtime_ns for path in parts[1:]}
    parts[0].unlink()
    Path(config.out, "_SUCCESS").unlink()

    again = score(config)

    assert again.num_shards_scored == 1
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_frame_equal(rows(config), whole)


def test_killed_between_the_last_part_and_success(config, monkeypatch):
    first = score(config)
    Path(config.out, "_SUCCESS").unlink()

    again = score(config)

    assert again.num_shards_scored == 0
    assert again.success is not None
    assert first.success is not None
    assert again.success.totals == first.success.totals


def test_an_actor_that_is_killed_loses_nothing(config, tmp_path):
    whole = undisturbed(config, tmp_path)
    happened = tmp_path / "happened"
    happened.mkdir()

    outcome = score(config, Faulty(happened, 2, kill_this_process))

    assert len(list(happened.iterdir())) == 2
    assert outcome.exit_code == 0
    assert_frame_equal(rows(config), whole)


def hang() -> None:
    time.sleep(3600)


@pytest.mark.soak
def test_an_engine_that_hangs_is_replaced(config, tmp_path):
    whole = undisturbed(config, tmp_path)
    happened = tmp_path / "happened"
    happened.mkdir()
    impatient = config.model_copy(update={"wait_minutes": 1.0})

    outcome = score(impatient, Faulty(happened, 1, hang))

    assert len(list(happened.iterdir())) == 1
    assert outcome.exit_code == 0
    assert_frame_equal(rows(config), whole)


def test_a_document_that_always_kills_the_engine_is_found(config, tmp_path):
    whole = undisturbed(config, tmp_path)
    happened = tmp_path / "happened"
    happened.mkdir()

    outcome = score(config, Faulty(happened, 1000, fail))

    assert outcome.exit_code == 1
    assert outcome.success is not None
    [failure] = outcome.failures
    assert failure["reason"] == "a document kills the engine: made to"
    assert failure["rows"] == [{"file": "f1.parquet", "row": 7}]
    scores = rows(config)
    [poison] = scores.filter(pl.col("status") != "ok").to_dicts()
    assert (poison["file"], poison["row"], poison["doc_id"]) == ("f1.parquet", 7, "1/7")
    assert (poison["status"], poison["error"]) == ("error", "engine_died: made to")
    assert poison["num_bytes"] == POISON_TOKENS
    others = pl.col("doc_id") != "1/7"
    assert_frame_equal(scores.filter(others), whole.filter(others))


@dataclass(frozen=True)
class Unable:
    """Makes engines that load and can compute nothing."""

    def __call__(self, settings: EngineSettings) -> "UnableEngine":
        return UnableEngine()


class UnableEngine(FakeEngine):
    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        list(windows)
        raise EngineError("the engine failed: no kernel for heads of 16")
        yield


def test_before_documents_are_blamed_a_harmless_prompt_is_scored(config):
    """An engine that can score nothing is no document's fault."""
    with pytest.raises(ModelError, match=r"(?m)cannot score with .*: no kernel for heads of 16$"):
        score(config, Unable())
    assert RunStore(config.out).done() == set()
    assert RunStore(config.out).failures() == []


def test_of_many_deadly_documents_the_sound_ones_are_scored(config, corpus, tmp_path):
    """test_isolation.py has more of them than this takes restarts."""
    for file in corpus.iterdir():
        file.unlink()
    # Copies of a deadly text share its row: each is another text here.
    deadly = [f"{row}" + "x" * (POISON_TOKENS - 1) for row in range(5)]
    table = pa.table({"id": list("01234567"), "text": [*deadly, "sound", "too", "so"]})
    pq.write_table(table, corpus / "one.parquet")
    happened = tmp_path / "happened"
    happened.mkdir()
    one = config.model_copy(update={"shard_tokens": 10**6, "workers": Workers(1, 1)})

    outcome = score(one, Faulty(happened, 1000, fail))

    assert outcome.exit_code == 1
    scores = rows(one)
    assert scores["status"].to_list() == ["error"] * 5 + ["ok"] * 3
    assert set(scores["error"].head(5)) == {"engine_died: made to"}
    assert len(list(happened.iterdir())) <= 2 + 5 * 2
    again = score(one)
    assert (again.exit_code, again.num_shards_scored) == (1, 0)


def test_a_shard_that_cannot_be_scored_is_given_up_and_tried_again(config, tmp_path, corpus):
    whole = undisturbed(config, tmp_path)
    happened = tmp_path / "happened"
    happened.mkdir()
    once = config.model_copy(update={"max_attempts": 1})

    outcome = score(once, Faulty(happened, 1, fail))

    assert outcome.exit_code == 1
    assert outcome.success is None
    assert not Path(config.out, "_SUCCESS").exists()
    # What was in flight beside the shard died with it; nothing else did.
    assert 1 <= len(outcome.failures) <= 2
    for failure in outcome.failures:
        record = Path(config.out, "failed", f"{failure['shard']:05d}.json")
        assert json.loads(record.read_text()) == failure
        assert failure["attempts"] == 1
    lost = sum(failure["num_rows"] for failure in outcome.failures)
    assert len(rows(config)) == NUM_DOCUMENTS - lost

    again = score(config)

    assert again.num_shards_scored == len(outcome.failures)
    assert again.exit_code == 0
    assert not list(Path(config.out, "failed").iterdir())
    assert_frame_equal(rows(config), whole)


def test_a_part_whose_worker_died_before_it_could_tell_is_no_failure(config, tmp_path, corpus):
    whole = undisturbed(config, tmp_path)
    happened = tmp_path / "happened"
    happened.mkdir()
    once = config.model_copy(update={"max_attempts": 1})

    outcome = score(once, Faulty(happened, 1, die_after_the_rename))

    # The shard in flight beside it may have died unfinished; the one that has its name has not.
    store = RunStore(config.out)
    given_up = {failure["shard"] for failure in outcome.failures}
    assert len(given_up) <= 1
    assert store.done() | given_up == set(range(len(outcome.manifest.shards)))
    assert not store.done() & given_up
    assert score(config).exit_code == 0
    assert_frame_equal(rows(config), whole)


def test_a_torn_file_is_recorded_and_the_rest_scored(config, corpus):
    whole = (corpus / "f2.parquet").read_bytes()
    (corpus / "f2.parquet").write_bytes(whole[: len(whole) // 2])

    outcome = score(config)

    assert outcome.exit_code == 1
    assert outcome.success is not None
    assert outcome.success.num_unreadable_files == 1
    [failure] = outcome.failures
    assert failure["file"] == "f2.parquet"
    assert "not a readable Parquet file" in failure["reason"]
    assert sorted(set(rows(config)["file"])) == ["f0.parquet", "f1.parquet"]


def test_a_part_that_is_lost_after_the_end_is_scored_anew(config):
    score(config)
    whole = rows(config)
    part = Path(config.out) / "scores/part-00001.parquet"
    part.unlink()
    with pytest.raises(RunError, match=r"part-00001\.parquet is missing"):
        rows(config)

    outcome = score(config)

    assert (outcome.exit_code, outcome.num_shards_scored) == (0, 1)
    assert part.exists()
    assert_frame_equal(rows(config), whole)


def test_a_model_that_is_refused_leaves_nothing(config):
    def refuse(settings: EngineSettings) -> FakeEngine:
        raise ModelError("vLLM cannot score with it", hint="take another")

    with pytest.raises(ModelError, match="vLLM cannot score with it") as caught:
        score(config, refuse)
    assert caught.value.hint == "take another"
    assert not Path(config.out).exists()


def test_a_corpus_without_rows(config, corpus):
    for file in corpus.iterdir():
        pq.write_table(
            pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), file
        )

    outcome = score(config)

    assert outcome.exit_code == 0
    assert outcome.success is not None
    assert outcome.success.totals.num_rows == 0
    assert len(rows(config)) == 0
