"""The speed of engines that share a GPU: each in a process of its own, measured at the same time.

Owns these processes: they begin together, and none is left when the measurement ends, however it
does.
"""

import math
import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import closing
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from pipeline.engine.backends import backend_of
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.rules import ScoringRules
from pipeline.errors import ModelError
from pipeline.planning.calibration import SECONDS, Calibration, calibrate
from pipeline.planning.estimate import Sample


class Asked(NamedTuple):
    """What each process is to measure."""

    settings: EngineSettings
    rules: ScoringRules
    sample: Sample
    seconds: float


def calibrate_together(
    settings: EngineSettings, rules: ScoringRules, sample: Sample, *, seconds: float = SECONDS
) -> Calibration:
    """The speed of `settings.engines_per_gpu` engines in all. Raises what `calibrate` raises, and
    ModelError if one of them cannot start or dies."""
    spawn = multiprocessing.get_context("spawn")  # a process that used CUDA cannot be forked
    gate = spawn.Barrier(settings.engines_per_gpu)
    asked = Asked(settings, rules, sample, seconds)
    processes, waiting = [], list[Any]()
    found = list[Calibration]()
    try:
        for number in range(settings.engines_per_gpu):
            answer, tell = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_measure, args=(asked, number, gate, tell))
            process.start()
            tell.close()  # the only other end is the process's: if it dies, there is none
            processes.append(process)
            waiting.append(answer)
        while waiting:
            ready: Any = wait(waiting)[0]
            told = ready.recv()
            if isinstance(told, Exception):
                raise told
            found.append(told)
            waiting.remove(ready)
    except EOFError:
        number = settings.engines_per_gpu
        raise ModelError(f"one of {number} engines on a GPU died while it was measured") from None
    finally:
        for process in processes:
            process.kill()
            process.join()
    return together(found)


def together(found: Sequence[Calibration]) -> Calibration:
    """Several speeds of the same time as one: their errors are independent."""
    speed = math.fsum(one.tokens_per_second for one in found)
    error = math.hypot(*(one.spread * one.tokens_per_second for one in found))
    return Calibration(
        tokens_per_second=speed,
        spread=min(1.0, error / speed),
        num_chunks=min(one.num_chunks for one in found),
        num_tokens=sum(one.num_tokens for one in found),
        seconds=max(one.seconds for one in found),
    )


def _measure(asked: Asked, number: int, gate: Any, tell: "Connection[Any, Any]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends this
    settings, rules = asked.settings, asked.rules
    backend = backend_of(rules)
    try:
        tokenizer = backend.tokenizer(settings.folder, trust_remote_code=settings.trust_remote_code)
        with closing(backend.engine(settings)) as engine:
            gate.wait()
            speed = calibrate(
                engine,
                tokenizer,
                rules,
                asked.sample,
                vocab_size=settings.vocab_size,
                seed=number,
                seconds=asked.seconds,
            )
            tell.send(speed)
    except Exception as error:
        tell.send(error)
