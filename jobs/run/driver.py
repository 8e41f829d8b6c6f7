"""Dispatches shards to workers until every one is scored or given up.

Owns the queue, retries, the search for documents that kill engines, and giving up. Starting
workers is pool.py's, scoring one shard pipeline/scoring/shard.py's.
"""

import contextlib
import errno
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from jobs.run.cluster import WorkerSize
from jobs.run.engine_errors import take_engine_error
from jobs.run.isolation import PoisonSearch
from jobs.run.metrics import RunMetrics
from jobs.run.pool import POLL_SECONDS, Work, Worker, WorkerPool, get, reason_of
from jobs.run.worker import SHARDS_IN_FLIGHT, WorkerSettings
from pipeline.errors import EngineMemoryError, RunError, UsageError, WinnowError
from pipeline.runs.manifest import Manifest, Totals, add_totals
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig
from pipeline.tracing import RunTrace

log = logging.getLogger(__name__)

DEATHS_BEFORE_SEARCH = 2
NODES_LOST = 20
"""Times that a shard may lose its machine before a loss counts as a failed attempt."""
LONGEST_DELAY = 60.0
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Listener(Protocol):
    """What is notified of a run's progress: a progress bar, a log."""

    def phase(self, text: str) -> None: ...

    def begin(self, num_rows: int, num_done: int) -> None: ...

    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None: ...


