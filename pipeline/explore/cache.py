"""Bins kept beside the run, so that the next look at it starts at once.

Owns the file: a digest of what follows, a line that says what it is of, and the cells. One of other
scores, or damaged, is made anew and replaced; where nothing may be written nothing is kept.
"""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from hashlib import blake2b

import polars as pl

from pipeline.errors import WinnowError
from pipeline.explore.bins import CELL_COLUMNS, Bins, Scale, fill_bins, group_of
from pipeline.explore.run import ExploredRun

FORM = 2
DIGEST_BYTES = 16
FEWEST_ROWS = 500_000
"""Runs with fewer rows are not cached: they are counted before a page is drawn."""


def cached_bins(
    run: ExploredRun,
    metric: str,
    by: str | None,
    *,
    progress: Callable[[int], None] = lambda rows: None,
) -> Bins:
    """The bins of all rows, from the cache if it has them. Raises as `group_of`, `fill_bins`."""
    name = _name(metric, by)
    key = {"form": FORM, "identity": run.identity_of(metric), "metric": metric, "by": by}
    if (kept := _load(run, name, key)) is not None:
        return kept
    bins = fill_bins(run, metric, group_of(run, by), progress=progress)
    if run.num_rows >= FEWEST_ROWS:
        _save(run, name, key, bins)
    return bins


def _name(metric: str, by: str | None) -> str:
    return f"explore/{_digest(json.dumps([metric, by]).encode()).hex()}.bins"


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def _load(run: ExploredRun, name: str, key: dict[str, object]) -> Bins | None:
    try:
        content = run.store.root.read_bytes(name)
    except (OSError, WinnowError):
        return None
    digest, rest = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if digest != _digest(rest):
        return None
    line, _, table = rest.partition(b"\n")
    said = json.loads(line)
    if any(said[name] != value for name, value in key.items()):
        return None
    cells = pl.read_ipc(io.BytesIO(table)).select(CELL_COLUMNS)
    return Bins(Scale(**said["scale"]), tuple(said["groups"]), cells)


def _save(run: ExploredRun, name: str, key: dict[str, object], bins: Bins) -> None:
    said = {**key, "scale": asdict(bins.scale), "groups": bins.groups}
    table = io.BytesIO()
    bins.cells.write_ipc(table, compression="zstd")
    content = json.dumps(said).encode() + b"\n" + table.getvalue()
    try:
        run.store.root.write_bytes(name, _digest(content) + content)
    except (OSError, WinnowError):  # read-only: the next look counts again
        return
