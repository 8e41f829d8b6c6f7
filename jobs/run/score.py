"""A run from its request to `_SUCCESS`: plan, lock, reuse, score what is left, finish.

Owns the order of these steps. Dispatching shards to workers is driver.py's, scoring one shard
pipeline/scoring/shard.py's, and the actor that does it worker.py's.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jobs.console.signals import resumable
from jobs.run.cluster import WorkerSize, connected, size_workers
from jobs.run.driver import Driver, Listener
from jobs.run.metrics import RunMetrics
from jobs.run.worker import MakeEngine, WorkerSettings
from pipeline.engine.backends import backend_of
from pipeline.engine.vllm.sizing import default_shard_tokens
from pipeline.errors import RunError
from pipeline.planning.identity import engine_settings
from pipeline.planning.plan import open_run
from pipeline.planning.reuse import take_over
from pipeline.runs.cleanup import removing_unfinished_parts
from pipeline.runs.lock import RunLock
from pipeline.runs.manifest import Manifest, Success, Totals, add_totals
from pipeline.runs.scores import is_complete, read_footer
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig
from pipeline.tracing import RunTrace

FOOTER_READERS = 16


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
        return 1 if self.failures or self.success is None else 0


@resumable()
def run_score(
    config: ScoreConfig, listener: Listener, make_engine: MakeEngine | None = None
) -> Outcome:
    """Carry out a request, or as much of it as an earlier driver left. Raises WinnowError.

    `make_engine` stands in for that of the model's kind of scorer.
    """
    trace = RunTrace(config.trace)
    try:
        return _run(config, _Phases(listener, trace), make_engine, trace)
    finally:
        trace.write()


class _Phases:
    """Passes on what happens to a listener, and its phases to a trace too."""

    def __init__(self, listener: Listener, trace: RunTrace) -> None:
        self._listener = listener
        self._trace = trace
        self.advance = listener.advance

    def phase(self, text: str) -> None:
        self._trace.phase(text)
        self._listener.phase(text)

    def begin(self, num_rows: int, num_done: int) -> None:
        self._trace.phase("Scoring")
        self._listener.begin(num_rows, num_done)


def _run(
    config: ScoreConfig, listener: Listener, make_engine: MakeEngine | None, trace: RunTrace
) -> Outcome:
    started = time.monotonic()
    listener.phase("Planning")
    store = RunStore(config.out)
    manifest, is_new = open_run(
        config, store, default_shard_tokens=default_shard_tokens(config.address)
    )
    success = store.success()
    if success is not None and is_complete(store, manifest):
        return Outcome(manifest, success, 0, store.failures())
    with RunLock(store.root) as lock:
        if success is not None:  # a part was lost or deleted since: the run is not whole any more
            store.clear_success()
        if is_new and store.manifest() is not None:
            raise RunError(f"{store.location} was started by another driver at the same moment")
        if is_new and manifest.reuse is not None and manifest.reuse.shards:
            _freeze(store, manifest)
            is_new = False
        num_reused = take_over(store, manifest)
        left = set(range(len(manifest.shards))) - store.done()
        scored, seconds, idle_share = Totals(), 0.0, None
        if is_new and not left:
            _freeze(store, manifest)
        if left:
            at = config.address
            listener.phase(f"Connecting to Ray at {at}" if at else "Starting Ray")
            with removing_unfinished_parts(store, lock), connected(at):
                backend = backend_of(manifest.rules)
                needed = backend.memory_bytes(manifest.model.folder, manifest.rules.dtype)
                size = size_workers(config, needed, _measured_engines(config, manifest))
                settings = _worker_settings(store.location, config, manifest, size, make_engine)
                metrics = RunMetrics(run=manifest.run_id, model=manifest.model.name)
                metrics.reused(num_reused)
                driver = Driver(
                    config, manifest, store, size, settings, listener, metrics, lock.check, trace
                )
                listener.phase(f"Loading the model into {size.in_words()}")
                driver.start()
                # Frozen only now: a model that cannot be used leaves nothing behind.
                if is_new:
                    _freeze(store, manifest)
                begun = time.monotonic()
                try:
                    scored = driver.run(left)
                finally:
                    driver.gather_trace()
                seconds = time.monotonic() - begun
                idle_share = driver.idle_share()
                trace.phase("Finishing")
        wall_seconds = time.monotonic() - started
        success = finish_run(store, manifest, scored, seconds, wall_seconds, idle_share)
        return Outcome(manifest, success, len(left), store.failures())


def _measured_engines(config: ScoreConfig, manifest: Manifest) -> int | None:
    if config.engines_per_gpu != "auto" or config.tensor_parallel_size > 1 or config.address:
        return None  # decided, or by machines that are not this one
    backend = backend_of(manifest.rules)
    return backend.preferred_engines_per_gpu(engine_settings(manifest))


def _worker_settings(
    run: str,
    config: ScoreConfig,
    manifest: Manifest,
    size: WorkerSize,
    make_engine: MakeEngine | None,
) -> WorkerSettings:
    backend = backend_of(manifest.rules)
    engine = engine_settings(
        manifest,
        num_threads=size.num_threads,
        max_num_batched_tokens=config.max_num_batched_tokens,
        tensor_parallel_size=config.tensor_parallel_size,
        engines_per_gpu=size.engines_per_gpu,
    )
    return WorkerSettings(
        run,
        manifest.without_plan(),
        engine,
        backend,
        make_engine or backend.engine,
        config.dedup,
        trace=config.trace is not None,
    )


def _freeze(store: RunStore, manifest: Manifest) -> None:
    store.write_manifest(manifest)
    for index, (path, reason) in enumerate(manifest.unreadable.items()):
        store.write_failure(f"file-{index:05d}", {"file": path, "reason": reason})


def finish_run(
    store: RunStore,
    manifest: Manifest,
    scored: Totals,
    seconds: float,
    wall_seconds: float,
    idle_share: float | None = None,
) -> Success | None:
    """Write `_SUCCESS` if every part is there."""
    if not store.done().issuperset(shard.id for shard in manifest.shards):
        return None
    with ThreadPoolExecutor(FOOTER_READERS) as readers:
        footers = list(readers.map(partial(read_footer, store, manifest), manifest.shards))
    totals = add_totals(footer.totals for footer in footers)
    if totals.num_rows != manifest.num_rows:
        raise RunError(
            f"{store.location} has {totals.num_rows} score rows for {manifest.num_rows} input rows",
            hint=f"a part was altered: winnow verify {store.location} names it; delete that file "
            "and run the same command again",
        )
    reused = [f.totals for f in footers if f.run_id != manifest.run_id]
    own = add_totals(f.totals for f in footers if f.run_id == manifest.run_id)
    success = Success(
        run_id=manifest.run_id,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        num_shards=len(manifest.shards),
        num_unreadable_files=len(manifest.unreadable),
        num_shards_reused=len(reused),
        num_rows_reused=sum(part.num_rows for part in reused),
        totals=totals,
        wall_seconds=round(wall_seconds, 3),
        tokens_per_second=round(scored.num_tokens_computed / seconds, 1) if seconds else None,
        engine_idle_share=None if idle_share is None else round(idle_share, 4),
        mfu=None if own.mfu is None else round(own.mfu, 4),
    )
    store.write_success(success)
    return success
