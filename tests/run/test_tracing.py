"""Spans: bounded, nested, and in a file that a viewer can draw."""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tracing
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.errors import ConfigError, EngineError
from pipeline.planning.plan import open_run
from pipeline.runs.store import RunStore
from pipeline.schema import Window, WindowScore
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig
from pipeline.tracing import ENGINE, RunTrace, ShardTrace, Span, Tracer, to_chrome
from tests.support.fakes import FakeEngine
from tests.support.traces import check_trace

SLEEP = 0.01


class Slow(FakeEngine):
    """Takes its time, and says when."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        began = time.monotonic()
        time.sleep(SLEEP)
        answer = super()._answer(entry)
        self.tracer.add_step(began, time.monotonic())
        return answer


class Charging(Tracer):
    """Also knows the CPU seconds of spans: a thread that waits for a core is charged nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: Counter[str] = Counter()

    @contextmanager
    def span(self, name: str, lane: str, **more: Any) -> Iterator[None]:
        began = time.thread_time()
        try:
            with super().span(name, lane, **more):
                yield
        finally:
            self.cpu[name] += time.thread_time() - began


class Dying(FakeEngine):
    def _answer(self, entry: tuple[int, Window]) -> WindowScore:
        raise EngineError("made to")


@pytest.fixture
def scored(tmp_path, tiny_model):
    """Score a corpus of one shard with a tracer."""
    (tmp_path / "corpus").mkdir()
    texts = [f"document {i}" for i in range(30)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "corpus/0.parquet")
    config = ScoreConfig(
        corpus=str(tmp_path / "corpus"), model=str(tiny_model), out=str(tmp_path / "run")
    )
    store = RunStore(config.out)
    manifest, _ = open_run(config, store, default_shard_tokens=10**9)

    def score(trace: ShardTrace, engine: FakeEngine) -> None:
        trace.scoring("shard 0", score_shard)(
            manifest.task(0),
            manifest,
            engine=engine,
            tokenizer=HubTokenizer(str(tiny_model)),
            store=store,
            trace=trace,
        )

    return score


