"""The score rows of runs as columns in memory, for statistics that need every document at once.

Owns reading no more than those columns, narrow, and the numbers that stand for a document and for
its group in every run alike. About 37 bytes per row.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.reports.groups import group_code
from pipeline.reports.sampled import WEIGHT
from pipeline.runs.ids import shown_id
from pipeline.runs.manifest import Manifest
from pipeline.schema import COUNTS
from pipeline.statistics.bootstrap import ROW_BITS, Mask, Values
from pipeline.statistics.columns import column_named

TYPES: dict[str, npt.DTypeLike] = {
    "key": np.int64,
    "id": np.int64,
    "text_hash": np.int64,
    "nll": np.float64,
    "num_tokens": np.uint32,
    "num_scored_bytes": np.uint32,
    "num_scored_words": np.uint32,
    "weight": np.float64,
}
Ids = npt.NDArray[np.int64]
ID_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A run's rows in order of `key`; every array has shape [num_rows]."""

    key: npt.NDArray[np.int64]
    """The locator: the file's number << ROW_BITS | row."""
    text_hash: npt.NDArray[np.int64]
    """Hash of the text; 0 if there is no text."""
    nll: Values
    """Negative log-likelihood in nats; NaN if the row has no score."""
    num_tokens: npt.NDArray[np.uint32]
    num_scored_bytes: npt.NDArray[np.uint32]
    num_scored_words: npt.NDArray[np.uint32]
    weight: Values | None = None
    """Rows of the corpus that each row stands for, if the run scored a sample."""
    groups: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    """By column, the position of each row in the list of groups."""

    def scored(self) -> Mask:
        """Rows that count: with a score, of at least one token and byte."""
        return ~np.isnan(self.nll) & (self.num_tokens > 0) & (self.num_scored_bytes > 0)

    def metric(self, name: str, rows: Mask | npt.NDArray[np.int64]) -> Values:
        """Of the rows: `log_perplexity` in nats per token, or `bits_per_byte`."""
        if name == "log_perplexity":
            return self.nll[rows] / self.num_tokens[rows]
        return self.nll[rows] / self.num_scored_bytes[rows] / math.log(2)


def file_order(manifests: Iterable[Manifest]) -> list[str]:
    """Every file name of any of the runs, ascending: a file's number is its position."""
    return sorted({file.path for manifest in manifests for file in manifest.files})


def read_sample(scores: pl.LazyFrame, files: list[str], groups: dict[str, list[str]]) -> Sample:
    """Read a run. `files` is file_order's; `groups` names the groups of each column."""
    columns = {
        "key": _key(files),
        "text_hash": pl.col("text_hash").fill_null(0),
        "nll": pl.col("nll").fill_null(math.nan),
        **{name: column_named(name).cast(pl.UInt32) for name in COUNTS},
    }
    if WEIGHT in scores.collect_schema():
        columns["weight"] = pl.col(WEIGHT)
    for column, names in groups.items():
        columns[f"group:{column}"] = group_code(column, names).cast(pl.UInt8)
    arrays = _in_order(scores, columns)
    named = {column: arrays.pop(f"group:{column}") for column in groups}
    return Sample(groups=named, **arrays)


def read_ids(scores: pl.LazyFrame, files: list[str]) -> Ids:
    """A number for each row's id, in the order of `read_sample`; 0 where it has none.

    64 bits of Polars' hash, which is the same throughout a process. An id alone pairs nothing: its
    text must be the same too, so a wrong pair takes two hashes that collide, 128 bits. Ids that
    collide in one run count as repeated.
    """
    text = shown_id(scores)
    number = text.hash(ID_SEED).reinterpret(signed=True)
    columns = {"key": _key(files), "id": pl.when(text.is_not_null()).then(number).otherwise(0)}
    return _in_order(scores, columns)["id"]


def _key(files: list[str]) -> pl.Expr:
    number = pl.col("file").cast(pl.Enum(files)).to_physical().cast(pl.Int64)
    return number * (1 << ROW_BITS) + pl.col("row")


def _in_order(scores: pl.LazyFrame, columns: dict[str, pl.Expr]) -> dict[str, npt.NDArray[Any]]:
    """The columns as arrays, in order of `key`, which is one of them."""
    # In batches, into place: collected at once, the file names alone outweigh all that is kept.
    num_rows = scores.select(pl.len()).collect().item()
    arrays = {name: np.empty(num_rows, TYPES.get(name, np.uint8)) for name in columns}
    filled = 0
    for batch in scores.select(**columns).collect_batches(maintain_order=True):
        for name, array in arrays.items():
            array[filled : filled + batch.height] = batch[name].to_numpy()
        filled += batch.height
    key = arrays["key"]
    if np.any(key[1:] < key[:-1]):
        order = np.argsort(key, kind="stable")
        arrays = {name: arrays.pop(name)[order] for name in list(arrays)}
    return arrays
