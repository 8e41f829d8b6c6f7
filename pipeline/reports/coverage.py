"""What became of every input row of a run: statuses, reasons, files that could not be read."""

from typing import Any

import polars as pl
from pydantic import BaseModel

from pipeline.runs.manifest import Manifest
from pipeline.runs.store import RunStore


class Coverage(BaseModel):
    """What became of every input row."""

    num_rows_planned: int
    num_shards: int
    num_shards_done: int
    statuses: dict[str, int]
    errors: dict[str, int]
    """Number of rows by the reason why they were skipped or failed."""
    unreadable_files: dict[str, str]
    given_up: list[dict[str, Any]]


def coverage_of(
    scores: pl.LazyFrame, store: RunStore, manifest: Manifest, num_shards_done: int
) -> Coverage:
    """Of the score rows there are."""
    return Coverage(
        num_rows_planned=manifest.num_rows,
        num_shards=len(manifest.shards),
        num_shards_done=num_shards_done,
        statuses=_count(scores, "status"),
        errors=_count(scores.drop_nulls("error"), "error"),
        unreadable_files=manifest.unreadable,
        given_up=store.failures(),
    )


def _count(scores: pl.LazyFrame, column: str) -> dict[str, int]:
    """Rows by value, the most frequent first, ties by name."""
    counts = scores.group_by(column).len().sort("len", column, descending=[True, False])
    return dict(counts.collect(engine="streaming").iter_rows())
