"""Corpora and runs on a real S3 server, that fails, stops, freezes and refuses.

The server is SeaweedFS on loopback, from `.venv-faults`; the engine is tests/fakes.py's, so that
what is tested is reading, committing, resuming and what is said.
"""

import gc
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from pyarrow import fs
from typer.testing import CliRunner

from jobs.cli.main import app
from jobs.run.score import Outcome, run_score
from pipeline.corpus.files import find_files
from pipeline.engine.protocol import EngineSettings
from pipeline.errors import AccessError, StoreError
from pipeline.planning.plan import open_run
from pipeline.planning.reuse import take_over
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import Window, WindowScore
from pipeline.settings.config import ScoreConfig, Workers
from pipeline.storage import locations, retries
from pipeline.storage.filesystem import open_root
from tests.support.fakes import FakeEngine
from tests.support.faulty_proxy import (
    Fault,
    FaultyProxy,
    cut_off,
    refuse,
    reset_unanswered,
    reset_unasked,
    stall,
)
from tests.support.homes import ray_home
from tests.support.runs import score_corpus
from tests.support.servers import BUCKET, KEY, SECRET, SeaweedFS

pytestmark = pytest.mark.soak

REPOSITORY = Path(__file__).parents[2]
NUM_FILES = 3
DOCUMENTS_PER_FILE = 20
NUM_DOCUMENTS = NUM_FILES * DOCUMENTS_PER_FILE


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    """Credentials as a shell has them, and nobody's own configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(ray_home()))
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield patch


@pytest.fixture(scope="module")
def store(
    environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "data") as server:
        yield server


@pytest.fixture
def proxy(store: SeaweedFS) -> Iterator[FaultyProxy]:
    with FaultyProxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def prefix() -> str:
    """Every test has a folder of its own in the bucket."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow's own retries are off: what is left is ours."""
    monkeypatch.setattr(locations, "S3_ATTEMPTS", 1)


