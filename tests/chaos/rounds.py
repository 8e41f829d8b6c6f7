"""A run under fire: a driver is started again and again while faults are caused, until it is done.

Owns one round: what is caused when, which exit codes are right, and the limit of every wait. What a
fault does is faults.py's, what a run's rows should be corpus.py's.
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
from typing import NamedTuple

import psutil

from pipeline.runs.store import RunStore
from tests.chaos.cluster import ROOT, Machines
from tests.chaos.corpus import Difference, Undisturbed
from tests.support.faulty import Ordered
from tests.support.servers import SeaweedFS

ROUND_SECONDS = 600
"""A round that takes longer hangs."""
END_SECONDS = 120
"""A driver that was told to end, or is refused, and goes on for longer hangs."""
UNDISTURBED_SECONDS = 30
SHARDS_AT_ONCE = 4
FINISHED, GIVEN_UP = 0, 1
FAULT_OF_OURS = ("bug in Winnow", "Traceback")


class Hang(Exception):
    """Something did not happen in time."""


@dataclass(frozen=True)
class DriverProcess:
    """A driver, and what it said."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> int:
        """Its exit code, which comes soon. Raises Hang."""
        try:
            return self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise Hang(f"a driver did not end within {END_SECONDS} s: {self.log}") from None


class Fault(NamedTuple):
    """Something that goes wrong while a driver works."""

    name: str
    cause: Callable[["Round"], bool]
    """Whether it could be caused now; if not, it is tried again a little later."""


@dataclass
class Round:
    """One run directory, from nothing to `_SUCCESS`."""

    folder: Path
    machines: Machines
    undisturbed: Undisturbed
    random: random.Random
    server: SeaweedFS | None = None
    """Where the run is, if not in the folder."""
    caused: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    num_drivers: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "orders").mkdir()
        local = str(self.folder / "run")
        self.run = self.server.location(f"{self.folder.name}/run") if self.server else local
        # Long enough for all that goes wrong; what is left after that is done in no time.
        seconds = UNDISTURBED_SECONDS * SHARDS_AT_ONCE / self.undisturbed.num_rows
        self.orders = Ordered(self.folder / "orders", seconds)
        self._request = self.folder / "request.json"
        self.configure()

    def configure(self, **settings: object) -> None:
        """What the next drivers are asked for."""
        config = {
            "corpus": str(self.undisturbed.corpus),
            "out": self.run,
            "model": str(self.undisturbed.model),
            "workers": "1:3",
            "address": self.machines.address,
            "wait_minutes": 2,
            **self.undisturbed.settings,
            **settings,
        }
        engines = {"orders": str(self.orders.folder), "seconds": self.orders.seconds}
        self._request.write_text(json.dumps({"config": config, **engines}))

    def play(self, moments: list[str], faults: list[Fault]) -> Difference:
        """Cause all this, finish the run, and compare it with the undisturbed one.

        Each driver dies at the next of `moments`, which come in the order of a run. Raises Hang.
        """
        ends_by = time.monotonic() + ROUND_SECONDS
        moments, faults = list(moments), list(faults)
        self.driver = self._next_driver(moments)
        due = self._soon()
        if not faults:
            self.orders.hurry.touch()
        try:
            while (code := self.driver.process.poll()) != FINISHED:
                if code is not None:
                    self._judge(code, moments)
                    self.driver = self._next_driver(moments)
                    due = self._soon()
                elif faults and time.monotonic() >= due and self._num_parts():
                    if faults[0].cause(self):
                        self.caused.append(faults.pop(0).name)
                        if not faults:
                            self.orders.hurry.touch()
                    due = self._soon()
                if time.monotonic() > ends_by:
                    raise Hang(f"not finished after {ROUND_SECONDS} s: {self.driver.log}")
                time.sleep(0.1)
        finally:
            if self.driver.is_alive:
                self.driver.process.kill()
                self.driver.process.wait()
        return self.undisturbed.compare(self.run)

    def launch(self, *moment: str) -> DriverProcess:
        """A driver of this run."""
        command = [sys.executable, "-m", "tests.chaos.driver", str(self._request), *moment]
        self.num_drivers += 1
        path = self.folder / f"driver-{self.num_drivers:02d}.log"
        with path.open("wb") as log:
            return DriverProcess(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT), path)

    def expect(self, code: int) -> None:
        """The driver was told to end, and this is how it should."""
        self._expected = {code, FINISHED}

    def complain(self, what: str) -> None:
        self.complaints.append(what)

    def engines(self) -> list[psutil.Process]:
        """The processes with an engine that are alive."""
        found = []
        for number in self.orders.process_ids():
            try:
                process = psutil.Process(number)
                if "ScoringActor" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _next_driver(self, moments: list[str]) -> DriverProcess:
        while len(self.machines) < 2:
            self.machines.join()
        # A run with shards given up ends with 1, and the next driver tries them again.
        self._expected = {FINISHED, GIVEN_UP}
        return self.launch(*moments[:1])

    def _judge(self, code: int, moments: list[str]) -> None:
        words = self.driver.words()
        if code == -signal.SIGKILL and code not in self._expected and moments:
            self.caused.append(moments.pop(0))
        elif code not in self._expected or any(each in words for each in FAULT_OF_OURS):
            last = " / ".join(words.strip().splitlines()[-3:])
            self.complain(f"a driver ended with {code} after {self.caused[-1:]}: {last}")

    def _soon(self) -> float:
        return time.monotonic() + self.random.uniform(0.5, 4)

    def _num_parts(self) -> int:
        return len(RunStore(self.run).done())
