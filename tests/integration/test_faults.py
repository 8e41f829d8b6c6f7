"""Faults caused for real: drivers that die at every moment, machines that go, memory and disks.

One cluster for the file; runs on a Ray of their own are test_ray_run.py's, random faults
tests/chaos. What a corpus may hold is test_bad_input.py's.
"""

import errno
import random
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from jobs.console.ending import run_command
from jobs.run.score import Outcome, run_score
from pipeline.runs.cleanup import find_leftovers
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig, Workers
from pipeline.storage.filesystem import Root, open_root
from tests.chaos.cluster import Machines, machines
from tests.chaos.corpus import Undisturbed
from tests.chaos.faults import lose_all_machines, lose_machine, start_second_driver
from tests.chaos.rounds import Fault, Round
from tests.support.faulty import (
    MOMENTS,
    STEP_TOKENS,
    Ordered,
    Silent,
    SmallMemory,
    healthy,
)
from tests.support.plans import make_manifest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Machines]:
    with machines(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"), num_files=1)


@pytest.fixture
def under_fire(cluster: Machines, undisturbed: Undisturbed, tmp_path: Path) -> Round:
    return Round(tmp_path / "round", cluster, undisturbed, random.Random(0))


@pytest.fixture
def config(cluster: Machines, undisturbed: Undisturbed, tmp_path: Path) -> ScoreConfig:
    return ScoreConfig(
        corpus=str(undisturbed.corpus),
        out=str(tmp_path / "run"),
        model=str(undisturbed.model),
        dtype="float32",
        shard_tokens=1,
        carry=("id",),
        workers=Workers(1, 2),
        address=cluster.address,
    )


@pytest.mark.soak
def test_a_driver_that_dies_at_each_moment_in_turn(under_fire):
    difference = under_fire.play(list(MOMENTS), [])

    assert under_fire.complaints == []
    assert under_fire.caused == list(MOMENTS)
    assert difference.is_none, difference
    assert under_fire.num_drivers == len(MOMENTS) + 1


def test_machines_that_go_while_others_join(under_fire):
    faults = [Fault("one", lose_machine), Fault("all", lose_all_machines)]
    difference = under_fire.play([], faults)

    assert under_fire.complaints == []
    assert under_fire.caused == ["one", "all"]
    assert difference.is_none, difference
    assert under_fire.num_drivers == 1


@pytest.mark.soak
def test_no_machine_comes_back(under_fire, cluster):
    under_fire.configure(wait_minutes=1)

    def lose_them_for_good(at: Round) -> bool:
        while len(cluster):
            cluster.lose(0)
        at.expect(1)
        assert at.driver.end() == 1
        at.configure()
        return True

    difference = under_fire.play([], [Fault("all, for good", lose_them_for_good)])

    assert under_fire.complaints == []
    assert difference.is_none, difference
    words = (under_fire.folder / "driver-01.log").read_text()
    assert "Error: waited 1 min 0 s for 1 engine to start, each with 1 CPUs" in words
    assert "run again (nothing is lost)" in words


def test_a_second_driver_is_refused_and_changes_nothing(under_fire):
    difference = under_fire.play([], [Fault("second driver", start_second_driver)])

    assert under_fire.complaints == []
    assert under_fire.caused == ["second driver"]
    assert difference.is_none, difference


def test_an_engine_that_dies_before_the_rename_leaves_no_part_and_at_the_end_no_leftover(
    config, undisturbed, tmp_path, monkeypatch
):
    left: list[str] = []
    remove = Root.remove

    def noting(root: Root, name: str) -> None:
        left.append(name)
        remove(root, name)

    monkeypatch.setattr(Root, "remove", noting)
    orders = Ordered(tmp_path / "orders", 0)
    orders.folder.mkdir()
    orders.give("rename")

    assert run_score(config, Silent(), orders).exit_code == 0

    # It had two shards in flight: one before its rename, the other perhaps begun.
    assert 1 <= len([name for name in left if name.startswith("scores/.tmp-")]) <= 2
    assert not find_leftovers(RunStore(config.out))
    assert undisturbed.compare(config.out).is_none


def test_steps_are_halved_until_they_fit_into_memory(config, undisturbed, tmp_path):
    memory = SmallMemory(tmp_path / "steps", STEP_TOKENS // 4)
    memory.seen.mkdir()

    outcome = run_score(config, Silent(), memory)

    assert outcome.exit_code == 0
    tried = {int(path.name) for path in memory.seen.iterdir()}
    assert tried == {STEP_TOKENS, STEP_TOKENS // 2, STEP_TOKENS // 4}
    assert undisturbed.compare(config.out).is_none


def test_no_step_fits_into_memory(config, undisturbed, tmp_path):
    memory = SmallMemory(tmp_path / "steps", 0)
    memory.seen.mkdir()
    few = config.model_copy(update={"max_attempts": 1, "limit": 8, "max_num_batched_tokens": 512})

    outcome = run_score(few, Silent(), memory)

    assert outcome.exit_code == 1
    assert outcome.success is None
    [failure] = outcome.failures
    assert failure["reason"] == "the engine ran out of memory: made to"
    assert {int(path.name) for path in memory.seen.iterdir()} == {512, 256}


def test_a_run_without_success_never_ends_with_0():
    assert Outcome(make_manifest(), None, 3, []).exit_code == 1


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "winnow-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system of limited size takes the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(config, undisturbed, tmp_path, capsys):
    disk = tmp_path / "disk"
    with small_disk(disk, "100k"):
        # One worker, whose second attempt ends the run: a second worker would be killed within a
        # write, and might begin one after what was unfinished has been removed.
        full = config.model_copy(
            update={"out": str(disk / "run"), "max_attempts": 2, "workers": Workers(1, 1)}
        )
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: run_score(full, Silent(), healthy).exit_code)

        assert ended.value.code == 1
        first, hint = capsys.readouterr().err.strip().splitlines()[-2:]
        assert first.startswith(f"Error: {disk}/run/scores/part-")
        assert first.endswith(": No space left on device")
        assert hint.startswith("Hint: ")
        store = RunStore(full.out)
        done = store.done()
        assert 0 < len(done) < undisturbed.num_shards
        for shard in done:
            assert pl.read_parquet(store.root.full(store.part_name(shard))).height == 8
        assert not find_leftovers(store)
        assert not (disk / "run" / "_LOCK").exists()

        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        outcome = run_score(full, Silent(), healthy)
        assert outcome.exit_code == 0
        assert outcome.num_shards_scored == undisturbed.num_shards - len(done)
        assert undisturbed.compare(str(disk / "run")).is_none


def test_a_disk_that_is_full_at_once(tmp_path):
    """Where nothing can be mounted: no file may grow beyond the limit."""
    root = open_root(str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=f"{tmp_path}/part") as caught:
            root.write_bytes("part", b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
