"""What the one driver costs: planning very many files, and keeping very many workers busy.

    make bench-overhead   (or: python -m tests.benchmarks.bench_driver [FILES] [WORKERS] [SHARDS])

Planning reads 20,000 hard links to one Parquet file. The workers are simulated:
`jobs.run.driver.Driver` is the real one, and a stand-in for Ray answers after so many simulated
seconds. The driver's own processor time moves the simulated clock too, so workers idle exactly
while it is busy. What Ray itself costs is measured apart, on a Ray of this machine.
"""

import heapq
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.run.cluster import WorkerSize
from jobs.run.driver import Driver
from jobs.run.score import FOOTER_READERS
from pipeline.planning.sharding import plan_corpus
from pipeline.runs.manifest import Manifest, PlannedFile, Totals
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, ShardTask, Span
from pipeline.settings.config import ScoreConfig
from tests.benchmarks.bench_growth import peak_bytes
from tests.support.plans import make_manifest

FILES = 20_000
WORKERS = 200
SHARDS = 10_000
SHARD_SECONDS = 1.0
"""Of a simulated worker; a shard is sized for minutes, so this is a hundred times too fast."""
ROWS = 100


def bench_planning(files: int, scratch: Path) -> dict[str, Any]:
    """Time and memory of a plan, and the size of its manifest."""
    corpus = scratch / "corpus"
    corpus.mkdir()
    first = corpus / "00000.parquet"
    pq.write_table(pa.table({"text": ["x" * 1000] * ROWS}), first)
    for number in range(1, files):
        (corpus / f"{number:05d}.parquet").hardlink_to(first)
    before, wall, cpu = peak_bytes(), time.monotonic(), time.process_time()
    planned = plan_corpus(str(corpus), text_column="text", default_shard_tokens=200_000)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    memory = peak_bytes() - before
    manifest = make_manifest(files=planned.files, shards=planned.shards, num_rows=planned.num_rows)
    return {
        "files": files,
        "shards": len(planned.shards),
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_kib_per_file": round(memory / 1024 / files, 2),
        "manifest_bytes_per_file": round(len(manifest.to_json()) / files),
    }


def bench_manifest(shards: int) -> dict[str, Any]:
    """What a plan of one file to a shard costs to write, to read and to hold."""
    manifest = wide_manifest(shards)
    started = time.process_time()
    content = manifest.to_json()
    written = time.process_time()
    before = resident_bytes()
    held = Manifest.model_validate(json.loads(content))
    read = time.process_time()
    assert len(held.shards) == shards
    return {
        "shards": shards,
        "write_us_per_shard": round(1e6 * (written - started) / shards, 2),
        "read_us_per_shard": round(1e6 * (read - written) / shards, 2),
        "bytes_on_disk_per_shard": round(len(content) / shards),
        "bytes_in_memory_per_shard": round((resident_bytes() - before) / shards),
    }


def bench_parts(parts: int, scratch: Path) -> dict[str, Any]:
    """What a resume (one listing) and the end of a run (every footer) cost for each part."""
    store = RunStore(str(scratch / "run"))
    manifest = make_manifest()
    with store.writing_part(0, manifest.arrow_schema()) as part:
        part.close(manifest.run_id, 0, manifest.fingerprint, 1.0)
    for number in range(1, parts):
        Path(store.root.full(store.part_name(number))).hardlink_to(
            store.root.full(store.part_name(0))
        )
    started = time.process_time()
    found = store.done()
    listed = time.process_time()
    with ThreadPoolExecutor(FOOTER_READERS) as readers:
        footers = list(readers.map(store.footer, sorted(found)))
    read = time.process_time()
    assert len(footers) == parts
    return {
        "parts": parts,
        "list_us_per_part": round(1e6 * (listed - started) / parts, 1),
        "footer_us_per_part": round(1e6 * (read - listed) / parts, 1),
    }


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def wide_manifest(shards: int) -> Manifest:
    files = tuple(
        PlannedFile(path=f"year=2025/part-{n:08d}.parquet", size_bytes=n, mtime_ns=n, num_rows=ROWS)
        for n in range(shards)
    )
    return make_manifest(
        files=files,
        shards=tuple(Shard(n, (Span(n, (0,), 0, ROWS),), ROWS, 10**6) for n in range(shards)),
        num_rows=ROWS * shards,
    )


