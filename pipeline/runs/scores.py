"""The score rows of a run as one lazy Polars frame.

Owns which files are a run's parts: those of the frozen plan, and nothing else that may lie there.
"""

from pathlib import Path

import polars as pl
import pyarrow.dataset as ds

from pipeline.runs.manifest import Manifest
from pipeline.runs.store import RunStore


def read_scores(run: str | Path) -> pl.LazyFrame:
    """The score rows of a run, in the order of its corpus; so far, if it is not finished.

    `run` is a run directory, local or a URI such as s3://bucket/run. One row an input document,
    with `file` and `row`, the carried columns and those of `Scorer.score`. Raises RunError where
    there is no run.

    >>> from pipeline import read_scores
    >>> scores = read_scores("runs/first").filter(status="ok").collect()
    >>> scores.select("file", "row", "source").row(0)
    ('0.parquet', 0, 'prose')
    """
    store = RunStore(str(run))
    return scan_scores(store, store.require_manifest())


def scan_scores(store: RunStore, manifest: Manifest) -> pl.LazyFrame:
    """Every committed score row, in order of shards; an empty frame where there is none yet."""
    planned = {shard.id for shard in manifest.shards}
    return scan_parts(store, manifest, sorted(store.done() & planned))


def scan_parts(store: RunStore, manifest: Manifest, shards: list[int]) -> pl.LazyFrame:
    """The score rows of these shards, in the order given."""
    parts = [store.root.full(store.part_name(shard)) for shard in shards]
    if not parts:
        return pl.from_arrow(manifest.arrow_schema().empty_table()).lazy()  # type: ignore[union-attr]
    if store.root.is_local:
        return pl.scan_parquet(parts, glob=False)
    return pl.scan_pyarrow_dataset(ds.dataset(parts, filesystem=store.root.filesystem))
