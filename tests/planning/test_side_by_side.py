"""Engines that share a GPU are measured at the same time, and none of their processes stays."""

import math
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.errors import ModelError
from pipeline.planning import side_by_side
from pipeline.planning.calibration import Calibration
from pipeline.planning.estimate import Sample
from pipeline.planning.side_by_side import Asked, calibrate_together, together
from tests.support.interrupts import interrupts_that_restart_waits
from tests.support.plans import make_manifest

RULES = make_manifest().rules
SAMPLE = Sample(["a" * 50], [1.0])
TWO = EngineSettings("/nowhere", "float32", 64, 258, engines_per_gpu=2)
pytestmark = pytest.mark.timeout(180)


def speed(tokens_per_second: float, spread: float = 0.1, num_chunks: int = 9) -> Calibration:
    return Calibration(
        tokens_per_second=tokens_per_second,
        spread=spread,
        num_chunks=num_chunks,
        num_tokens=int(tokens_per_second) * 30,
        seconds=30,
    )


def answers(asked: Asked, number: int, gate: Any, tell: Any) -> None:
    gate.wait()
    tell.send(speed(100 + number))


def fails(asked: Asked, number: int, gate: Any, tell: Any) -> None:
    if number == 1:
        tell.send(ModelError("no room", hint="make some"))
    gate.wait()


def dies(asked: Asked, number: int, gate: Any, tell: Any) -> None:
    if number == 1:
        os._exit(1)
    gate.wait()


def waits(asked: Asked, number: int, gate: Any, tell: Any) -> None:
    time.sleep(100)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Any:
    yield lambda how: monkeypatch.setattr(side_by_side, "_measure", how)
    assert multiprocessing.active_children() == []


def test_both_begin_together_and_count_together(measuring):
    measuring(answers)
    found = calibrate_together(TWO, RULES, SAMPLE)
    assert found.tokens_per_second == 201


def test_what_one_cannot_do_is_said_while_the_other_waits(measuring):
    measuring(fails)
    with pytest.raises(ModelError, match="no room") as raised:
        calibrate_together(TWO, RULES, SAMPLE)
    assert raised.value.hint == "make some"


def test_one_that_dies_is_not_waited_for(measuring):
    measuring(dies)
    with pytest.raises(ModelError, match="one of 2 engines on a GPU died while it was measured"):
        calibrate_together(TWO, RULES, SAMPLE)


def test_ctrl_c_ends_both(measuring):
    def interrupt() -> None:
        while len(multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    measuring(waits)
    threading.Thread(target=interrupt, daemon=True).start()
    with interrupts_that_restart_waits(), pytest.raises(KeyboardInterrupt):
        calibrate_together(TWO, RULES, SAMPLE)


def test_speeds_add_up_and_their_errors_are_independent():
    found = together([speed(300, 0.1, 5), speed(100, 0.4)])
    assert found.tokens_per_second == 400
    assert found.spread == pytest.approx(math.sqrt(30**2 + 40**2) / 400)
    assert (found.num_chunks, found.num_tokens, found.seconds) == (5, 12_000, 30)
    assert together([speed(1, 1), speed(1, 1)]).spread == pytest.approx(math.sqrt(2) / 2)


def test_a_model_that_is_not_there_is_the_error_of_one_engine(measuring):
    """By the processes themselves."""
    with pytest.raises(ModelError):
        calibrate_together(TWO, RULES, SAMPLE)