def test_the_trace_of_a_shard(scored, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.corpus.reader.BATCH_ROWS", 7)
    run = RunTrace(str(tmp_path / "trace.json"))
    tracer = Charging()
    moments = [time.monotonic()]
    run.phase("Scoring")
    moments.append(time.monotonic())
    scored(ShardTrace(tracer, 1), Slow(tracer))
    run.gather(*tracer.take(), worker=4)
    moments.append(time.monotonic())
    run.write()
    moments.append(time.monotonic())

    events = check_trace(tmp_path / "trace.json")
    spans = [e for e in events if e["ph"] == "X"]
    [scoring] = [e for e in spans if e["name"] == "Scoring"]
    [shard] = [e for e in spans if e["name"] == "shard 0"]
    assert (scoring["pid"], shard["pid"]) == (0, 5)
    # From the call that began it to the one that ended it, in whole microseconds.
    shortest, longest = moments[2] - moments[1], moments[3] - moments[0]
    assert shortest - 1e-5 <= scoring["dur"] / 1e6 <= longest + 1e-5
    seconds = {e["name"]: 0.0 for e in spans}
    counts = dict.fromkeys(seconds, 0)
    for e in spans:
        seconds[e["name"]] += e["dur"] / 1e6
        counts[e["name"]] += 1
    # 30 rows in batches of 7, and reading finds the end.
    assert counts["tokenizing"] == counts["folding"] == counts["writing"] == 5
    assert counts["reading"] == counts["waiting for the engine"] == 6
    assert counts["committing"] == 1
    assert seconds["busy"] >= 30 * SLEEP
    assert seconds["waiting for the engine"] >= 30 * SLEEP
    # All that happens in the thread that scores is inside of the shard.
    inside = ("waiting for the engine", "folding", "writing", "committing")
    parts = sum(seconds[name] for name in inside)
    assert parts <= seconds["shard 0"] <= seconds["Scoring"]
    outside = tracer.cpu["shard 0"] - sum(tracer.cpu[name] for name in inside)
    assert outside <= 0.2 * seconds["shard 0"]
    lanes = {(e["pid"], e["args"]["name"]) for e in events if e["name"] == "thread_name"}
    assert lanes == {(0, "phases"), (5, "engine"), (5, "reading 1"), (5, "scoring 1")}


def test_a_shard_that_fails_is_in_the_trace(scored, tmp_path):
    tracer = Tracer()
    with pytest.raises(EngineError):
        scored(ShardTrace(tracer), Dying())
    names = [span.name for span in tracer.take()[0]]
    assert names[-1] == "shard 0"
    assert "committing" not in names


def test_without_a_tracer_nothing_is_kept(scored):
    trace = ShardTrace()
    scored(trace, FakeEngine())
    assert list(trace.each_read("x", [1, 2])) == [1, 2]


def test_steps_that_follow_each_other_are_one_span_and_others_are_not():
    tracer = Tracer()
    for began, ended in [(0.0, 0.4), (0.4005, 0.9), (0.9, 1.2), (1.2, 1.3), (1.4, 1.5)]:
        tracer.add_step(began, ended)
    spans, lost = tracer.take()
    assert lost == 0
    # A second long, it is closed: what goes on is seen while it does.
    assert [(s.duration_ns, s.arguments) for s in spans] == [
        (1_200_000_000, {"steps": 3}),
        (100_000_000, {"steps": 1}),
        (100_000_000, {"steps": 1}),
    ]
    assert {span.lane for span in spans} == {ENGINE}


def test_the_buffer_is_bounded_and_says_what_it_lost(monkeypatch):
    monkeypatch.setattr(tracing, "MOST_SPANS", 10)
    tracer = Tracer()

    def add() -> None:
        for number in range(50):
            tracer.add(str(number), "lane", number, number + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans, lost = tracer.take()
    assert (len(spans), lost) == (10, 190)
    assert tracer.take() == ([], 0)
    tracer.add("again", "lane", 0, 1)
    assert [span.name for span in tracer.take()[0]] == ["again"]


def test_a_run_keeps_the_first_spans_and_says_how_many_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(tracing, "MOST_COLLECTED", 5)
    run = RunTrace(str(tmp_path / "trace.json"))
    run.gather([Span(str(i), "lane", i, 1) for i in range(8)], 2, worker=0)
    run.write()
    events = check_trace(tmp_path / "trace.json")
    assert [e["name"] for e in events if e["ph"] == "X"] == ["0", "1", "2", "3", "4"]
    told = json.loads((tmp_path / "trace.json").read_text())["otherData"]
    assert told == {"spans_lost": 5}


def test_shards_that_overlap_are_drawn_side_by_side(tmp_path):
    run = RunTrace(str(tmp_path / "trace.json"))
    now = time.monotonic()
    run.dispatched("shard 0", 0, now - 3)
    run.dispatched("shard 1", 0, now - 2)
    run.write()
    events = check_trace(tmp_path / "trace.json")
    assert [(e["name"], e["args"]) for e in events if e["ph"] == "b"] == [
        ("shard 0", {"worker": 0}),
        ("shard 1", {"worker": 0}),
    ]


def test_names_are_data():
    hostile = '"},\n</script>\u2028\x00'
    text = to_chrome([(0, Span(hostile, hostile, 1, 2, {hostile: hostile}))], 0)
    [event] = [e for e in json.loads(text)["traceEvents"] if e["ph"] == "X"]
    assert (event["name"], event["args"]) == (hostile, {hostile: hostile})


def test_an_empty_trace_is_a_trace(tmp_path):
    (tmp_path / "trace.json").write_text(to_chrome([], 0))
    assert check_trace(tmp_path / "trace.json") == []


@pytest.mark.parametrize(
    ("name", "reason"), [("", "is a folder"), ("no/such/file", "a folder that does not exist")]
)
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path, name, reason):
    with pytest.raises(ConfigError, match=reason):
        RunTrace(str(tmp_path / name))


def test_a_file_that_cannot_be_written_after_all_is_no_reason_to_fail(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    run = RunTrace(str(folder / "trace.json"))
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        run.write()
    assert "trace.json cannot be written: No such file" in caplog.text


def test_without_a_file_a_run_writes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = RunTrace(None)
    run.phase("Planning")
    run.dispatched("shard 0", 0, time.monotonic())
    run.write()
    assert not run.is_on
    assert list(Path().iterdir()) == []
