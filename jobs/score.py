"""The driver: deal the shards of a run to scoring actors until every part is there.

Owns the queue, retries, giving up, and finishing a run. What happens to one shard is
pipeline/scorer.py's, and the actor that does it worker.py's.
"""

import logging
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayTaskError

from jobs.cluster import WorkerSize, connected, has_gpu, size_workers
from jobs.worker import SHARDS_IN_FLIGHT, MakeEngine, ScoringActor, WorkerSettings
from pipeline.config import ScoreConfig
from pipeline.engine import VllmEngine
from pipeline.errors import RunError, UsageError, WinnowError
from pipeline.identity import engine_settings
from pipeline.lock import RunLock
from pipeline.manifest import Manifest, Success, Totals, add_totals, differences
from pipeline.planning import open_run
from pipeline.store import RunStore

log = logging.getLogger(__name__)

CPU_SHARD_TOKENS = 200_000
GPU_SHARD_TOKENS = 20_000_000
POLL_SECONDS = 0.5
FOOTER_READERS = 16


class Listener(Protocol):
    """Whoever watches a run: a progress bar, a log."""

    def phase(self, text: str) -> None: ...

    def begin(self, num_rows: int, num_done: int) -> None: ...

    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    manifest: Manifest
    success: Success | None
    """None if shards were given up."""
    num_shards_scored: int
    failures: list[dict[str, Any]]

    @property
    def exit_code(self) -> int:
        return 1 if self.failures else 0


def default_shard_tokens(config: ScoreConfig) -> int:
    """Minutes of work: a cluster and a machine with a GPU are a hundred times faster."""
    return GPU_SHARD_TOKENS if config.address or has_gpu() else CPU_SHARD_TOKENS


def run_score(
    config: ScoreConfig, listener: Listener, make_engine: MakeEngine = VllmEngine
) -> Outcome:
    """Carry out a request, or as much of it as an earlier driver left. Raises WinnowError."""
    started = time.monotonic()
    listener.phase("Planning")
    store = RunStore(config.out)
    manifest, is_new = open_run(config, store, default_shard_tokens=default_shard_tokens(config))
    success = store.success()
    if success is not None:
        return Outcome(manifest, success, 0, store.failures())
    with RunLock(store.root):
        if is_new and store.manifest() is not None:
            raise RunError(f"{store.location} was begun by another driver at the same moment")
        left = set(range(len(manifest.shards))) - store.done()
        scored, seconds = Totals(), 0.0
        if is_new and not left:
            _freeze(store, manifest)
        if left:
            listener.phase("Starting Ray")
            with connected(config.address):
                size = size_workers(config.workers)
                driver = Driver(config, manifest, store, size, listener, make_engine)
                listener.phase(f"Loading the model into {driver.num_workers} engine(s)")
                driver.start()
                # Frozen only now: a model that cannot be scored with leaves nothing behind.
                if is_new:
                    _freeze(store, manifest)
                begun = time.monotonic()
                scored = driver.run(left)
                seconds = time.monotonic() - begun
        success = finish_run(store, manifest, scored, seconds, time.monotonic() - started)
        return Outcome(manifest, success, len(left), store.failures())


def _freeze(store: RunStore, manifest: Manifest) -> None:
    store.write_manifest(manifest)
    for index, (path, reason) in enumerate(manifest.unreadable.items()):
        store.write_failure(f"file-{index:05d}", {"file": path, "reason": reason})


def finish_run(
    store: RunStore, manifest: Manifest, scored: Totals, seconds: float, wall_seconds: float
) -> Success | None:
    """Write `_SUCCESS` if every part is there."""
    planned = [shard.id for shard in manifest.shards]
    if not store.done().issuperset(planned):
        return None
    with ThreadPoolExecutor(FOOTER_READERS) as readers:
        footers = list(readers.map(store.footer, planned))
    for shard, footer in zip(planned, footers, strict=True):
        if changes := differences(manifest.fingerprint, footer.fingerprint):
            raise RunError(
                f"{store.location}/{store.part_name(shard)} is of another run: {changes[0]}",
                hint="delete it and score again; only that shard is scored anew",
            )
    totals = add_totals(footer.totals for footer in footers)
    if totals.num_rows != manifest.num_rows:
        raise RunError(
            f"{store.location} has {totals.num_rows} score rows for {manifest.num_rows} input rows",
            hint="a part was altered; delete it and score again",
        )
    success = Success(
        run_id=manifest.run_id,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        num_shards=len(planned),
        num_unreadable_files=len(manifest.unreadable),
        totals=totals,
        wall_seconds=round(wall_seconds, 3),
        tokens_per_second=round(scored.num_tokens / seconds, 1) if seconds else None,
    )
    store.write_success(success)
    return success


@dataclass(slots=True)
class Worker:
    """An actor as the driver sees it."""

    actor: Any
    in_flight: set[int] = field(default_factory=set)
    is_up: bool = True
    """False from its death until it answers again: a shard sent meanwhile would fail unscored."""
    asked: Any = None
    """The question about progress that is not answered yet."""
    progress: dict[int, tuple[int, int]] = field(default_factory=dict)


