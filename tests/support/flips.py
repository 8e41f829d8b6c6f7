"""Single bits of a part flipped, and what a report then says, each in a process of its own.

Each process is forked from one that has imported everything and not started Polars yet: it costs
what the report costs. What kills a process kills that one.
"""

import json
import multiprocessing
import random
import signal
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import polars  # noqa: F401
import pyarrow.parquet  # noqa: F401

SECONDS = 60.0
UNCHANGED, REFUSED = "unchanged", "refused"


class Outcome(NamedTuple):
    """What came of one flipped bit."""

    bit: int
    kind: str
    """UNCHANGED, REFUSED, or what else, for people."""
    said: str = ""


def figures(run: Path) -> str:
    """Everything that a report says of rows, and the rows themselves."""
    from pipeline.reports.report import build_report
    from pipeline.runs.scores import read_scores

    report = build_report(run, by="source", fail_if="p95(perplexity) > 1", text=False)
    said = report.model_dump(mode="json", exclude={"generated_at", "provenance", "examples"})
    rows = read_scores(run).collect()
    return json.dumps([said, rows.hash_rows(seed=7).to_list()], default=str)


def _child(run: Path, sink: Connection) -> None:
    from jobs.console import screen
    from jobs.console.ending import _report_error

    lines: list[str] = []
    screen.say = lambda text, **_: lines.append(text)  # type: ignore[assignment]
    try:
        sink.send((0, figures(run)))
    except Exception as error:
        code = _report_error(error)
        sink.send((code, "\n".join(lines)))


def outcome_of(run: Path, part: Path, whole: bytes, bit: int, right: str) -> Outcome:
    """Flip one bit of the part, report in a process, and put the part back."""
    torn = bytearray(whole)
    torn[bit // 8] ^= 1 << bit % 8
    part.write_bytes(torn)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "jobs.console.ending", "pipeline.reports.report"])
    source, sink = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(run, sink))
    child.start()
    sink.close()
    try:
        code, said = source.recv() if source.poll(SECONDS) else (None, "no answer")
    except EOFError:
        code, said = None, "no answer"
    finally:
        child.join(1)
        if child.is_alive():
            child.kill()
            child.join()
        part.write_bytes(whole)
    if code is None:
        name = signal.Signals(-child.exitcode).name if (child.exitcode or 0) < 0 else "an exit"
        return Outcome(bit, f"ended by {name}", said)
    if code == 0:
        return Outcome(bit, UNCHANGED if said == right else "other figures")
    is_told = code == 2 and part.name in said and said.count("\n") == 1 and "Hint: " in said
    return Outcome(bit, REFUSED if is_told else f"exit code {code}", said)


def flip_bits(run: Path, part: Path, number: int, seed: int) -> Iterator[Outcome]:
    """Bits spread over the whole part, each in one of `number` equal stretches."""
    whole, chance = part.read_bytes(), random.Random(seed)
    right = figures(run)
    bits = len(whole) * 8
    for i in range(number):
        first, last = bits * i // number, bits * (i + 1) // number
        yield outcome_of(run, part, whole, chance.randrange(first, max(first + 1, last)), right)


def counted(outcomes: list[Outcome]) -> dict[str, int]:
    return dict(Counter(outcome.kind for outcome in outcomes))