@pytest.fixture
def quick(one_attempt: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And silence is short. Not for what has no patience: a store that is busy is silent, too."""
    monkeypatch.setattr(locations, "SILENCE_SECONDS", 1.0)


@pytest.fixture(scope="module")
def local_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for file in range(NUM_FILES):
        texts = [f"document {file} {row} " + "word " * row for row in range(DOCUMENTS_PER_FILE)]
        sources = [("web", "books")[row % 2] for row in range(DOCUMENTS_PER_FILE)]
        ids = [f"{file}/{row}" for row in range(DOCUMENTS_PER_FILE)]
        table = pa.table({"id": ids, "text": texts, "source": sources})
        pq.write_table(table, folder / f"f{file}.parquet", row_group_size=5)
    return folder


@pytest.fixture
def corpus(store: SeaweedFS, local_corpus: Path, prefix: str) -> str:
    """The path in the bucket of the same files."""
    for file in local_corpus.iterdir():
        with store.filesystem.open_output_stream(f"{BUCKET}/{prefix}/data/{file.name}") as sink:
            sink.write(file.read_bytes())
    return f"{prefix}/data"


@pytest.fixture(scope="module")
def expected(
    local_corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> pl.DataFrame:
    """The scores of the same files on a local disk."""
    run = tmp_path_factory.mktemp("expected") / "run"
    return rows(score_corpus(local_corpus, run, tiny_model, carry=("source",)))


def rows(store: RunStore) -> pl.DataFrame:
    return scan_scores(store, store.require_manifest()).sort("file", "row").collect()


def names(store: SeaweedFS, path: str) -> set[str]:
    selector = fs.FileSelector(f"{BUCKET}/{path}", recursive=True, allow_not_found=True)
    found = store.filesystem.get_file_info(selector)
    return {i.path.removeprefix(f"{BUCKET}/{path}/") for i in found if i.type == fs.FileType.File}


def winnow(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


# A run on S3


def test_scores_on_s3_are_those_on_a_disk(store, corpus, prefix, tiny_model, expected):
    run = score_corpus(
        store.location(corpus), store.location(f"{prefix}/run"), tiny_model, carry=("source",)
    )
    assert_frame_equal(rows(run), expected)
    found = names(store, f"{prefix}/run")
    assert {"manifest.json", "_SUCCESS", "scores/part-00000.parquet"} <= found
    assert not [name for name in found if ".tmp" in name]


def test_every_command_on_a_run_on_s3(store, corpus, prefix, tiny_model):
    run = store.location(f"{prefix}/run")
    score_corpus(store.location(corpus), run, tiny_model, carry=("source",))

    def told(*arguments: str) -> dict:
        done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    assert told("plan", store.location(corpus))["rows"] == NUM_DOCUMENTS
    assert told("plan", store.location(f"{corpus}/f*.parquet"))["rows"] == NUM_DOCUMENTS
    assert told("plan", store.location(f"{corpus}/f1.parquet"))["rows"] == DOCUMENTS_PER_FILE
    assert told("status", run)["state"] == "finished"
    verification = told("verify", run, "--sample", "0")
    assert all(check["passed"] for check in verification["checks"])
    report = told("report", run, "--by", "source")
    assert {"report.html", "report.json", "report.md"} <= names(store, f"{prefix}/run")
    assert json.dumps(report)
    assert told("gc", run)["files"] == {}
    told("filter", run, "--out", store.location(f"{prefix}/kept"), "--percentile", "0:50")
    kept = fs.S3FileSystem.from_uri(store.location(f"{prefix}/kept"))
    texts = pq.read_table(kept[1], filesystem=kept[0]).num_rows
    assert texts == NUM_DOCUMENTS // 2
    cutoffs = store.location(f"{prefix}/kept/_filter.json")
    assert told("filter", run, "--dry-run", "--cutoffs", cutoffs)["after"]["documents"] == texts


def test_the_endpoint_may_be_in_the_environment(store, corpus, prefix, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.port}")
    _, files = find_files(f"s3://{BUCKET}/{corpus}")
    assert list(files) == [f"f{file}.parquet" for file in range(NUM_FILES)]


def test_a_run_of_one_file_keeps_the_options_of_its_location(
    store, corpus, prefix, tiny_model, expected
):
    run = score_corpus(
        store.location(f"{corpus}/f1.parquet"),
        store.location(f"{prefix}/run"),
        tiny_model,
        carry=("source",),
    )
    assert_frame_equal(rows(run), expected.filter(pl.col("file") == "f1.parquet"))


@pytest.mark.parametrize("to", ["the same store", "a disk"])
def test_parts_of_another_run_are_taken_over(
    proxy, store, corpus, prefix, tiny_model, expected, tmp_path, to
):
    first = score_corpus(
        store.location(corpus, port=proxy.port),
        store.location(f"{prefix}/run", port=proxy.port),
        tiny_model,
        carry=("source",),
    )
    again = store.location(f"{prefix}/again", port=proxy.port) if to != "a disk" else tmp_path / "x"
    config = ScoreConfig(
        corpus=store.location(corpus, port=proxy.port),
        out=str(again),
        model=str(tiny_model),
        carry=("source",),
        dtype="float32",
        shard_tokens=20,
        reuse=first.location,
    )
    run = RunStore(config.out)
    manifest, _ = open_run(config, run, default_shard_tokens=20)
    run.write_manifest(manifest)
    proxy.requests.clear()
    assert take_over(run, manifest) == len(manifest.shards)
    parts_sent = [path for method, path in proxy.requests if method == "PUT" and "part-" in path]
    assert len(parts_sent) == (0 if to == "a disk" else len(manifest.shards))
    assert_frame_equal(rows(run), expected)


# The final name is the commit


KILLED = """
import os, signal, sys
from pipeline.runs.store import RunStore
from tests.support.runs import score_corpus

write_part, parts = RunStore.writing_part, []

def writing_part(self, shard, schema):
    parts.append(shard)
    context = write_part(self, shard, schema)
    if len(parts) == 3:
        leave = context.__exit__
        part = context.__enter__()
        class Killed:
            def __enter__(self): return part
            def __exit__(self, *error): os.kill(os.getpid(), signal.SIGKILL)
        return Killed()
    return context

RunStore.writing_part = writing_part
score_corpus(sys.argv[1], sys.argv[2], sys.argv[3], carry=("source",))
"""


def test_a_run_that_is_killed_goes_on(store, corpus, prefix, tiny_model, expected):
    where = (store.location(corpus), store.location(f"{prefix}/run"))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *where, str(tiny_model)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = RunStore(where[1])
    assert run.done() == {0, 1}  # the third was being written
    assert run.success() is None
    score_corpus(*where, tiny_model, carry=("source",))
    assert_frame_equal(rows(run), expected)


def test_nothing_is_visible_before_the_put_nor_after_an_error(store, prefix):
    root = open_root(store.location(prefix))
    content = os.urandom(12 << 20)  # more than one part of an upload

    def fail_while_writing() -> None:
        with root.writing("part") as sink:
            sink.write(content)
            assert names(store, prefix) == set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_writing()
    gc.collect()
    assert names(store, prefix) == set()
    with root.writing("part") as sink:
        sink.write(content)
        assert names(store, prefix) == set()
    assert root.read_bytes("part") == content


def test_an_upload_that_fails_midway_leaves_nothing(proxy, store, prefix, one_attempt, monkeypatch):
    monkeypatch.setattr(retries, "RETRY_SECONDS", 0.0)
    root = open_root(store.location(prefix, port=proxy.port))
    proxy.fail_times(99, refuse(503, "SlowDown"), method="PUT", having="partNumber=2")
    with pytest.raises(StoreError, match="SLOW_DOWN during UploadPart"):
        root.write_bytes("part", os.urandom(25 << 20))
    gc.collect()
    assert names(store, prefix) == set()


def test_a_part_is_one_request_and_many_are_one_listing(proxy, store, prefix):
    run = RunStore(store.location(f"{prefix}/run", port=proxy.port))
    proxy.requests.clear()
    run.root.write_bytes(run.part_name(0), b"content")
    assert [method for method, _ in proxy.requests] == ["PUT"]
    for shard in range(1, 40):
        run.root.write_bytes(run.part_name(shard), b"content")
    proxy.requests.clear()
    assert run.done() == set(range(40))
    [(method, path)] = proxy.requests
    assert method == "GET"
    assert "list-type=2" in path


# Faults of requests


FAULTS: dict[str, Fault] = {
    "503": refuse(503, "SlowDown"),
    "500": refuse(500, "InternalError"),
    "429": refuse(429, "TooManyRequests"),
    "reset": reset_unasked,
    "reset after it was done": reset_unanswered,
    "cut off": cut_off,
    "silence": stall(2.5),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_requests_that_fail_are_made_again(proxy, store, prefix, quick, fault):
    root = open_root(store.location(prefix, port=proxy.port))
    content = os.urandom(1000)
    proxy.fail_times(2, fault)
    root.write_bytes("part", content)
    proxy.fail_times(2, fault)
    assert root.read_bytes("part") == content
    proxy.fail_times(2, fault)
    assert list(root.files()) == ["part"]
    proxy.fail_times(2, fault)
    root.remove("part")
    assert names(store, prefix) == set()


def test_a_whole_run_through_a_store_that_fails_now_and_then(
    proxy, store, corpus, prefix, tiny_model, expected, quick
):
    dice = random.Random(5)
    faults = [fault for name, fault in FAULTS.items() if name != "silence"]
    proxy.fault = lambda method, path: dice.choice(faults) if dice.random() < 0.15 else None
    run = score_corpus(
        store.location(corpus, port=proxy.port),
        store.location(f"{prefix}/run", port=proxy.port),
        tiny_model,
        carry=("source",),
        shard_tokens=200,
    )
    scores = rows(run)
    proxy.fault = lambda method, path: None
    assert_frame_equal(scores, expected)
    assert_frame_equal(rows(run), expected)


# A store that goes away


def later(seconds: float, act: Callable[[], None]) -> threading.Thread:
    thread = threading.Timer(seconds, act)
    thread.start()
    return thread


@dataclass
class Slowly(FakeEngine):
    """Lets something happen before a certain window."""

    at: int
    act: Callable[[], None]

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        return super().score(self._watched(windows))

    def _watched(self, windows: Iterable[tuple[int, Window]]) -> Iterator[tuple[int, Window]]:
        for entry in windows:
            self.at -= 1
            if self.at == 0:
                self.act()
            yield entry


def test_a_store_that_restarts_in_the_middle_of_a_run(
    store, corpus, prefix, tiny_model, expected, caplog
):
    back, is_over = [], threading.Event()

    def is_missed() -> bool:
        return any("retrying in" in record.message for record in caplog.records)

    def start_once_it_is_missed() -> None:
        while not is_missed() and not is_over.wait(0.1):
            pass
        store.start()

    def restart() -> None:
        store.kill()
        back.append(later(0.0, start_once_it_is_missed))

    try:
        run = score_corpus(
            store.location(corpus),
            store.location(f"{prefix}/run"),
            tiny_model,
            engine=Slowly(20, restart),
            carry=("source",),
        )
    finally:
        is_over.set()
        back[0].join()
    assert_frame_equal(rows(run), expected)
    assert run.success() is not None
    assert is_missed()


def test_a_store_that_freezes_in_the_middle_of_a_run(
    store, corpus, prefix, tiny_model, expected, quick
):
    thaw = []

    def freeze() -> None:
        store.freeze()
        thaw.append(later(3.0, store.thaw))

    run = score_corpus(
        store.location(corpus),
        store.location(f"{prefix}/run"),
        tiny_model,
        engine=Slowly(20, freeze),
        carry=("source",),
    )
    thaw[0].join()
    assert_frame_equal(rows(run), expected)


def test_a_store_that_stays_away_ends_the_run_which_then_goes_on(
    store, corpus, prefix, tiny_model, expected, one_attempt, monkeypatch
):
    monkeypatch.setattr(retries, "RETRY_SECONDS", 2.0)
    where = (store.location(corpus), store.location(f"{prefix}/run"))
    try:
        with pytest.raises(StoreError, match=f"s3://{BUCKET}/{prefix}/.* failed for 2 s") as caught:
            score_corpus(*where, tiny_model, engine=Slowly(20, store.kill), carry=("source",))
    finally:
        store.start()
    assert caught.value.exit_code == 1
    done = RunStore(where[1]).done()
    assert 0 < len(done) < len(RunStore(where[1]).require_manifest().shards)
    run = score_corpus(*where, tiny_model, carry=("source",))
    assert_frame_equal(rows(run), expected)


def test_a_report_of_a_store_that_is_away_says_so(store, prefix, corpus, tiny_model, monkeypatch):
    run = score_corpus(store.location(corpus), store.location(f"{prefix}/run"), tiny_model)
    frame = scan_scores(run, run.require_manifest())
    impatient = RunStore(run.location)
    impatient.root = run.root.retrying_for(0.5)
    lazy = scan_scores(impatient, run.require_manifest())
    assert frame.collect().height == NUM_DOCUMENTS
    store.kill()
    try:
        with pytest.raises(StoreError, match="the store failed"):
            lazy.collect()
    finally:
        store.start()


# Who may not


@pytest.mark.parametrize(
    "credentials",
    [
        {"AWS_ACCESS_KEY_ID": "nobody"},
        {"AWS_SECRET_ACCESS_KEY": "notTheSECRET"},
        {"AWS_SESSION_TOKEN": "expiredSECRET"},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    ],
    ids=["unknown key", "wrong secret", "a session that is none", "none"],
)
def test_bad_credentials_are_one_line_before_any_model(store, corpus, prefix, credentials):
    run = store.location(f"{prefix}/run")
    done = winnow(
        "score", store.location(corpus), "--out", run, "--model", "/no/model", **credentials
    )
    assert done.returncode == 2
    progress, error, hint = done.stderr.strip().splitlines()
    assert "Planning" in progress
    assert error.startswith("Error: ")
    assert "the store refused access" in error
    assert prefix in error
    assert hint.startswith("Hint: ")
    assert "credentials" in hint
    assert "SECRET" not in done.stdout + done.stderr
    assert done.stdout == ""
    assert names(store, f"{prefix}/run") == set()


@pytest.mark.parametrize("which", ["corpus", "run"])
def test_a_bucket_that_is_missing_is_one_line_and_is_not_made(store, corpus, prefix, which):
    corpus_at, run = store.location(corpus), store.location(f"{prefix}/run")
    if which == "corpus":
        corpus_at = store.location("data", bucket="nobucket")
    else:
        run = store.location("run", bucket="nobucket")
    done = winnow("score", corpus_at, "--out", run, "--model", "/no/model")
    assert done.returncode == 2
    _, error, hint = done.stderr.strip().splitlines()
    assert "there is no bucket 'nobucket'" in error
    assert hint.startswith("Hint: ")
    assert store.filesystem.get_file_info("nobucket").type == fs.FileType.NotFound


def test_credentials_that_expire_end_at_once(proxy, store, prefix):
    root = open_root(store.location(prefix, port=proxy.port))
    root.write_bytes("a", b"content")
    proxy.fail_times(99, refuse(400, "ExpiredToken", "The provided token has expired."))
    started = len(proxy.requests)
    with pytest.raises(AccessError, match="ExpiredToken Message: The provided token has expired"):
        root.write_bytes("a", b"other")
    assert len(proxy.requests) - started == 1


# With Ray


class Silent:
    """A listener that nobody listens to."""

    def phase(self, text: str) -> None: ...

    def begin(self, num_rows: int, num_done: int) -> None: ...

    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class Pausing:
    """Makes engines of which each scores one shard, and the next ones once a file is there."""

    file: Path

    def __call__(self, settings: EngineSettings) -> "PausingEngine":
        return PausingEngine(self.file)


class PausingEngine(FakeEngine):
    def __init__(self, file: Path) -> None:
        self._file = file
        self._turns = itertools.count()

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        is_first = not next(self._turns)
        while not is_first and not self._file.exists():
            time.sleep(0.02)
        yield from super().score(windows)


def score(corpus: str, run: str, model: Path, pause: Path) -> Outcome:
    config = ScoreConfig(
        corpus=corpus,
        out=run,
        model=str(model),
        carry=("source",),
        dtype="float32",
        shard_tokens=60,
        workers=Workers(2, 2),
    )
    return run_score(config, Silent(), Pausing(pause))


def test_ray_workers_on_s3_while_the_store_restarts(
    store, corpus, prefix, tiny_model, expected, tmp_path
):
    where = (store.location(corpus), store.location(f"{prefix}/run"))
    restarted, gone = [], tmp_path / "gone"

    def restart() -> None:
        run = RunStore(where[1])
        while not run.done():
            time.sleep(0.1)
        restarted.append(len(run.done()))
        store.kill()
        gone.touch()
        time.sleep(3.0)
        store.start()

    thread = later(0.0, restart)
    outcome = score(*where, tiny_model, gone)
    thread.join()

    assert outcome.exit_code == 0
    assert outcome.failures == []
    assert restarted[0] < len(outcome.manifest.shards)  # it was in the middle
    assert_frame_equal(rows(RunStore(where[1])), expected)
    assert "_LOCK" not in names(store, f"{prefix}/run")
    assert score(*where, tiny_model, gone).num_shards_scored == 0