class Driver:
    """Dispatches shards, largest first, two in flight per worker; requeues what a worker loses."""

    def __init__(
        self,
        config: ScoreConfig,
        manifest: Manifest,
        store: RunStore,
        size: WorkerSize,
        settings: WorkerSettings,
        listener: Listener,
        metrics: RunMetrics,
        check: Callable[[], None] = lambda: None,
        trace: RunTrace | None = None,
    ) -> None:
        """`check` is called regularly, and raises what must end the run."""
        self._config = config
        self._manifest = manifest
        self._store = store
        self._listener = listener
        self._check = check
        self._trace = trace or RunTrace(None)
        self._pool = WorkerPool(size, settings, config.wait_minutes, self._trace)
        self._queue: deque[Work] = deque()
        self._delayed: list[tuple[float, Work]] = []
        self._attempts: Counter[int] = Counter()
        self._nodes_lost: Counter[int] = Counter()
        self._searches: dict[int, PoisonSearch] = {}
        self._found: dict[int, PoisonSearch] = {}  # searches that are over
        self._is_futile = False  # a search found that nothing survives: the next would too
        self._tasks: dict[Any, tuple[Worker, Work, float]] = {}
        self._done = Totals()
        self._num_shards = len(manifest.shards)
        self._num_done = self._num_given_up = 0
        self._metrics = metrics
        self._started = self._reported_at = time.monotonic()

    def start(self) -> None:
        """Load the engines. Raises ModelError and ClusterError, as `WorkerPool.start`."""
        self._pool.start()

    def run(self, shards: set[int]) -> Totals:
        """Score these shards; what cannot be scored is recorded in `failed/`."""
        self._num_done = self._num_shards - len(shards)
        by_size = sorted(shards, key=lambda s: (-self._manifest.shards[s].text_bytes, s))
        self._queue.extend(Work(shard) for shard in by_size)
        waiting = sum(self._manifest.shards[s].num_rows for s in shards)
        for watcher in (self._listener, self._metrics):
            watcher.begin(self._manifest.num_rows, self._manifest.num_rows - waiting)
        self._started = time.monotonic()
        while self._queue or self._delayed or self._tasks:
            self._check()
            self._requeue_delayed()
            self._dispatch()
            if self._tasks:
                ready, _ = ray.wait(list(self._tasks), timeout=POLL_SECONDS)
                # Everything else that is ready, so that many workers are handled in one turn.
                ready, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
                for task in ready:
                    self._handle_result(task)
            else:
                time.sleep(POLL_SECONDS)
            if time.monotonic() - self._reported_at >= POLL_SECONDS:
                self._pool.poll_workers()
                self._report()
        return self._done

    def idle_share(self) -> float | None:
        """See `WorkerPool.idle_share`."""
        return self._pool.idle_share()

    def gather_trace(self) -> None:
        """Add to the trace what workers have not reported yet, and what is still in flight."""
        self._pool.gather_spans()
        for worker, work, dispatched_at in self._tasks.values():
            self._trace.dispatched(f"{_name(work)}, unfinished", worker.number, dispatched_at)

    def _dispatch(self) -> None:
        for worker in self._pool.workers:
            while worker.is_up and self._queue and self._may_take(worker, self._queue[0]):
                work = self._queue.popleft()
                if not worker.in_flight:
                    worker.last_progress_at = time.monotonic()
                worker.in_flight.add(work)
                alone = self._manifest.task(work.shard)
                if work.rows is None:
                    poison = found.poison if (found := self._found.get(work.shard)) else {}
                    task = worker.actor.score.remote(alone, poison)
                else:
                    task = worker.actor.probe.remote(alone, *work.rows)
                self._tasks[task] = (worker, work, time.monotonic())

    def _may_take(self, worker: Worker, work: Work) -> bool:
        # A shard that an actor died with is tried alone: a shard in flight beside a poisonous
        # one dies with it, and would use up its attempts too.
        suspects = any(self._attempts[w.shard] for w in (work, *worker.in_flight))
        return len(worker.in_flight) < (1 if suspects else SHARDS_IN_FLIGHT)

    def _handle_result(self, task: Any) -> None:
        worker, work, dispatched_at = self._tasks.pop(task)
        worker.in_flight.discard(work)
        self._trace.dispatched(_name(work), worker.number, dispatched_at)
        try:
            totals = get(task)
        except UsageError:
            raise
        except EngineMemoryError as error:
            if self._pool.shrink(worker):
                self._queue.appendleft(work)
            else:
                self._failed(work, error)
            return
        except (WinnowError, RayError) as error:
            if isinstance(error, RayActorError):
                if worker.is_up:
                    self._metrics.restart(worker.number)
                self._pool.restart(worker)
                totals = self._committed(work)
                if totals is not None:
                    self._finished(work, totals, worker)
                    return
            self._failed(work, error)
            return
        if work.rows is not None:
            if work.shard in self._searches:  # else given up meanwhile
                self._searches[work.shard].survived(work.rows)
                self._go_on_searching(work.shard)
            return
        self._finished(work, totals, worker)

    def _finished(self, work: Work, totals: Totals, worker: Worker) -> None:
        self._num_done += 1
        self._store.clear_failure(f"{work.shard:05d}")
        name = f"documents-{work.shard:05d}"
        self._store.clear_failure(name)
        if (found := self._found.get(work.shard)) and found.poison:
            self._store.write_failure(name, found.record(self._manifest, work.shard))
        self._done = add_totals([self._done, totals])
        self._metrics.shard_done(totals, worker.number)

    def _committed(self, work: Work) -> Totals | None:
        """Handle a shard whose worker committed it and died before it could report."""
        if work.rows is None and self._store.root.exists(self._store.part_name(work.shard)):
            with contextlib.suppress(RunError):  # no whole part: scored again, and so replaced
                return self._store.footer(work.shard).totals
        return None

    def _failed(self, work: Work, error: Exception) -> None:
        shard, died = work.shard, isinstance(error, RayActorError)
        said = take_engine_error(self._manifest.run_id, shard) if died else ""
        reason = said or reason_of(error)
        if died and _lost_its_node(error) and self._nodes_lost[shard] < NODES_LOST:
            self._nodes_lost[shard] += 1
            log.warning("shard %d is scored again, as its machine was lost: %s", shard, reason)
            self._queue.append(work)
            return
        if work.rows is not None:
            if shard not in self._searches:
                return  # given up meanwhile
            if died:
                log.warning("shard %d, documents %d to %d failed: %s", shard, *work.rows, reason)
                self._searches[shard].died(work.rows, said)
                self._go_on_searching(shard)
            else:
                self._give_up(shard, reason)
            return
        self._attempts[shard] += 1
        attempts = self._attempts[shard]
        log.warning("shard %d, attempt %d failed: %s", shard, attempts, reason)
        self._metrics.shard_failed(error, retried=attempts < self._config.max_attempts)
        if attempts >= self._config.max_attempts:
            if isinstance(error, RayTaskError) and _is_full(error.cause):
                raise error.cause  # the next shards would fail for it too, after being scored
            self._give_up(shard, reason)
        elif died and attempts == DEATHS_BEFORE_SEARCH and not self._is_futile:
            self._searches[shard] = PoisonSearch(self._manifest.shards[shard].num_rows)
            self._go_on_searching(shard)
        elif died:
            self._queue.append(work)
        else:
            # A store that is overloaded or down needs time, and retries at different moments.
            delay = min(LONGEST_DELAY, 2.0**attempts) * random.uniform(0.5, 1)
            self._delayed.append((time.monotonic() + delay, work))

    def _go_on_searching(self, shard: int) -> None:
        search = self._searches[shard]
        if search.is_hopeless:
            self._is_futile = True
            self._give_up(shard, search.verdict())
        elif search.is_over:
            self._forget(shard)
            self._found[shard] = search
            log.warning("shard %d: %s", shard, search.verdict())
            self._queue.append(Work(shard))
        else:
            self._queue.extend(Work(shard, rows) for rows in search.take())

    def _give_up(self, shard: int, reason: str) -> None:
        self._forget(shard)
        self._num_given_up += 1
        planned = self._manifest.shards[shard]
        record = {
            "shard": shard,
            "reason": reason,
            "attempts": self._attempts[shard],
            "files": [self._manifest.files[span.file].path for span in planned.spans],
            "num_rows": planned.num_rows,
        }
        self._store.write_failure(f"{shard:05d}", record)

    def _forget(self, shard: int) -> None:
        """End the search in a shard, and drop what is not dispatched of it."""
        self._searches.pop(shard, None)
        self._queue = deque(work for work in self._queue if work.shard != shard)

    def _requeue_delayed(self) -> None:
        now = time.monotonic()
        self._queue.extend(work for due, work in self._delayed if due <= now)
        self._delayed = [entry for entry in self._delayed if entry[0] > now]

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        partial = [
            done
            for worker in self._pool.workers
            for shard, done in worker.progress.shards.items()
            if Work(shard) in worker.in_flight
        ]
        rows = self._done.num_rows + sum(rows for rows, _ in partial)
        tokens = self._done.num_tokens_computed + sum(tokens for _, tokens in partial)
        for watcher in (self._listener, self._metrics):
            watcher.advance(rows, tokens, self._reported_at - self._started)
        # Counted, not collected: collecting millions of waiting shards would take seconds.
        running = len({work.shard for _, work, _ in self._tasks.values()})
        waiting = self._num_shards - self._num_done - self._num_given_up - running
        self._metrics.states(
            waiting=waiting, running=running, done=self._num_done, failed=self._num_given_up
        )


def _name(work: Work) -> str:
    return f"shard {work.shard}" if work.rows is None else f"search in shard {work.shard}"


def _is_full(cause: Exception) -> bool:
    return isinstance(cause, OSError) and cause.errno in NO_ROOM


def _lost_its_node(error: Exception) -> bool:
    # Ray has no field for it but for preemption; these are the words of its control service.
    return any(words in str(error) for words in ("its node has died", "node was terminated"))
