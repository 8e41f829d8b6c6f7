"""The metrics of a run: what is reported when, against Ray's own classes, without a cluster."""

import logging
import re
from collections import Counter

import pytest
from ray.util import metrics as ray_metrics

from jobs.run import metrics
from jobs.run.metrics import METRICS, RUN_LABELS, RunMetrics
from pipeline.runs.manifest import Totals

RUN = {"run": "r1", "model": "m"}


class Clock:
    """Time, told by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, frozenset], float]:
    """What Ray was told, by name and labels: the sum of a counter, the last value of a gauge.

    Ray's own checks of names, labels and values stay in force.
    """
    values: dict[tuple[str, frozenset], float] = {}

    def record(self, value, tags=None):
        final = self._get_final_tags(tags)
        self._validate_tags(final)
        key = self._name, frozenset(final.items())
        before = values.get(key, 0.0) if isinstance(self, ray_metrics.Counter) else 0.0
        values[key] = before + value

    monkeypatch.setattr(ray_metrics.Metric, "_record", record)
    return values


def value(recorded: dict[tuple[str, frozenset], float], name: str, **labels: str) -> float | None:
    return recorded.get((name, frozenset((RUN | labels).items())))


def totals(**statuses: int) -> Totals:
    rows = sum(statuses.values())
    return Totals(
        num_rows=rows,
        num_tokens=100 * rows,
        num_bytes=450 * rows,
        statuses=statuses,
        seconds=4.0,
        flops=rows * 1e12,
        peak_flops=8e12,
    )


def test_shards_are_counted_by_worker_and_status(recorded):
    run = RunMetrics(run="r1", model="m")
    shards = [
        (0, totals(ok=3, error=1)),
        (1, totals(ok=5, empty=2)),
        (0, totals(ok=1, truncated=1)),
        (0, totals()),
    ]
    for worker, done in shards:
        run.shard_done(done, worker)

    expected: Counter[tuple[int, str]] = Counter()
    for worker, done in shards:
        for status, count in done.statuses.items():
            expected[worker, status] += count
    for (worker, status), count in expected.items():
        labels = {"worker": str(worker), "status": status}
        assert value(recorded, "winnow_documents_total", **labels) == count
    documents = [number for (name, _), number in recorded.items() if "documents" in name]
    assert sum(documents) == 13
    assert value(recorded, "winnow_tokens_total", worker="0") == 600
    assert value(recorded, "winnow_bytes_total", worker="1") == 3150
    assert value(recorded, "winnow_shard_seconds", worker="1") == 4.0


def test_rate_of_a_worker_is_of_its_last_shard(recorded):
    clock = Clock()
    run = RunMetrics(run="r1", model="m", clock=clock)
    clock.now = 200.0
    run.begin(30, 0)
    clock.now = 210.0
    run.shard_done(totals(ok=10), 0)
    assert value(recorded, "winnow_worker_tokens_per_second", worker="0") == 1000 / 10
    clock.now = 212.0
    run.shard_done(totals(ok=10), 1)
    clock.now = 214.0
    run.shard_done(totals(ok=10), 0)
    assert value(recorded, "winnow_worker_tokens_per_second", worker="0") == 1000 / 4
    assert value(recorded, "winnow_worker_tokens_per_second", worker="1") == 1000 / 12
    assert value(recorded, "winnow_worker_mfu", worker="1") == 10 / 8
    # Two commits at the same instant have no rate; the last one stays.
    run.shard_done(totals(ok=10), 0)
    assert value(recorded, "winnow_worker_tokens_per_second", worker="0") == 1000 / 4


def test_progress_counts_what_earlier_drivers_did(recorded):
    run = RunMetrics(run="r1", model="m")
    run.begin(100, 40)
    run.advance(0, 0, 0.0)
    assert value(recorded, "winnow_run_documents") == 100
    assert value(recorded, "winnow_run_documents_done") == 40
    assert value(recorded, "winnow_run_tokens_per_second") is None
    run.advance(25, 5000, 2.0)
    assert value(recorded, "winnow_run_documents_done") == 65
    assert value(recorded, "winnow_run_tokens_per_second") == 2500


def test_states_failures_restarts_reuse(recorded, caplog):
    run = RunMetrics(run="r1", model="m")
    run.states(waiting=4, running=2, done=1, failed=0)
    run.states(waiting=3, running=2, done=1, failed=1)
    states = {s: value(recorded, "winnow_shards", state=s) for s in metrics.SHARD_STATES}
    assert states == {"waiting": 3, "running": 2, "done": 1, "failed": 1}

    run.shard_failed(OSError("/data/a.parquet: gone"), retried=True)
    run.shard_failed(OSError("/data/b.parquet: gone"), retried=False)
    run.shard_failed(ValueError("x"), retried=False)
    # One series a kind of error, however many paths the messages name.
    assert value(recorded, "winnow_shard_failures_total", reason="OSError") == 2
    assert value(recorded, "winnow_shard_failures_total", reason="ValueError") == 1
    assert value(recorded, "winnow_shard_retries_total") == 1

    run.restart(3)
    assert value(recorded, "winnow_engine_restarts_total", worker="3") == 1
    run.reused(0)
    assert value(recorded, "winnow_shards_reused_total") is None
    run.reused(7)
    assert value(recorded, "winnow_shards_reused_total") == 7
    assert caplog.records == []


def report_everything(run: RunMetrics) -> None:
    run.begin(10, 0)
    run.advance(5, 500, 1.0)
    run.states(waiting=1, running=1, done=0, failed=0)
    run.shard_done(totals(ok=5), 0)
    run.shard_failed(OSError("x"), retried=True)
    run.restart(0)
    run.reused(1)


def test_every_metric_is_reported(recorded):
    report_everything(RunMetrics(run="r1", model="m"))
    assert {name for name, _ in recorded} == METRICS.keys()


def test_a_failure_to_report_is_logged_once_and_stops_nothing(monkeypatch, caplog):
    def refuse(self, value, tags=None):
        raise RuntimeError("no metrics agent")

    monkeypatch.setattr(ray_metrics.Metric, "_record", refuse)
    with caplog.at_level(logging.WARNING):
        run = RunMetrics(run="r1", model="m")
        report_everything(run)
        report_everything(run)
    assert [record.message for record in caplog.records] == [
        "metrics of this run are not all reported: no metrics agent"
    ]


def test_a_failure_to_register_stops_nothing(monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise TypeError("not this one")

    monkeypatch.setattr(ray_metrics, "Counter", refuse)
    report_everything(RunMetrics(run="r1", model="m"))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("spec", METRICS.values(), ids=METRICS)
def test_names_follow_prometheus_conventions(spec):
    assert re.fullmatch(r"winnow(_[a-z]+)+", spec.name)
    assert spec.name.endswith("_total") == (spec.kind == "counter")
    assert spec.description.endswith(".")
    assert not set(spec.labels) & set(RUN_LABELS)
