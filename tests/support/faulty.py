"""Engines that fail when told to, and drivers that die at a named moment."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.errors import EngineError, EngineMemoryError
from pipeline.runs.store import RunStore
from pipeline.schema import Window, WindowScore
from pipeline.storage.filesystem import TEMPORARY_PREFIX
from tests.support.fakes import FakeEngine

POISON_TOKENS = 333
"""The tiny tokenizer has a token a byte, so a document's length can mark it."""
STEP_TOKENS = 4096


class Silent:
    """A listener that nobody listens to."""

    def phase(self, text: str) -> None: ...

    def begin(self, num_rows: int, num_done: int) -> None: ...

    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None: ...


def healthy(settings: EngineSettings) -> FakeEngine:
    return FakeEngine()


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise EngineError("the engine failed: made to")


def run_out_of_memory() -> None:
    raise EngineMemoryError("the engine ran out of memory: made to")


def die_before_the_rename() -> None:
    """The next part of this process is written and never gets its name."""
    _kill_before(pytest.MonkeyPatch(), Path, "replace", _moves("part-"))


def die_after_the_rename() -> None:
    """The next part of this process gets its name, and nobody is told."""
    _kill_before(pytest.MonkeyPatch(), Path, "replace", _moves("part-"), after=True)


@dataclass(frozen=True)
class Faulty:
    """Makes engines that fault at the marked document, `times` times over all processes."""

    happened: Path
    times: int
    fault: Callable[[], None]

    def __call__(self, settings: EngineSettings) -> "FaultyEngine":
        return FaultyEngine(self)


class FaultyEngine(FakeEngine):
    def __init__(self, faulty: Faulty) -> None:
        super().__init__()
        self._faulty = faulty

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        return super().score(self._watched(windows))

    def _watched(self, windows: Iterable[tuple[int, Window]]) -> Iterator[tuple[int, Window]]:
        for key, window in windows:
            if len(window.prompt) - window.num_context == POISON_TOKENS:
                before = len(list(self._faulty.happened.iterdir()))
                if before < self._faulty.times:
                    (self._faulty.happened / str(before)).touch()
                    self._faulty.fault()
            yield key, window


@dataclass(frozen=True)
class SmallMemory:
    """Makes engines that run out of memory unless their steps are small; each leaves its step."""

    seen: Path
    largest: int

    def __call__(self, settings: EngineSettings) -> "EngineInSteps":
        return EngineInSteps(self, settings.max_num_batched_tokens or STEP_TOKENS)


class EngineInSteps(FakeEngine):
    def __init__(self, memory: SmallMemory, step_tokens: int) -> None:
        super().__init__()
        self._memory = memory
        self.step_tokens = step_tokens
        (memory.seen / str(step_tokens)).touch()

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        if self.step_tokens > self._memory.largest:
            run_out_of_memory()
        return super().score(windows)


ORDERS: dict[str, Callable[[], None]] = {
    "fail": fail,
    "memory": run_out_of_memory,
    "rename": die_before_the_rename,
}


@dataclass(frozen=True)
class Ordered:
    """Makes slow engines that carry out the orders lying in a folder, each order once."""

    folder: Path
    seconds: float
    """A document takes so long, until they are told to hurry."""

    @property
    def hurry(self) -> Path:
        return self.folder / "hurry"

    @property
    def hold(self) -> Path:
        return self.folder / "hold"

    @contextmanager
    def held(self) -> Iterator[None]:
        """No document is begun in here, however long it takes: the run does not end meanwhile."""
        self.hold.touch()
        try:
            yield
        finally:
            self.hold.unlink()

    def give(self, order: str) -> None:
        (self.folder / f"{order}-{time.monotonic_ns()}").touch()

    def open_orders(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.name.split("-")[0] in ORDERS]

    def withdraw(self) -> bool:
        """Take back what nobody has taken; whether there was nothing of the kind."""
        late = self.open_orders()
        for order in late:
            order.unlink(missing_ok=True)
        return not late

    def process_ids(self) -> list[int]:
        """Processes in which an engine was made, dead ones among them."""
        return sorted(int(path.name) for path in (self.folder / "processes").glob("*"))

    def __call__(self, settings: EngineSettings) -> "OrderedEngine":
        processes = self.folder / "processes"
        processes.mkdir(exist_ok=True)
        (processes / str(os.getpid())).touch()
        return OrderedEngine(self, settings.max_num_batched_tokens or STEP_TOKENS)


class OrderedEngine(FakeEngine):
    def __init__(self, orders: Ordered, step_tokens: int) -> None:
        super().__init__()
        self._orders = orders
        self.step_tokens = step_tokens

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        return super().score(self._obeying(windows))

    def _obeying(self, windows: Iterable[tuple[int, Window]]) -> Iterator[tuple[int, Window]]:
        for entry in windows:
            if not self._orders.hurry.exists():
                time.sleep(self._orders.seconds)
            while self._orders.hold.exists():
                time.sleep(0.05)
            for order in self._orders.open_orders():
                try:
                    order.unlink()  # whose unlink succeeds has the order
                except FileNotFoundError:
                    continue
                ORDERS[order.name.split("-")[0]]()
            yield entry


class Moment(NamedTuple):
    """A call of a driver, just before or after which it dies."""

    owner: Any
    name: str
    applies: Callable[..., bool]
    after: bool = False


def _always(*args: Any) -> bool:
    return True


def _moves(begin: str) -> Callable[..., bool]:
    return lambda source, target: Path(target).name.startswith(begin)


def _takes_the_lock(path: Path, source: Path) -> bool:
    return source.name.startswith(TEMPORARY_PREFIX)


MOMENTS = {
    "lock written, not taken": Moment(Path, "hardlink_to", _takes_the_lock),
    "engines up, no manifest": Moment(RunStore, "write_manifest", _always),
    "manifest written, not renamed": Moment(Path, "replace", _moves("manifest.json")),
    "before the first part": Moment(RunStore, "write_manifest", _always, after=True),
    "after the first part": Moment(RunStore, "clear_failure", _always),
    "all parts, no _SUCCESS": Moment(RunStore, "write_success", _always),
    "_SUCCESS written, not renamed": Moment(Path, "replace", _moves("_SUCCESS")),
    "_SUCCESS there, lock held": Moment(RunStore, "write_success", _always, after=True),
}

ON_DISK_ONLY = {moment for moment, call in MOMENTS.items() if call.owner is Path}
"""An object store has no temporary names."""


def die_at(moment: str) -> None:
    """From now on this process kills itself when it gets there."""
    _kill_before(pytest.MonkeyPatch(), *MOMENTS[moment])


def _kill_before(
    patch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    applies: Callable[..., bool],
    after: bool = False,
) -> None:
    real = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if applies(*args) and not after:
            kill_this_process()
        answer = real(*args, **kwargs)
        if applies(*args):
            kill_this_process()
        return answer

    patch.setattr(owner, name, deadly)
