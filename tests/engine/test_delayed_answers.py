"""Answers that come steps after their windows, as where vLLM schedules asynchronously on a GPU.

`DelayedLlm` stands in for vLLM, whose asynchronous scheduling is for GPUs: as its
`step_with_batch_queue` does, `step` hands out batches until some are on their way, gives nothing
meanwhile, and gives the last ones' answers in steps that hand out none.
"""

import gc
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm import engine as engine_module
from pipeline.engine.vllm import startup_check
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.errors import EngineError, ModelError, WinnowError
from pipeline.schema import Window, WindowScore
from tests.support.fakes import fake_logprobs
from tests.support.interrupts import interrupts_that_restart_waits

VOCAB = 300
STEP_TOKENS = 20
pytestmark = pytest.mark.timeout(120)


class Rows:
    """What is used of a tensor."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def numpy(self) -> np.ndarray:
        return self._values


class DelayedLlm:
    """Answers by the rule of tests/support/fakes.py, `depth` steps later."""

    def __init__(self, depth: int) -> None:
        self.engine_core = SimpleNamespace(shutdown=lambda: None)
        self.depth = depth
        self.unscheduled: deque[tuple[str, list[int], Any]] = deque()
        self.on_the_way: deque[list[tuple[str, list[int], Any]]] = deque()
        self.aborted = set[str]()
        self.num_answers = 0
        self.on_step: Callable[[], None] = lambda: None

    def add_request(self, name: str, prompt: list[int], params: Any) -> None:
        self.unscheduled.append((name, prompt, params))

    def abort_request(self, names: list[str]) -> None:
        self.aborted |= set(names)
        self.unscheduled = deque(one for one in self.unscheduled if one[0] not in self.aborted)

    def step(self) -> list[Any]:
        batch, room = [], STEP_TOKENS
        while self.unscheduled and (not batch or len(self.unscheduled[0][1]) <= room):
            batch.append(self.unscheduled.popleft())
            room -= len(batch[-1][1])
        self.on_step()
        if batch:
            self.on_the_way.append(batch)
            if len(self.on_the_way) <= self.depth:
                return []
        if not self.on_the_way:
            return []
        answered = [one for one in self.on_the_way.popleft() if one[0] not in self.aborted]
        self.num_answers += len(answered)
        return [self._answer(*one) for one in answered]

    def _answer(self, name: str, prompt: list[int], params: dict[str, Any]) -> Any:
        values = fake_logprobs(prompt, params["num_context"])
        if params["whole_rows"]:
            rows = np.full((len(prompt), VOCAB), -9.0)
            rows[range(len(prompt) - 1), prompt[1:]] = fake_logprobs(prompt, 1)
            values = rows
        return SimpleNamespace(
            request_id=name, finished=True, outputs=SimpleNamespace(data=Rows(values))
        )


class CountingMeter:
    """Counts windows in place of operations."""

    def __init__(self, settings: EngineSettings) -> None:
        self.windows = list[Window]()

    def add(self, window: Window) -> None:
        self.windows.append(window)


Make = Callable[[], VllmEngine]


@pytest.fixture(params=[0, 1, 2], ids="answers {} steps later".format)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Make:
    def start(self: Any, settings: EngineSettings) -> None:
        self._fused, self.step_tokens, self._num_seqs = True, STEP_TOKENS, 256
        self._llm = DelayedLlm(request.param)
        self._prompt, self._pooling = list, lambda task, extra_kwargs: extra_kwargs

    monkeypatch.setattr(VllmEngine, "_start", start)
    monkeypatch.setattr(engine_module, "Meter", CountingMeter)
    settings = EngineSettings(str(tmp_path), "float32", 64, VOCAB, scoring="fused")
    return lambda: VllmEngine(settings)


@pytest.fixture
def engine(make: Make) -> Iterator[VllmEngine]:
    engine = make()
    yield engine
    engine.close()


def windows(count: int, first: int = 0) -> list[tuple[int, Window]]:
    """Of 3 to 12 tokens, with 1 or 2 tokens of context, each unlike the others."""
    return [
        (key, Window([(key * 7 + at * at) % VOCAB for at in range(3 + key % 10)], 1 + key % 2))
        for key in range(first, first + count)
    ]


def assert_right(found: list[WindowScore], asked: list[tuple[int, Window]]) -> None:
    assert sorted(one.key for one in found) == [key for key, _ in asked]
    by_key = dict(asked)
    for one in found:
        window = by_key[one.key]
        assert one.logprobs.tolist() == fake_logprobs(window.prompt, window.num_context).tolist()


def assert_idle(engine: VllmEngine) -> None:
    assert not engine._waiting
    assert not engine._added
    assert engine._in_flight_tokens == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 500])
def test_no_answer_is_lost(engine, count):
    assert_right(list(engine.score(windows(count))), windows(count))
    assert_idle(engine)
    assert len(engine._meter.windows) == count


def test_callers_that_take_turns_get_their_own(engine):
    found: list[list[WindowScore]] = [[], [], []]

    def score(index: int) -> None:
        found[index] = list(engine.score(windows(100, 1000 * index)))

    threads = [threading.Thread(target=score, args=(index,), daemon=True) for index in range(3)]
    for thread in threads:
        thread.start()
    for index, thread in enumerate(threads):
        thread.join(20)
        assert not thread.is_alive()
        assert_right(found[index], windows(100, 1000 * index))
    assert_idle(engine)


def test_what_a_call_left_on_its_way_is_nobody_elses(engine):
    """Its answers are still to come when the next call begins, and the next takes none of them."""
    first = engine.score(windows(40))
    next(first)
    on_the_way = len(engine._llm.on_the_way)
    first.close()
    scored = len(engine._meter.windows)
    assert_right(list(engine.score(windows(5, 100))), windows(5, 100))
    assert len(engine._meter.windows) == scored + 5
    assert_idle(engine)
    assert on_the_way == engine._llm.depth


def test_a_call_that_is_collected_as_garbage_blocks_nobody(engine):
    abandoned = engine.score(windows(40))
    next(abandoned)
    del abandoned
    gc.collect()
    assert_right(list(engine.score(windows(5, 100))), windows(5, 100))
    assert_idle(engine)


def test_an_engine_closed_with_answers_on_their_way_ends_every_call(make):
    engine = make()
    stepping, closing = threading.Event(), threading.Event()

    def on_step() -> None:
        stepping.set()
        closing.wait(10)

    engine._llm.on_step = on_step
    failed = list[EngineError]()

    def score() -> None:
        with pytest.raises(EngineError, match="the engine was closed while it scored") as raised:
            list(engine.score(windows(200)))
        failed.append(raised.value)

    threads = [threading.Thread(target=score, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert stepping.wait(10)
    closer = threading.Thread(target=engine.close, daemon=True)
    closer.start()
    while not engine._is_closed:
        closer.join(0.01)
    closing.set()
    for thread in (closer, *threads):
        thread.join(10)
        assert not thread.is_alive()
    assert len(failed) == 2


def test_a_step_that_fails_ends_every_call_that_waits(engine):
    """The windows of a failed step are gone, and are anybody's: nobody may wait for them."""
    one_per_step = [(key, Window([key] * 15, 1)) for key in range(3)]
    first = engine.score(one_per_step)
    assert_right([next(first)], one_per_step[:1])

    def fail() -> None:
        raise RuntimeError("the accelerator fell off")

    engine._llm.on_step = fail
    with pytest.raises(EngineError, match=r"^the engine failed: the accelerator fell off$"):
        list(engine.score(windows(1, 100)))
    engine._llm.on_step = lambda: None
    with pytest.raises(EngineError, match=r"^the engine failed: the accelerator fell off$"):
        list(first)
    assert_right(list(engine.score(windows(5, 200))), windows(5, 200))
    assert_idle(engine)


