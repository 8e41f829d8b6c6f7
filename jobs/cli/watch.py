"""`winnow status --watch`: the progress of a run, on a terminal, in a log or as JSON lines.

Owns when to update, how an update is shown, and when to stop. Reading the run is
pipeline/runs/status.py's.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar

from jobs.console import screen
from jobs.console.ending import code_of
from jobs.console.signals import Terminated
from pipeline.errors import RunError
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import duration, number, percent_of, share
from pipeline.rendering.table import facts_table
from pipeline.rendering.terminal import drawn
from pipeline.runs.lock import is_alive, read_holder
from pipeline.runs.manifest import Manifest
from pipeline.runs.status import Snapshot, Watch, damage
from pipeline.runs.store import RunStore


def watch_and_print(run: str, interval: float, *, as_json: bool) -> int:
    """Look every `interval` seconds until the run ends. The exit code: that of the run.

    0 once it is finished, 1 if anything was given up or lost or its driver is gone, that of the
    signal if a signal ended the watching. A run that is not there yet is waited for. Raises
    RunError where something else is.
    """
    messages = screen.messages()
    console = screen.data()
    last: Snapshot | None = None
    try:
        with ExitStack() as stack:
            live: Live | None = None
            for seen in follow(RunStore(run), interval, messages):
                if as_json:
                    print(seen.model_dump_json(), flush=True)
                elif console.is_terminal:
                    live = live or stack.enter_context(Live(console=console, auto_refresh=False))
                    live.update(shown(seen, console.width), refresh=True)
                elif not seen.same_as(last):
                    print(line(seen), flush=True)
                last = seen
    except (KeyboardInterrupt, Terminated) as stop:
        messages.print("Stopped watching; the run continues." if last else "Stopped waiting.")
        return code_of(stop)
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
        # Counted from the end of an update, so that a slow store gets a pause between two.
        time.sleep(interval)


def _planned(store: RunStore, interval: float, messages: Console) -> Manifest:
    """Wait for the plan. Raises RunError where something other than a run is."""
    told = ""
    while (manifest := store.manifest()) is None:
        try:
            store.check_free()
        except RunError:
            # The plan may have appeared since it was looked for.
            return store.require_manifest()
        holder = read_holder(store.root)
        waiting = "there is no run yet; waiting for winnow score to start one"
        if holder is not None and is_alive(holder):
            waiting = f"the run is not planned yet; waiting for {holder}, which is starting engines"
        if waiting != told:
            messages.print(f"{plain(store.location)}: {plain(waiting)}")
        told = waiting
        time.sleep(interval)
    return manifest


def require_planned(store: RunStore) -> Manifest:
    """The plan. Raises RunError if there is none, naming the process that is making it."""
    manifest = store.manifest()
    holder = None if manifest else read_holder(store.root)
    if holder is not None and is_alive(holder):
        raise RunError(
            f"{store.location} is not planned yet: {holder} is starting engines",
            hint="the plan is written once the model is loaded; wait for it with --watch",
        )
    return manifest or store.require_manifest()


def line(seen: Snapshot) -> str:
    """One update as a line, for logs."""
    return plain("  ".join(value for _, value in _facts(seen)))


def shown(seen: Snapshot, width: int) -> Group:
    """One update as a table and a bar, for a terminal of some width."""
    bar = ProgressBar(total=max(1, seen.rows), completed=seen.rows_done, width=min(40, width))
    return Group(drawn(facts_table([("run", seen.run), *_facts(seen)]), width), bar)


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
    if seen.mfu is not None:
        found.append(("MFU", f"MFU {share(seen.mfu)}"))
    if seen.eta_seconds is not None:
        found.append(("left", f"{duration(seen.eta_seconds)} left"))
    if seen.given_up:
        found.append(("given up", f"{seen.given_up:,} given up"))
    if seen.driver:
        found.append(("driver", f"driven by {seen.driver}"))
    return found
