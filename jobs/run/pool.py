"""The workers of a run: starting, waiting for and replacing them.

Owns which of them are up, and every wait for one: each has a limit. Their work is driver.py's.
"""

import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from jobs.run.cluster import WorkerSize
from jobs.run.isolation import Rows
from jobs.run.worker import Progress, ScoringActor, WorkerSettings
from pipeline.engine.protocol import Usage
from pipeline.engine.vllm.sizing import SMALLEST_STEP
from pipeline.errors import ClusterError, WinnowError, counted, first_line
from pipeline.rendering.formats import duration
from pipeline.tracing import RunTrace

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
USAGE_SECONDS = 5.0
NO_PROGRESS = Progress({}, None)
IN_ITS_CREATION = "raised in its creation task"
"""Ray's words, before the traceback, for an actor that could not be created."""
DEATHS_AT_START = 3
"""Engines that may die while loading, before any is up, until the run gives up."""


class Work(NamedTuple):
    """A shard to score, or rows of it to probe."""

    shard: int
    rows: Rows | None = None


@dataclass(slots=True)
class Worker:
    """An actor as the driver sees it."""

    number: int
    actor: Any
    settings: WorkerSettings
    in_flight: set[Work] = field(default_factory=set)
    starting: Any = None
    """The pending answer to `start`; the actor is up once it has arrived."""
    asked: Any = None
    """The progress request that is not answered yet."""
    progress: Progress = field(default_factory=lambda: NO_PROGRESS)
    last_progress_at: float = field(default_factory=time.monotonic)
    """When the worker last made progress or was given work."""
    step_tokens: int | None = None

    @property
    def is_up(self) -> bool:
        return self.starting is None