def test_an_interrupt_does_not_wait_for_the_step(engine):
    """The kernel goes on with a wait: somebody has to look."""
    began, released, stepped = threading.Event(), threading.Event(), threading.Event()

    def on_step() -> None:
        began.set()
        released.wait(20)
        stepped.set()

    def interrupt() -> None:
        began.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    engine._llm.on_step = on_step
    threading.Thread(target=interrupt, daemon=True).start()
    with interrupts_that_restart_waits(), pytest.raises(KeyboardInterrupt):
        list(engine.score(windows(5)))
    assert not stepped.is_set()
    released.set()
    assert_right(list(engine.score(windows(5, 100))), windows(5, 100))
    assert_idle(engine)


def test_a_start_up_check_waits_for_its_answers(make, monkeypatch):
    monkeypatch.setattr(startup_check, "find_disagreement", lambda *arguments: "is inaccurate")
    with pytest.raises(ModelError, match="is inaccurate"):
        make()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no kernel\nat all"), r"^fused scoring of \S+ failed: no kernel\n"),
        (MemoryError("out of memory"), "^the engine failed: out of memory$"),
    ],
)
def test_a_fused_start_up_check_whose_step_fails_is_a_line_and_a_hint(
    make, monkeypatch, error, said
):
    def fail(self, name, prompt, params):
        if params["whole_rows"]:
            raise error

    monkeypatch.setattr(DelayedLlm, "add_request", fail)
    monkeypatch.setattr(engine_module, "check_engine", lambda *arguments: None)
    with pytest.raises(WinnowError, match=said) as raised:
        make()
    assert (raised.value.hint == "use scoring prompt_logprobs") == isinstance(
        raised.value, ModelError
    )


def test_an_interrupt_does_not_wait_for_the_load(make, monkeypatch):
    """What was loaded is let go of when the load ends, and the next engine starts after that."""
    loading, loaded, start = threading.Event(), threading.Event(), VllmEngine._start
    shut_down, alone, loads = threading.Event(), list[bool](), list[int]()

    def slow(self, settings):
        loading.set()
        loaded.wait(20)
        loads.append(1)
        start(self, settings)
        self._llm.engine_core.shutdown = shut_down.set

    def quick(self, settings):
        alone.append(loaded.is_set())
        start(self, settings)

    def interrupt() -> None:
        loading.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(VllmEngine, "_start", slow)
    threading.Thread(target=interrupt, daemon=True).start()
    with interrupts_that_restart_waits(), pytest.raises(KeyboardInterrupt):
        make()
    assert not loads
    monkeypatch.setattr(VllmEngine, "_start", quick)
    threading.Timer(0.5, loaded.set).start()
    engine = make()
    assert alone == [True]
    assert_right(list(engine.score(windows(5))), windows(5))
    engine.close()
    assert shut_down.wait(10)


def test_a_load_that_fails_leaves_the_way_free(make, monkeypatch):
    def fail(self, settings):
        raise ModelError("no such model")

    with monkeypatch.context() as patch:
        patch.setattr(VllmEngine, "_start", fail)
        with pytest.raises(ModelError, match="no such model"):
            make()
    make().close()


def test_time_is_from_the_first_step_to_the_last_answer(engine):
    list(engine.score(windows(50)))
    usage = engine.usage()
    assert 0 < usage.busy <= usage.seconds
