"""The corpus of a soak, and what scoring it undisturbed gives.

Owns the exact comparison: every row lost, doubled, changed or out of order is counted.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runs.cleanup import find_leftovers, remove_leftovers
from pipeline.runs.store import RunStore
from pipeline.verification.integrity import check_integrity
from tests.support.runs import score_corpus
from tests.support.tiny import save_llama

NUM_FILES = 10
GROUPS_PER_FILE = 24
ROWS_PER_GROUP = 8
KEY = ("file", "row")


@dataclass(frozen=True)
class Difference:
    """How a finished run differs from the undisturbed one."""

    lost: int
    doubled: int
    changed: int
    complaints: tuple[str, ...]
    """What the run's own checks say, and what cleaning up left behind."""

    @property
    def is_none(self) -> bool:
        return not (self.lost or self.doubled or self.changed or self.complaints)


class Undisturbed:
    """A corpus of a few hundred shards, and its scores made in this process, without Ray."""

    def __init__(self, folder: Path, num_files: int = NUM_FILES) -> None:
        self.corpus, self.model = folder / "corpus", folder / "model"
        self.corpus.mkdir()
        for file in range(num_files):
            _write(self.corpus / f"f{file:02d}.parquet", file)
        save_llama(self.model)
        self.settings: dict[str, Any] = {"dtype": "float32", "shard_tokens": 1, "carry": ["id"]}
        store = score_corpus(
            self.corpus,
            folder / "undisturbed",
            self.model,
            **self.settings | {"carry": ("id",)},
        )
        self.num_shards = len(store.require_manifest().shards)
        self._rows = _rows(store)
        self.num_rows = self._rows.height

    def compare(self, run: str) -> Difference:
        """A finished run, checked, cleaned up and held against this one."""
        store = RunStore(run)
        checks = check_integrity(store, store.require_manifest())
        complaints = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
        complaints += [f"given up: {failure}" for failure in store.failures()]
        remove_leftovers(store, list(find_leftovers(store)))
        complaints += [f"left behind: {name}" for name in _strangers(store)]
        rows = _rows(store)
        expected, found = Counter(_keys(self._rows)), Counter(_keys(rows))
        lost, doubled = (expected - found).total(), (found - expected).total()
        changed = 0
        if not lost and not doubled and not rows.equals(self._rows):
            changed = sum(a != b for a, b in zip(rows.rows(), self._rows.rows(), strict=True))
        return Difference(lost, doubled, changed, tuple(complaints))


def _write(path: Path, file: int) -> None:
    rows = range(GROUPS_PER_FILE * ROWS_PER_GROUP)
    texts = [f"document {row} of file {file} " + "and so on " * (row % 7) for row in rows]
    ids = [f"{file}/{row}" for row in rows]
    table = pa.table({"id": ids, "text": texts})
    pq.write_table(table, path, row_group_size=ROWS_PER_GROUP)


def _rows(store: RunStore) -> pl.DataFrame:
    """All score rows, part after part as they were written."""
    names = [store.part_name(shard) for shard in sorted(store.done())]
    return pl.concat(pl.read_parquet(store.root.read_bytes(name)) for name in names)


def _keys(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return rows.select(KEY).rows()


def _strangers(store: RunStore) -> list[str]:
    """Files that a finished and cleaned run should not have."""
    own = {"manifest.json", "_SUCCESS"}
    names = set(store.root.files(recursive=True)) - own
    return sorted(name for name in names if not name.startswith("scores/part-"))