class WorkerPool:
    """Every actor of a run."""

    def __init__(
        self, size: WorkerSize, settings: WorkerSettings, wait_minutes: float, trace: RunTrace
    ) -> None:
        self._trace = trace
        self._size = size
        self._wait_minutes = wait_minutes
        self.workers = [self._start_actor(n, settings) for n in range(size.most)]
        self._up_at = time.monotonic()

    def _start_actor(self, number: int, settings: WorkerSettings) -> Worker:
        actor_class: Any = ScoringActor  # Ray's decorator hides its own methods from type checkers
        actor = actor_class.options(num_cpus=self._size.num_cpus, num_gpus=self._size.num_gpus)
        worker = Worker(number, actor.remote(settings), settings)
        worker.starting = worker.actor.start.remote()
        return worker

    def start(self) -> None:
        """Load the smallest number of engines that was asked for. The others join as machines do.

        Raises ModelError if the model cannot be scored with, ClusterError if no engine comes up.
        """
        deaths = 0
        while sum(worker.is_up for worker in self.workers) < self._size.fewest:
            waiting = [worker.starting for worker in self.workers if not worker.is_up]
            ray.wait(waiting, timeout=POLL_SECONDS)
            for worker in self.workers:
                try:
                    self._check_started(worker)
                except RayActorError as error:
                    deaths += 1
                    if deaths >= DEATHS_AT_START:
                        raise ClusterError(
                            f"the engine dies while it loads the model: {reason_of(error)}",
                            hint="check that each machine has enough memory for the model",
                        ) from error
            self._check_deadline(fewest=self._size.fewest)

    def restart(self, worker: Worker) -> None:
        """Ray brings a dead actor back; it is up again when it answers."""
        if worker.is_up:
            worker.starting = worker.actor.start.remote()
        worker.asked, worker.progress = None, NO_PROGRESS
        worker.last_progress_at = time.monotonic()

    def shrink(self, worker: Worker) -> bool:
        """Replace an actor whose engine ran out of memory by one that takes smaller steps.

        False if steps cannot be smaller: then it is restarted unchanged.
        """
        if not worker.is_up:
            return True  # already replaced: the other shard in flight was in the same step
        half = (worker.step_tokens or 0) // 2
        smaller = half >= SMALLEST_STEP
        if smaller:
            log.warning(
                "out of memory with steps of %d tokens: trying steps of %d tokens", 2 * half, half
            )
            engine = replace(worker.settings.engine, max_num_batched_tokens=half)
            worker.settings = replace(worker.settings, engine=engine)
        ray.kill(worker.actor)
        fresh = self._start_actor(worker.number, worker.settings)
        # What else was in flight there fails with the actor, and is handled when it does.
        worker.actor, worker.starting, worker.asked = fresh.actor, fresh.starting, None
        return smaller

    def poll_workers(self) -> None:
        """Ask each worker for its progress. Raises ClusterError if none is up for too long."""
        for worker in self.workers:
            try:
                self._check_started(worker)
                self._ask_for_progress(worker)
                self._end_if_stuck(worker)
            except RayActorError as error:
                log.info("an engine died and is started again: %s", reason_of(error))
                self.restart(worker)
        self._check_deadline(fewest=1)

    def idle_share(self) -> float | None:
        """The share of their time that the engines spent waiting; None if none reports it."""
        asked = [worker.actor.usage.remote() for worker in self.workers if worker.is_up]
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=USAGE_SECONDS)
        usages: list[Usage] = []
        for task in answered:
            with contextlib.suppress(RayError):
                usage = ray.get(task)
                if usage is not None:
                    usages.append(usage)
        seconds = sum(usage.seconds for usage in usages)
        return 1 - sum(usage.busy for usage in usages) / seconds if seconds else None

    def gather_spans(self) -> None:
        """What the workers have done since they were last asked, for the trace of the run."""
        if not self._trace.is_on or not any(worker.is_up for worker in self.workers):
            return
        up = [worker for worker in self.workers if worker.is_up]
        asked = {worker.asked: worker for worker in up if worker.asked is not None}
        asked |= {worker.actor.progress.remote(): worker for worker in up}
        for task in ray.wait(list(asked), num_returns=len(asked), timeout=USAGE_SECONDS)[0]:
            with contextlib.suppress(RayError):
                asked[task].progress, asked[task].asked = ray.get(task), None
                self._gather(asked[task])

    def _gather(self, worker: Worker) -> None:
        told = worker.progress
        self._trace.gather(told.spans, told.num_spans_lost, worker=worker.number)

    def _ask_for_progress(self, worker: Worker) -> None:
        if worker.is_up and worker.asked is None:
            worker.asked = worker.actor.progress.remote()
        if worker.asked is not None and ray.wait([worker.asked], timeout=0)[0]:
            before, worker.progress = worker.progress, ray.get(worker.asked)
            worker.asked = None
            self._gather(worker)
            if worker.progress != before or not worker.in_flight:
                worker.last_progress_at = time.monotonic()

    def _end_if_stuck(self, worker: Worker) -> None:
        """Kill workers that hang without dying; Ray starts a replacement."""
        stuck = time.monotonic() - worker.last_progress_at
        if worker.is_up and worker.in_flight and stuck > 60 * self._wait_minutes:
            log.warning("an engine made no progress for %.0f minutes: starting another", stuck / 60)
            ray.kill(worker.actor, no_restart=False)
            worker.last_progress_at = time.monotonic()

    def _check_started(self, worker: Worker) -> None:
        """Take the answer to `start`, if it has arrived; call again if the actor died meanwhile."""
        if worker.is_up or not ray.wait([worker.starting], timeout=0)[0]:
            return
        try:
            worker.step_tokens = get(worker.starting)
        except RayActorError:
            worker.starting = worker.actor.start.remote()
            raise
        worker.starting = None

    def _check_deadline(self, *, fewest: int) -> None:
        now = time.monotonic()
        if sum(worker.is_up for worker in self.workers) >= fewest:
            self._up_at = now
        elif now - self._up_at > 60 * self._wait_minutes:
            engines = counted(fewest, "engine")
            needs = f"{self._size.num_cpus:g} CPUs and {self._size.num_gpus:g} GPUs"
            raise ClusterError(
                f"waited {duration(60 * self._wait_minutes)} for {engines} to start, each with "
                f"{needs}",
                hint="free or add machines and run again (nothing is lost), or increase "
                "--wait-minutes",
            )


def get(task: Any) -> Any:
    """ray.get, with our own exceptions as they were raised."""
    try:
        return ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, WinnowError):
            raise error.cause from None
        raise


def reason_of(error: Exception) -> str:
    """What happened, in a line. Ray puts the worker's traceback before what it raised."""
    if isinstance(error, RayTaskError) or IN_ITS_CREATION in str(error):
        return str(error).strip().splitlines()[-1].strip()
    return first_line(error)
