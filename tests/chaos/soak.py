"""A run under fire: a driver is started again and again while faults are caused, until it is done.

Owns one round: what is caused when, what exit codes are right, and the limits of every wait. What a
fault does is faults.py's, what a round's rows should be corpus.py's.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.cluster import Machines
from tests.chaos.corpus import Difference, Undisturbed
from tests.faulty import MOMENTS, Ordered

ROUND_SECONDS = 300
"""A round that takes longer hangs."""
END_SECONDS = 60
"""A driver that was told to end and did not in this time hangs."""
FINISHED, GIVEN_UP, USAGE, TERMINATED = 0, 1, 2, 143
OUR_FAULT = ("fault in Winnow", "Traceback")


class Hang(Exception):
    """Something did not happen in time."""


@dataclass
class Round:
    """One run directory, from nothing to `_SUCCESS`."""

    folder: Path
    machines: Machines
    undisturbed: Undisturbed
    random: random.Random
    seconds_per_document: float = 0.02
    caused: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    num_drivers: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "orders" / "processes").mkdir(parents=True)
        self.run = self.folder / "run"
        self.orders = Ordered(self.folder / "orders", self.seconds_per_document)
        self._moment: str | None = None
        self._expected: set[int] = set()
        self._ends_by = time.monotonic() + ROUND_SECONDS
        request = {
            "config": {
                "corpus": str(self.undisturbed.corpus),
                "out": str(self.run),
                "model": str(self.undisturbed.model),
                "workers": "1:3",
                "address": self.machines.address,
                "wait_minutes": 2,
                **self.undisturbed.settings,
            },
            "orders": str(self.orders.folder),
            "seconds": self.seconds_per_document,
        }
        (self.folder / "request.json").write_text(json.dumps(request))

    def play(self, faults: list[str]) -> Difference:
        """Cause these faults one after another, finish the run, and compare. Raises Hang."""
        waiting = list(faults)
        driver = self.start(waiting)
        try:
            due = self._soon()
            while True:
                code = driver.poll()
                if code is not None:
                    self._judge(driver, code)
                    if code == FINISHED:
                        break
                    driver = self.start(waiting)
                    due = self._soon()
                elif waiting and time.monotonic() >= due and self._parts():
                    self.cause(waiting.pop(0), driver)
                    due = self._soon()
                if time.monotonic() > self._ends_by:
                    raise Hang(f"no end after {ROUND_SECONDS} s; caused: {', '.join(self.caused)}")
                time.sleep(0.1)
        finally:
            if driver.poll() is None:
                driver.kill()
                driver.wait()
        while len(self.machines) < 2:
            self.machines.join()
        return self.undisturbed.compare(self.run)

    def cause(self, fault: str, driver: "subprocess.Popen[str]") -> None:
        """One fault, now."""
        FAULTS[fault](self, driver)
        self.caused.append(fault)

    def start(self, waiting: list[str]) -> "subprocess.Popen[str]":
        """A driver; one that will die at a moment, if that is the next of the faults."""
        self.num_drivers += 1
        if not len(self.machines):
            self.machines.join()
        moment = []
        if waiting and waiting[0] in MOMENTS:
            moment = [waiting.pop(0)]
            self.caused += moment
        self._expected = {FINISHED, -signal.SIGKILL} if moment else {FINISHED, GIVEN_UP}
        return self.launch(*moment)

    def launch(self, *moment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.chaos.driver", str(self.folder / "request.json")]
        with (self.folder / f"driver-{time.monotonic_ns()}.log").open("w+") as log:
            process = subprocess.Popen([*command, *moment], stdout=log, stderr=log, text=True)
        process.log = Path(log.name)  # type: ignore[attr-defined]
        return process

    def expect(self, *codes: int) -> None:
        """Exit codes that the driver may now have besides success."""
        self._expected |= set(codes)

    def end(self, process: "subprocess.Popen[str]") -> int:
        """The exit code of a process that ends soon. Raises Hang."""
        try:
            return process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Hang(f"a driver did not end within {END_SECONDS} s") from None

    def engines(self) -> list[psutil.Process]:
        """The processes with an engine that are alive."""
        found = []
        for number in self.orders.process_ids():
            try:
                process = psutil.Process(number)
                if "ScoringActor" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def _judge(self, process: "subprocess.Popen[str]", code: int) -> None:
        log = process.log.read_text()  # type: ignore[attr-defined]
        if code not in self._expected or any(words in log for words in OUR_FAULT):
            last = " / ".join(log.strip().splitlines()[-3:])
            self.complaints.append(f"a driver ended with {code} after {self.caused[-1:]}: {last}")

    def _soon(self) -> float:
        return time.monotonic() + self.random.uniform(0.5, 4)

    def _parts(self) -> int:
        return sum(1 for _ in self.run.glob("scores/part-*.parquet"))


Cause = Callable[[Round, "subprocess.Popen[str]"], None]


def _kill_engine(this: Round, driver: "subprocess.Popen[str]") -> None:
    for process in this.engines()[:1]:
        process.kill()


def _order(order: str) -> Cause:
    return lambda this, driver: this.orders.give(order)


def _kill_driver(this: Round, driver: "subprocess.Popen[str]") -> None:
    this.expect(-signal.SIGKILL)
    driver.kill()
    this.end(driver)


def _terminate_driver(this: Round, driver: "subprocess.Popen[str]") -> None:
    this.expect(TERMINATED)
    driver.terminate()
    this.end(driver)


def _interrupt_driver(this: Round, driver: "subprocess.Popen[str]") -> None:
    this.expect(130)
    driver.send_signal(signal.SIGINT)
    this.end(driver)


def _lose_machine(this: Round, driver: "subprocess.Popen[str]") -> None:
    this.machines.lose(this.random.randrange(len(this.machines)))
    this.machines.join()


def _lose_raylet(this: Round, driver: "subprocess.Popen[str]") -> None:
    this.machines.lose_raylet(this.random.randrange(len(this.machines)))
    this.machines.join()


def _lose_all_machines(this: Round, driver: "subprocess.Popen[str]") -> None:
    while len(this.machines):
        this.machines.lose(0)
    time.sleep(this.random.uniform(0, 3))
    this.machines.join()


def _second_driver(this: Round, driver: "subprocess.Popen[str]") -> None:
    second = this.launch()
    code = this.end(second)
    refused = f"is being written by process {driver.pid} " in second.log.read_text()  # type: ignore[attr-defined]
    if driver.poll() is None and not (code == USAGE and refused):
        this.complaints.append(f"a second driver ended with {code} beside the first")


FAULTS: dict[str, Cause] = {
    "engine process killed": _kill_engine,
    "engine failed": _order("fail"),
    "engine out of memory": _order("memory"),
    "engine killed before a rename": _order("rename"),
    "machine lost": _lose_machine,
    "raylet killed": _lose_raylet,
    "all machines lost": _lose_all_machines,
    "driver killed": _kill_driver,
    "driver SIGTERM": _terminate_driver,
    "driver SIGINT": _interrupt_driver,
    "second driver": _second_driver,
}
