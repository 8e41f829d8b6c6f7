"""`winnow status --watch`, pipeline/runs/status.py: parts that appear one by one in a real run."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from jobs.cli import watch as command
from jobs.console.signals import Terminated
from pipeline.engine.protocol import Work
from pipeline.runs.lock import LOCK, RunLock
from pipeline.runs.status import Commit, Snapshot, Watch, rate_of
from pipeline.runs.store import RunStore
from tests.support.runs import make_run

TEXTS: list[str | None] = [f"document number {i}" for i in range(12)]


@pytest.fixture
def finished(tiny_model: Path, tmp_path: Path) -> RunStore:
    return make_run(tmp_path / "made", tiny_model, TEXTS)


@pytest.fixture
def going(finished: RunStore, tmp_path: Path) -> RunStore:
    """The same plan, with nothing done yet."""
    store = RunStore(str(tmp_path / "going"))
    manifest = finished.manifest()
    assert manifest is not None
    store.write_manifest(manifest)
    return store


def bring(finished: RunStore, going: RunStore, shard: int, at: float | None = None) -> None:
    target = Path(going.root.full(going.part_name(shard)))
    target.parent.mkdir(exist_ok=True)
    shutil.copy(finished.root.full(finished.part_name(shard)), target)
    if at is not None:
        os.utime(target, (at, at))


def finish(finished: RunStore, going: RunStore) -> None:
    going.root.write_bytes("_SUCCESS", finished.root.read_bytes("_SUCCESS"))


def watching(store: RunStore) -> Watch:
    return Watch(store, store.require_manifest())


def test_parts_appear_one_by_one_and_each_is_read_once(finished, going, monkeypatch):
    shards = going.require_manifest().shards
    assert len(shards) > 2
    read: list[int] = []
    footer = RunStore.footer
    monkeypatch.setattr(RunStore, "footer", lambda s, n: read.append(n) or footer(s, n))
    watch = watching(going)
    tokens = rows = 0
    with RunLock(going.root):
        for shard in shards:
            seen = watch.look()
            assert (seen.state, seen.shards_done, seen.rows_done) == ("running", shard.id, rows)
            assert (seen.tokens_done, seen.rows) == (tokens, 12)
            assert seen.driver == f"process {os.getpid()} on {os.uname().nodename}"
            bring(finished, going, shard.id)
            tokens += footer(finished, shard.id).totals.num_tokens
            rows += shard.num_rows
        watch.look()
        finish(finished, going)
    seen = watch.look()
    assert (seen.state, seen.rows_done, seen.tokens_done) == ("finished", 12, tokens)
    assert tokens == sum(len(text.encode()) for text in TEXTS)  # a token a byte
    assert seen.exit_code == 0
    assert seen.driver is None
    assert sorted(read) == [shard.id for shard in shards]


def test_one_listing_a_look(finished, going, monkeypatch):
    watch = watching(going)
    bring(finished, going, 0)
    listed = []
    files = type(going.root).files
    monkeypatch.setattr(
        type(going.root), "files", lambda r, *a, **k: listed.append(a) or files(r, *a, **k)
    )
    for _ in range(3):
        watch.look()
    assert len(listed) == 3


def test_the_rate_and_what_is_left(finished, going):
    """Parts a hundred seconds apart; the speed is theirs, the rest goes by bytes of text."""
    shards = going.require_manifest().shards
    watch, tokens = watching(going), []
    with RunLock(going.root):
        now = time.time()
        for index in range(3):
            # In the future, so that they are later than the driver and silence is none.
            bring(finished, going, index, at=now + 1000 + 100 * index)
            tokens.append(finished.footer(index).totals.num_tokens)
        seen = watch.look()
    began = finished.footer(0).totals.seconds
    assert seen.tokens_per_second == pytest.approx(sum(tokens) / (200 + began), rel=1e-6)
    done = sum(shard.text_bytes for shard in shards[:3])
    left = sum(shard.text_bytes for shard in shards[3:])
    assert seen.eta_seconds == pytest.approx(left / done * (200 + began), rel=1e-6)


def test_parts_of_another_driver_or_another_run_say_nothing_of_the_speed(finished, going):
    watch = watching(going)
    with RunLock(going.root):
        bring(finished, going, 0, at=time.time() - 10**6)
        seen = watch.look()
        assert (seen.shards_done, seen.tokens_per_second) == (1, None)
        taken = going.require_manifest().model_copy(update={"run_id": "0" * 32})
        bring(finished, going, 0, at=time.time() + 1000)
        seen = Watch(going, taken).look()
        assert (seen.shards_done, seen.tokens_per_second) == (1, None)


def commits(*moments: float) -> list[Commit]:
    return [Commit(at, at - 10, rows=1, tokens=100, text_bytes=400) for at in moments]


RATES = {
    "one part": (commits(10), 10, 10.0),
    "two after each other": (commits(10, 20), 20, 10.0),
    "two workers side by side": (commits(10, 10), 10, 20.0),
    "a silence as long as before": (commits(10, 20), 30, 10.0),
    "a silence that is longer": (commits(10, 20), 50, 5.0),
    "clocks that disagree": (commits(10, 20), -500, 10.0),
}


@pytest.mark.parametrize(("parts", "now", "tokens"), RATES.values(), ids=RATES)
def test_the_rate(parts, now, tokens):
    rate = rate_of(parts, now)
    assert rate is not None
    assert rate.tokens == pytest.approx(tokens)
    assert rate.rows == pytest.approx(tokens / 100)
    assert rate.text_bytes == pytest.approx(tokens * 4)


def test_the_utilization_is_that_of_the_same_parts():
    """Weighted by what the devices could have done; parts of an older Winnow tell nothing."""
    old, *new = commits(10, 20, 30)
    done = [Work(1e12, 4e12), Work(5e12, 8e12)]
    counted = [part._replace(work=work) for part, work in zip(new, done, strict=True)]
    rate = rate_of([old, *counted], 30)
    assert rate is not None
    assert rate.mfu == 0.5
    rate = rate_of([old], 10)
    assert rate is not None
    assert rate.mfu is None


def test_the_rate_is_of_late():
    """A day of one part per minute, then ten minutes of one per second."""
    slow = [60.0 * i for i in range(1, 1441)]
    fast = [slow[-1] + i for i in range(1, 601)]
    rate = rate_of(commits(*slow, *fast), fast[-1])
    assert rate is not None
    assert rate.tokens == pytest.approx(100, rel=0.01)
    assert rate_of([], 0) is None


def test_failures_come_and_go(going):
    watch = watching(going)
    with RunLock(going.root):
        going.write_failure("00001", {"shard": 1, "reason": "died", "num_rows": 3})
        seen = watch.look()
        assert [failure["reason"] for failure in seen.failures] == ["died"]
        assert (seen.state, seen.exit_code) == ("running", 1)
        going.clear_failure("00001")
        assert watch.look().failures == []


def test_a_damaged_part_does_not_end_the_watching(finished, going, caplog):
    watch = watching(going)
    bring(finished, going, 0)
    Path(going.root.full(going.part_name(1))).write_text("torn")
    seen = watch.look()
    assert seen.shards_done == 2
    assert seen.tokens_done == finished.footer(0).totals.num_tokens
    assert "part-00001.parquet is not a part" in caplog.text


def test_success_written_between_the_listing_and_the_lock(finished, going, monkeypatch):
    """The driver ends while we look: a run that is finished is not called stopped."""
    files = type(going.root).files

    def late(root, *arguments, **options):
        found = files(root, *arguments, **options)
        for shard in going.require_manifest().shards:
            bring(finished, going, shard.id)
        finish(finished, going)
        return found

    monkeypatch.setattr(type(going.root), "files", late)
    assert watching(going).look().state == "finished"


def test_a_finished_run_that_lost_parts_is_damaged(winnow, finished, tmp_path):
    """Not finished, whatever _SUCCESS says; and whole again once they are scored."""
    number = len(finished.require_manifest().shards)
    saved = [Path(finished.root.full(finished.part_name(shard))) for shard in (0, 1)]
    kept = [part.read_bytes() for part in saved]
    for num_lost, words in ((1, "1 part is missing"), (2, "2 parts are missing")):
        saved[num_lost - 1].unlink()
        for options in ([], ["--watch"]):
            code, out, err = winnow("status", finished.location, *options)
            assert code == 1
            assert "damaged" in out
            assert "finished  " not in out
            assert f"Damaged: {words}; repeat the command that started the run" in err
        code, out, _ = winnow("status", finished.location, "--json")
        facts = json.loads(out)
        assert (code, facts["state"], facts["shards_done"]) == (1, "damaged", number - num_lost)
        with RunLock(finished.root):
            assert watching(finished).look().state == "running"
    for part, content in zip(saved, kept, strict=True):
        part.write_bytes(content)
    code, out, _ = winnow("status", finished.location)
    assert (code, "damaged" in out) == (0, False)


# The command


def each_pause(monkeypatch, *steps) -> None:
    """Does one step instead of each pause between two looks."""
    left = list(steps)
    monkeypatch.setattr(command.time, "sleep", lambda seconds: left.pop(0)())


def test_a_line_a_change_and_the_end(winnow, finished, going, monkeypatch):
    shards = [shard.id for shard in going.require_manifest().shards]
    lock = RunLock(going.root)
    lock.__enter__()
    brings = [lambda s=s: bring(finished, going, s) for s in shards]
    end = [lambda: (finish(finished, going), lock.__exit__(None, None, None))]
    each_pause(monkeypatch, lambda: None, *brings, lambda: None, *end)
    code, out, err = winnow("status", going.location, "--watch")
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 1 + len(shards) + 1, "no line where nothing changed"
    assert f"0 of {len(shards)} shards" in lines[0]
    assert "tokens/s" in lines[2]
    assert lines[-1].split("  ")[1] == "finished"
    assert err == ""


def test_json_lines(winnow, finished, going, monkeypatch):
    lock = RunLock(going.root)
    lock.__enter__()
    each_pause(monkeypatch, lambda: None, lambda: lock.__exit__(None, None, None))
    code, out, err = winnow("status", going.location, "--watch", "--json")
    looks = [json.loads(text) for text in out.splitlines()]
    assert [look["state"] for look in looks] == ["running", "running", "stopped"]
    assert looks[0]["rows"] == 12
    assert code == 1
    assert "No process is scoring this run. Repeat the command" in err


def test_given_up(winnow, finished):
    finished.write_failure("file-00000", {"file": "torn\x1b.parquet", "reason": "no Parquet"})
    code, out, err = winnow("status", finished.location, "--watch")
    assert code == 1
    assert "finished" in out
    assert "Given up: torn\N{REPLACEMENT CHARACTER}.parquet: no Parquet" in err


def test_a_file_that_was_given_up_says_what_scores_it(winnow, finished):
    finished.write_failure("file-00000", {"file": "torn.parquet", "reason": "no Parquet"})
    _, _, err = winnow("status", finished.location)
    said = " ".join(err.split())
    assert "Given up: torn.parquet: no Parquet" in said
    assert f"repair it, then score into a new --out with --reuse {finished.location}" in said
    (Path(finished.location) / "audit.json").touch()
    _, _, err = winnow("status", finished.location)
    assert "repair it, then delete the folder of this night" in " ".join(err.split())


def test_a_driver_that_dies(winnow, going, monkeypatch):
    """Killed, it leaves its lock behind; whoever watches says so and stops."""
    code = (
        "import sys, time; from pipeline.runs.lock import RunLock\n"
        "from pipeline.runs.store import RunStore\n"
        "with RunLock(RunStore(sys.argv[1]).root): print('held', flush=True); time.sleep(600)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, going.location], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    try:
        assert driver.stdout.readline() == "held\n"
        each_pause(monkeypatch, lambda: (driver.kill(), driver.wait()))
        status, out, err = winnow("status", going.location, "--watch")
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()
    assert going.root.exists(LOCK)
    assert status == 1
    assert f"driven by process {driver.pid}" in out
    assert "stopped" in out.splitlines()[-1]
    assert "No process is scoring this run" in err


@pytest.mark.parametrize(("raised", "expected"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_signal_is_the_watchers_alone(winnow, going, monkeypatch, raised, expected):
    def interrupt() -> None:
        raise raised

    with RunLock(going.root):
        each_pause(monkeypatch, interrupt)
        code, _, err = winnow("status", going.location, "--watch")
    assert code == expected
    assert err == "Stopped watching; the run continues.\n"


def test_a_run_that_is_not_planned_yet(winnow, finished, tmp_path, monkeypatch):
    store = RunStore(str(tmp_path / "new"))
    code, out, err = winnow("status", store.location)
    assert (code, out) == (2, "")
    assert "is not a run directory" in err

    with RunLock(store.root):
        code, out, err = winnow("status", store.location)
    assert (code, out) == (2, "")
    assert f"is not planned yet: process {os.getpid()} on " in err
    manifest, lock = finished.require_manifest(), RunLock(store.root)
    each_pause(
        monkeypatch,
        lambda: None,
        lambda: lock.__enter__(),
        lambda: None,
        lambda: (store.write_manifest(manifest), lock.__exit__(None, None, None)),
    )
    code, out, err = winnow("status", store.location, "--watch")
    assert code == 1
    first, second = err.splitlines()[:2]
    assert first == f"{store.location}: there is no run yet; waiting for winnow score to start one"
    assert f"is not planned yet; waiting for process {os.getpid()} on " in second
    assert "stopped" in out


def test_waiting_for_a_run_can_be_interrupted(winnow, tmp_path, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    each_pause(monkeypatch, lambda: None, interrupt)
    code, out, err = winnow("status", tmp_path / "new", "--watch", "--json")
    assert (code, out) == (130, "")
    assert err.splitlines()[1:] == ["Stopped waiting."]
    assert not (tmp_path / "new").exists()


def test_what_will_never_be_a_run_is_not_waited_for(winnow, tmp_path):
    (tmp_path / "a.parquet").touch()
    for place in (tmp_path, tmp_path / "a.parquet"):
        code, out, err = winnow("status", place, "--watch")
        assert (code, out) == (2, "")
        assert "not a run directory" in err


@pytest.mark.parametrize(("mfu", "told"), [(0.4375, "MFU 43.8%"), (None, "MFU")])
def test_an_update_says_the_utilization_where_it_is_known(mfu, told):
    seen = Snapshot(
        at="now",
        run="r",
        state="running",
        shards_done=1,
        shards=2,
        rows_done=1,
        rows=2,
        tokens_done=9,
        rows_per_second=1.0,
        tokens_per_second=9.0,
        mfu=mfu,
        eta_seconds=1.0,
        driver=None,
        given_up=0,
        failures=[],
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(command.shown(seen, 80))
    for text in (command.line(seen), console.export_text()):
        assert (told in text) == (mfu is not None)
