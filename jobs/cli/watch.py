"""`winnow status --watch`: a run as it goes on, on a terminal, in a log or as JSON lines.

Owns when to look, what a look is shown as, and when to stop looking. What there is to see is
pipeline/runs/status.py's.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.console import screen
from jobs.console.ending import INTERRUPTED
from pipeline.errors import RunError
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import number, percent_of
from pipeline.runs.lock import is_alive, read_holder
from pipeline.runs.manifest import Manifest
from pipeline.runs.status import Snapshot, Watch, damage
from pipeline.runs.store import RunStore


def watch_and_print(run: str, interval: float, *, as_json: bool) -> int:
    """Look every `interval` seconds until the run ends. The exit code: that of the run.

    0 once it is finished, 1 if anything was given up or lost or its driver is gone, 130 if the
    watching was interrupted. Raises RunError where there is no run.
    """
    messages = screen.messages()
    console = screen.data()
    try:
        with ExitStack() as stack:
            live: Live | None = None
            last: Snapshot | None = None
            for seen in follow(RunStore(run), interval, messages):
                if as_json:
                    print(seen.model_dump_json(), flush=True)
                elif console.is_terminal:
                    live = live or stack.enter_context(Live(console=console, auto_refresh=False))
                    live.update(shown(seen), refresh=True)
                elif not seen.same_as(last):
                    print(line(seen), flush=True)
                last = seen
    except KeyboardInterrupt:
        messages.print("Stopped watching; the run goes on.")
        return INTERRUPTED
    assert last is not None
    for failure in last.failures:
        what = failure.get("file") or f"shard {failure.get('shard')}"
        text = plain(f"Given up: {what}: {failure['reason']}")
        messages.print(text, style="yellow")
    if last.state == "damaged":
        messages.print(f"Damaged: {damage(last.shards - last.shards_done)}", style="yellow")
    if last.state == "stopped":
        messages.print(
            "No process is scoring this run. Repeat the command that started it to resume.",
        )
    return last.exit_code


def follow(store: RunStore, interval: float, messages: Console) -> Iterator[Snapshot]:
    """A look now and one every `interval` seconds; the last one is of a run that has ended."""
    watch = Watch(store, _planned(store, interval, messages))
    while True:
        seen = watch.look()
        yield seen
        if seen.state != "running":
            return
        # Counted from the end of a look: however slow a store is, it has a rest between two.
        time.sleep(interval)


def _planned(store: RunStore, interval: float, messages: Console) -> Manifest:
    """The plan, waited for as long as somebody is making it. Raises RunError."""
    told = False
    while True:
        try:
            return require_planned(store)
        except RunError:
            if not is_being_planned(store):
                # The plan may have appeared, and its driver gone, since the first look.
                return store.require_manifest()
        if not told:
            messages.print(f"{plain(store.location)} is not planned yet; waiting")
            told = True
        time.sleep(interval)


def require_planned(store: RunStore) -> Manifest:
    """The plan. Raises RunError where there is none, naming who is making it."""
    manifest = store.manifest()
    if manifest is None and is_being_planned(store):
        raise RunError(
            f"{store.location} is not planned yet: {read_holder(store.root)} is starting engines",
            hint="the plan is written once the model is loaded; --watch waits for it",
        )
    return manifest or store.require_manifest()


def is_being_planned(store: RunStore) -> bool:
    """Whether somebody who lives holds the lock."""
    holder = read_holder(store.root)
    return holder is not None and is_alive(holder)


def line(seen: Snapshot) -> str:
    """A look in a line, for logs."""
    return plain("  ".join(value for _, value in _facts(seen)))


def shown(seen: Snapshot) -> Table:
    """A look as a bar and a table, for a terminal."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("run", Text(plain(seen.run)))
    table.add_row("", ProgressBar(total=max(1, seen.rows), completed=seen.rows_done, width=40))
    for name, value in _facts(seen):
        table.add_row(name, Text(plain(value)))
    return table


def _facts(seen: Snapshot) -> list[tuple[str, str]]:
    found = [
        ("seen", seen.at),
        ("state", seen.state),
        ("shards", f"{seen.shards_done:,} of {seen.shards:,} shards"),
        ("documents", f"{seen.rows_done:,} of {seen.rows:,} documents"),
        ("done", percent_of(seen.rows_done, seen.rows)),
        ("tokens", f"{seen.tokens_done:,} tokens"),
    ]
    if seen.rows_per_second is not None and seen.tokens_per_second is not None:
        rows, tokens = number(seen.rows_per_second), number(seen.tokens_per_second)
        found.append(("speed", f"{tokens} tokens/s, {rows} documents/s"))
    if seen.eta_seconds is not None:
        found.append(("left", f"{duration(seen.eta_seconds)} left"))
    if seen.given_up:
        found.append(("given up", f"{seen.given_up:,} given up"))
    if seen.driver:
        found.append(("driver", f"driven by {seen.driver}"))
    return found


def duration(seconds: float) -> str:
    """A span of time in its two largest units: "3 h 20 min"."""
    whole = max(0, round(seconds))
    units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    for (big, size), (small, part) in pairwise(units):
        if whole >= size:
            return f"{whole // size} {big} {whole % size // part} {small}"
    return f"{whole} s"