class SimulatedRay:
    """`ray` as driver.py and pool.py use it: workers score one shard after another."""

    def __init__(self, shard_seconds: float) -> None:
        self.now = 0.0
        self.busy = 0.0
        self._shard_seconds = shard_seconds
        self._done: dict[int, Any] = {}
        self._coming: list[tuple[float, int, Any]] = []
        self._next = 0
        self._cpu = time.process_time()

    def pass_time(self) -> None:
        """The driver's processor time is time for the workers too."""
        cpu = time.process_time()
        self.now += cpu - self._cpu
        self._cpu = cpu
        while self._coming and self._coming[0][0] <= self.now:
            _, ref, answer = heapq.heappop(self._coming)
            self._done[ref] = answer

    def answer(self, value: Any, due: float = 0.0) -> int:
        self._next += 1
        if due <= self.now:
            self._done[self._next] = value
        else:
            heapq.heappush(self._coming, (due, self._next, value))
        return self._next

    def wait(
        self, refs: list[int], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[int], list[int]]:
        self.pass_time()
        ready = [ref for ref in refs if ref in self._done]
        if not ready and timeout and self._coming:
            self.now = min(self.now + timeout, max(self.now, self._coming[0][0]))
            self.pass_time()
            ready = [ref for ref in refs if ref in self._done]
        return ready[:num_returns], []

    def get(self, ref: int) -> Any:
        return self._done.pop(ref)

    def actor(self) -> Any:
        free_at = 0.0

        def score(task: ShardTask, poison: tuple[int, ...]) -> int:
            nonlocal free_at
            self.pass_time()
            free_at = max(free_at, self.now) + self._shard_seconds
            self.busy += self._shard_seconds
            return self.answer(Totals(num_rows=ROWS, statuses={"ok": ROWS}), free_at)

        def remote(function: Any) -> Any:
            return SimpleNamespace(remote=function)

        return SimpleNamespace(
            start=remote(lambda: self.answer(None)),
            progress=remote(lambda: self.answer({})),
            score=remote(score),
        )


class Silent:
    """Listens to a run, and says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def bench_driver(workers: int, shards: int, scratch: Path) -> dict[str, Any]:
    """The driver's processor time for a shard, and how busy it keeps the workers."""
    ray = SimulatedRay(SHARD_SECONDS)
    actors = SimpleNamespace(
        options=lambda **_: SimpleNamespace(remote=lambda settings: ray.actor())
    )
    config = ScoreConfig(corpus="/none", out=str(scratch / "run"), model="/none")
    silent: Any = Silent()
    with (
        mock.patch("jobs.run.driver.ray", ray),
        mock.patch("jobs.run.pool.ray", ray),
        mock.patch("jobs.run.pool.ScoringActor", actors),
    ):
        driver = Driver(
            config,
            wide_manifest(shards),
            RunStore(config.out),
            WorkerSize(workers, workers, 1, 0, None),
            silent,
            silent,
            silent,
        )
        driver.start()
        begun, started = ray.now, time.process_time()
        totals = driver.run(set(range(shards)))
        cpu = time.process_time() - started
    assert totals.num_rows == shards * ROWS
    return {
        "workers": workers,
        "shards": shards,
        "shard_seconds": SHARD_SECONDS,
        "driver_cpu_us_per_shard": round(1e6 * cpu / shards),
        "workers_busy": round(ray.busy / (ray.now - begun) / workers, 3),
    }


def bench_ray(refs: int) -> dict[str, Any]:
    """Ray's own cost to a driver, with `refs` calls pending: microseconds of its processor time."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
    try:

        @ray.remote(num_cpus=0)
        class Actor:
            async def never(self) -> None:
                import asyncio

                await asyncio.sleep(1e6)

            async def at_once(self) -> Totals:
                return Totals(num_rows=ROWS, statuses={"ok": ROWS})

        actor = Actor.options(max_concurrency=refs + 100).remote()
        ray.get(actor.at_once.remote())
        pending = [actor.never.remote() for _ in range(refs)]
        calls = 200
        start = time.process_time()
        quick = [actor.at_once.remote() for _ in range(calls)]
        submitted = time.process_time()
        ray.wait(quick, num_returns=calls)
        begun = time.process_time()
        for ref in quick:
            ray.get(ref)
        got = time.process_time()
        for _ in range(20):
            ray.wait([*pending, quick[0]], num_returns=refs + 1, timeout=0)
        waited = time.process_time()
        return {
            "pending": refs,
            "submit_us": round(1e6 * (submitted - start) / calls),
            "get_us": round(1e6 * (got - begun) / calls),
            "wait_us": round(1e6 * (waited - got) / 20),
        }
    finally:
        ray.shutdown()


def main(files: int = FILES, workers: int = WORKERS, shards: int = SHARDS) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for number, size in enumerate((files // 10, files)):
            folder = Path(scratch) / f"planning-{number}"
            folder.mkdir()
            print("planning", json.dumps(bench_planning(size, folder)), flush=True)
        print("parts", json.dumps(bench_parts(files, Path(scratch))), flush=True)
        for size in (files, 10 * files):
            print("manifest", json.dumps(bench_manifest(size)), flush=True)
        for crew, queue in ((workers, shards), (workers, 10 * shards), (5 * workers, 10 * shards)):
            folder = Path(scratch) / f"driver-{crew}-{queue}"
            print("driver", json.dumps(bench_driver(crew, queue, folder)), flush=True)
        for refs in (2 * workers, 10 * workers):
            print("ray", json.dumps(bench_ray(refs)), flush=True)


if __name__ == "__main__":
    main(*[int(argument) for argument in sys.argv[1:]])