class Driver:
    """Hands shards to actors, largest first, two in flight each; takes back what an actor loses."""

    def __init__(
        self,
        config: ScoreConfig,
        manifest: Manifest,
        store: RunStore,
        size: WorkerSize,
        listener: Listener,
        make_engine: MakeEngine,
    ) -> None:
        self._config = config
        self._manifest = manifest
        self._store = store
        self._listener = listener
        settings = WorkerSettings(
            run=store.location,
            engine=engine_settings(
                manifest,
                num_threads=size.num_threads,
                max_num_batched_tokens=config.max_num_batched_tokens,
                tensor_parallel_size=config.tensor_parallel_size,
            ),
            make_engine=make_engine,
        )
        actor_class: Any = ScoringActor  # Ray's decorator hides its own methods from type checkers
        actor = actor_class.options(num_cpus=size.num_cpus, num_gpus=size.num_gpus)
        self._workers = [Worker(actor.remote(settings)) for _ in range(size.num_workers)]
        self._queue: deque[int] = deque()
        self._attempts: Counter[int] = Counter()
        self._tasks: dict[Any, tuple[Worker, int]] = {}
        self._done = Totals()
        self._started = time.monotonic()

    @property
    def num_workers(self) -> int:
        return len(self._workers)

    def start(self) -> None:
        """Load every engine. Raises ModelError if the model cannot be scored with."""
        self._get([worker.actor.start.remote() for worker in self._workers])

    def run(self, shards: set[int]) -> Totals:
        """Score these shards; what cannot be scored is recorded in `failed/`."""
        by_size = sorted(shards, key=lambda s: (-self._manifest.shards[s].text_bytes, s))
        self._queue.extend(by_size)
        waiting = sum(self._manifest.shards[s].num_rows for s in shards)
        self._listener.begin(self._manifest.num_rows, self._manifest.num_rows - waiting)
        self._started = time.monotonic()
        while self._queue or self._tasks:
            self._deal()
            if self._tasks:
                ready, _ = ray.wait(list(self._tasks), timeout=POLL_SECONDS)
                for task in ready:
                    self._settle(task)
            else:
                time.sleep(POLL_SECONDS)
            self._report()
        return self._done

    def _deal(self) -> None:
        for worker in self._workers:
            while worker.is_up and self._queue and self._may_take(worker, self._queue[0]):
                shard = self._queue.popleft()
                worker.in_flight.add(shard)
                self._tasks[worker.actor.score.remote(shard)] = (worker, shard)

    def _may_take(self, worker: Worker, shard: int) -> bool:
        # A shard that an actor died with is tried alone: whatever is in flight beside a poisonous
        # one dies with it, and would use up its attempts too.
        suspects = any(self._attempts[s] for s in (shard, *worker.in_flight))
        return len(worker.in_flight) < (1 if suspects else SHARDS_IN_FLIGHT)

    def _settle(self, task: Any) -> None:
        worker, shard = self._tasks.pop(task)
        worker.in_flight.discard(shard)
        try:
            totals = self._get(task)
        except UsageError:
            raise
        except (WinnowError, RayActorError, RayTaskError) as error:
            if isinstance(error, RayActorError):
                worker.is_up, worker.asked = False, None
            self._retry_or_give_up(shard, error)
            return
        self._store.clear_failure(f"{shard:05d}")
        self._done = add_totals([self._done, totals])

    def _get(self, task: Any) -> Any:
        """ray.get, with our own exceptions as they were raised."""
        try:
            return ray.get(task)
        except RayTaskError as error:
            if isinstance(error.cause, WinnowError):
                raise error.cause from None
            raise

    def _retry_or_give_up(self, shard: int, error: Exception) -> None:
        self._attempts[shard] += 1
        attempts = self._attempts[shard]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if isinstance(error, RayTaskError) else lines[0]
        log.warning("shard %d, attempt %d: %s", shard, attempts, reason)
        if attempts < self._config.max_attempts:
            self._queue.append(shard)
            return
        spans = self._manifest.shards[shard].spans
        record = {
            "shard": shard,
            "reason": reason,
            "attempts": attempts,
            "files": [self._manifest.files[span.file].path for span in spans],
            "num_rows": self._manifest.shards[shard].num_rows,
        }
        self._store.write_failure(f"{shard:05d}", record)

    def _report(self) -> None:
        for worker in self._workers:
            if worker.asked is None:
                worker.asked = worker.actor.progress.remote()
            if ray.wait([worker.asked], timeout=0)[0]:
                try:
                    worker.progress = ray.get(worker.asked)
                    worker.is_up = True
                except RayActorError:
                    worker.progress = {}
                worker.asked = None
        partial = [
            done
            for worker in self._workers
            for shard, done in worker.progress.items()
            if shard in worker.in_flight
        ]
        self._listener.advance(
            self._done.num_rows + sum(rows for rows, _ in partial),
            self._done.num_tokens + sum(tokens for _, tokens in partial),
            time.monotonic() - self._started,
        )
