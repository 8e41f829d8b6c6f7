"""The metrics that a run reports to Prometheus, through the Ray cluster that it runs on.

Owns names, labels and units of the metrics. Ray collects them from the driver, puts `ray_` before
each name, and serves them on every node (`--metrics-export-port`, 8080 under KubeRay); what is
asked of them is infra/prometheus/rules.yaml and infra/grafana/dashboard.json.

A metric that cannot be reported never stops a run: the first failure is logged, and the run
continues.

What a query has to know: a counter that was never counted up has no series (Ray refuses to add 0).
Some twenty seconds after a driver has left, its gauges are gone; its counters are served for as
long as the node is there. So a gauge distinguishes a run in progress from one that is over.
"""

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, ParamSpec

from pipeline.runs.manifest import Totals

log = logging.getLogger(__name__)

P = ParamSpec("P")

SHARD_STATES = ("waiting", "running", "done", "failed")

SHARD_SECONDS = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 7200.0)
"""Upper bounds of the histogram's buckets; a shard is planned as minutes of work."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric, as it is registered with Ray."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()
    """Labels in addition to RUN_LABELS, which every metric has."""

    @property
    def scraped_names(self) -> frozenset[str]:
        """The names that Prometheus sees."""
        name = f"ray_{self.name}"
        if self.kind == "histogram":
            return frozenset(f"{name}_{part}" for part in ("bucket", "count", "sum"))
        return frozenset([name])


RUN_LABELS = ("run", "model")
"""The run id of the manifest, and the model as the user named it."""

METRICS = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "winnow_documents_total",
            "counter",
            "Score rows committed, by status.",
            ("worker", "status"),
        ),
        MetricSpec("winnow_tokens_total", "counter", "Tokens scored and committed.", ("worker",)),
        MetricSpec(
            "winnow_bytes_total", "counter", "UTF-8 bytes of the texts committed.", ("worker",)
        ),
        MetricSpec(
            "winnow_shard_seconds", "histogram", "Time a worker spent on a shard.", ("worker",)
        ),
        MetricSpec(
            "winnow_shard_failures_total",
            "counter",
            "Attempts at a shard that failed, by the kind of error.",
            ("reason",),
        ),
        MetricSpec("winnow_shard_retries_total", "counter", "Shards queued again after a failure."),
        MetricSpec("winnow_shards_reused_total", "counter", "Shards reused from an earlier run."),
        MetricSpec(
            "winnow_engine_restarts_total",
            "counter",
            "Workers that died and were started again.",
            ("worker",),
        ),
        MetricSpec("winnow_shards", "gauge", "Shards of the plan, by state.", ("state",)),
        MetricSpec("winnow_run_documents", "gauge", "Documents of the plan."),
        MetricSpec(
            "winnow_run_documents_done", "gauge", "Documents scored, those of open shards included."
        ),
        MetricSpec("winnow_run_tokens_per_second", "gauge", "Mean rate since scoring began."),
        MetricSpec(
            "winnow_worker_tokens_per_second",
            "gauge",
            "Rate between a worker's last two commits.",
            ("worker",),
        ),
    )
}
"""Every metric of a run, by name."""


def _swallowed(
    method: Callable[Concatenate["RunMetrics", P], None],
) -> Callable[Concatenate["RunMetrics", P], None]:
    """Let no exception out; log the first of a run."""

    @functools.wraps(method)
    def report(self: "RunMetrics", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self._log_first(error)

    return report


class RunMetrics:
    """The metrics of one run; made by its driver, once Ray is there.

    No method raises. `begin` and `advance` are those of a listener, and cheap enough to be called
    at every turn of the driver's loop (some microseconds).
    """

    def __init__(
        self, *, run: str, model: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._labels = {"run": run, "model": model}
        self._clock = clock
        self._has_failed = False
        self._registered: dict[str, Any] = {}
        self._committed: dict[int, float] = {}
        self._begun = clock()
        try:
            self._registered = {name: _register(spec) for name, spec in METRICS.items()}
        except Exception as error:
            self._log_first(error)

    @_swallowed
    def begin(self, num_rows: int, num_done: int) -> None:
        """Scoring begins, with `num_done` of the documents already there."""
        self._begun = self._clock()
        self._already = num_done
        self._set("winnow_run_documents", num_rows)
        self._set("winnow_run_documents_done", num_done)

    @_swallowed
    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None:
        """This driver has scored this many documents and tokens in this many seconds."""
        self._set("winnow_run_documents_done", self._already + num_rows)
        if seconds > 0:
            self._set("winnow_run_tokens_per_second", num_tokens / seconds)

    @_swallowed
    def states(self, *, waiting: int, running: int, done: int, failed: int) -> None:
        """How many shards of the plan are in each state; `done` counts those of earlier drivers."""
        for state, count in zip(SHARD_STATES, (waiting, running, done, failed), strict=True):
            self._set("winnow_shards", count, state=state)

    @_swallowed
    def shard_done(self, totals: Totals, worker: int) -> None:
        """A worker, numbered from 0, has committed a shard."""
        now = self._clock()
        seconds = now - self._committed.get(worker, self._begun)
        self._committed[worker] = now
        label = str(worker)
        for status, count in totals.statuses.items():
            self._add("winnow_documents_total", count, worker=label, status=status)
        self._add("winnow_tokens_total", totals.num_tokens, worker=label)
        self._add("winnow_bytes_total", totals.num_bytes, worker=label)
        self._metric("winnow_shard_seconds").observe(
            totals.seconds, tags=self._labels | {"worker": label}
        )
        if seconds > 0:
            rate = totals.num_tokens / seconds
            self._set("winnow_worker_tokens_per_second", rate, worker=label)

    @_swallowed
    def shard_failed(self, error: BaseException, *, retried: bool) -> None:
        """An attempt at a shard failed, and the shard was queued again or given up."""
        # The class, not the message: a label with a path in it would be a new series every time.
        self._add("winnow_shard_failures_total", 1, reason=type(error).__name__)
        if retried:
            self._add("winnow_shard_retries_total", 1)

    @_swallowed
    def restart(self, worker: int) -> None:
        """A worker died; Ray starts it again."""
        self._add("winnow_engine_restarts_total", 1, worker=str(worker))

    @_swallowed
    def reused(self, num_shards: int) -> None:
        """Shards were reused from an earlier run instead of scored."""
        self._add("winnow_shards_reused_total", num_shards)

    def _metric(self, name: str) -> Any:
        return self._registered[name]

    def _set(self, name: str, value: float, **labels: str) -> None:
        self._metric(name).set(value, tags=self._labels | labels)

    def _add(self, name: str, value: float, **labels: str) -> None:
        if value > 0:  # Ray's counters refuse 0
            self._metric(name).inc(value, tags=self._labels | labels)

    def _log_first(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.warning("metrics of this run are not all reported: %s", error)


def _register(spec: MetricSpec) -> Any:
    from ray.util import metrics

    labels = (*RUN_LABELS, *spec.labels)
    if spec.kind == "histogram":
        return metrics.Histogram(spec.name, spec.description, list(SHARD_SECONDS), labels)
    kind = metrics.Counter if spec.kind == "counter" else metrics.Gauge
    return kind(spec.name, spec.description, labels)
