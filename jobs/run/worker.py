"""The scoring actor: one engine, and the shards dispatched to it.

Owns the process that an engine runs in. Dispatching shards is driver.py's.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import ray

from jobs.run.engine_errors import record_engine_error
from pipeline.engine.protocol import Engine, EngineSettings, ScorerBackend, Tokenizer, Usage
from pipeline.errors import EngineError, EngineMemoryError
from pipeline.runs.manifest import Manifest, Totals
from pipeline.runs.store import RunStore
from pipeline.schema import ShardTask
from pipeline.scoring.shard import probe_shard, score_shard
from pipeline.tracing import ENGINE, ShardTrace, Span, Tracer

log = logging.getLogger(__name__)

MakeEngine = Callable[[EngineSettings], Engine]
SHARDS_IN_FLIGHT = 2
"""Shards per worker: one is scored while the next is read and tokenized."""
ENGINE_DIED = 70


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What an actor is built from. Small: Ray keeps it for as long as it may restart the actor."""

    run: str
    manifest: Manifest
    """The manifest without the plan, which takes gigabytes for a large corpus; a worker needs only
    its own shards."""
    engine: EngineSettings
    backend: ScorerBackend
    make_engine: MakeEngine
    """Makes the engine; the backend's own except in tests."""
    dedup: bool = True
    trace: bool = False


class Progress(NamedTuple):
    """What an actor has done so far; any change in it shows that the actor is alive."""

    shards: dict[int, tuple[int, int]]
    """(documents, tokens) done of each shard in work."""
    busy_seconds: float | None
    spans: tuple[Span, ...] = ()
    """Spans since the last report; empty unless the run is traced."""
    num_spans_lost: int = 0


@ray.remote(
    max_restarts=-1,
    max_task_retries=0,
    concurrency_groups={"score": SHARDS_IN_FLIGHT, "control": 1},
)
class ScoringActor:
    """Scores shards with an engine of its own, two at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._store = RunStore(settings.run)
        self._starting = threading.Lock()
        self._engine: Engine | None = None
        self._tokenizer: Tokenizer | None = None
        self._progress: dict[int, tuple[int, int]] = {}
        self._tracer = Tracer() if settings.trace else None
        self._lanes = list(range(SHARDS_IN_FLIGHT))

    @ray.method(concurrency_group="score")
    def start(self) -> int | None:
        """Load the model; the tokens of a step, if the engine has steps.

        Raises ModelError if the model cannot be scored with.
        """
        engine, _ = self._ready()
        return getattr(engine, "step_tokens", None)

    @ray.method(concurrency_group="score")
    def score(self, task: ShardTask, poison: Mapping[int, str] = {}) -> Totals:
        """Score a shard of the frozen plan and commit its part.

        `poison` are the positions of documents that kill engines, and what the engines said.
        """
        engine, tokenizer = self._ready()
        shard = task.shard.id
        self._progress[shard] = (0, 0)
        lane = self._lanes.pop(0)
        trace = ShardTrace(self._tracer, lane)

        def advance(documents: int, tokens: int) -> None:
            done = self._progress[shard]
            self._progress[shard] = (done[0] + documents, done[1] + tokens)

        try:
            with self._dying_with_the_engine(shard):
                return trace.scoring(f"shard {shard}", score_shard)(
                    task,
                    self._settings.manifest,
                    engine=engine,
                    tokenizer=tokenizer,
                    store=self._store,
                    poison=poison,
                    reasons=poison,
                    dedup=self._settings.dedup,
                    on_progress=advance,
                    trace=trace,
                )
        finally:
            self._progress.pop(shard, None)
            self._lanes.append(lane)

    @ray.method(concurrency_group="score")
    def probe(self, task: ShardTask, first: int, end: int) -> None:
        """Score some documents of a shard to see whether the engine survives.

        Raises ModelError if it cannot score anything: no document is to blame then.
        """
        engine, tokenizer = self._ready()
        self._settings.backend.check(engine, self._settings.engine)
        with self._dying_with_the_engine(task.shard.id):
            probe_shard(
                task,
                self._settings.manifest,
                first,
                end,
                engine=engine,
                tokenizer=tokenizer,
                dedup=self._settings.dedup,
            )

    @ray.method(concurrency_group="control")
    def progress(self) -> Progress:
        """How far the shards in work are, and how much the engine has computed."""
        usage = self.usage()
        spans, num_lost = self._tracer.take() if self._tracer is not None else ([], 0)
        busy = usage.busy if usage is not None else None
        return Progress(dict(self._progress), busy, tuple(spans), num_lost)

    @ray.method(concurrency_group="control")
    def usage(self) -> Usage | None:
        """How busy the engine was, if it is one that knows."""
        usage = getattr(self._engine, "usage", None)
        return usage() if usage is not None else None

    def _ready(self) -> tuple[Engine, Tokenizer]:
        with self._starting:
            if self._engine is None or self._tokenizer is None:
                engine = self._settings.engine
                self._tokenizer = self._settings.backend.tokenizer(
                    engine.folder, trust_remote_code=engine.trust_remote_code
                )
                began = time.monotonic()
                self._engine = self._settings.make_engine(engine)
                if self._tracer is not None:
                    self._tracer.add("loading the model", ENGINE, began, time.monotonic())
                    if hasattr(self._engine, "trace"):
                        self._engine.trace(self._tracer)
            return self._engine, self._tokenizer

    @contextlib.contextmanager
    def _dying_with_the_engine(self, shard: int) -> Iterator[None]:
        """End the process if its engine fails.

        A dead engine in a live actor would fail every shard it is given. Ray starts a new actor,
        and the driver sees this one's death and reads what it died of. Out of memory is reported to
        the driver, which replaces the actor.
        """
        try:
            yield
        except EngineMemoryError:
            raise
        except EngineError as error:
            log.exception("the engine died on shard %d", shard)
            record_engine_error(self._settings.manifest.run_id, shard, str(error))
            os._exit(ENGINE_DIED)
