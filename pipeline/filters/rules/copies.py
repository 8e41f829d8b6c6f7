"""`drop_copies`: of documents with the same text, one.

Equal texts have equal hashes and sizes. Of those that the rules about a document itself keep, the
first in the order of the corpus stays, or the first of those with the lowest or highest metric; so
no text is lost because a copy of it was dropped for another reason. A budget is spent afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.filters.config import DropCopies, FilterConfig
from pipeline.filters.rule import Rule, metric_value
from pipeline.reports.duplicates import likely_copies, turns_for

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Copies(Rule):
    """One document for each text."""

    stays: DropCopies
    metric: str
    dropped: dict[str, Mask] | None = None
    """Whether a row is dropped, by file and row, up to the last row that is."""

    of_kept: ClassVar[int] = 1

    @property
    def metrics(self) -> tuple[str, ...]:
        return () if self.stays == "first" else (self.metric,)

    @property
    def columns(self) -> dict[str, pl.Expr]:
        return {"text_hash": pl.col("text_hash")}

    def find(self, rows: pl.LazyFrame, *, keeps_unscored: bool = False) -> Self:
        # What is not there twice is not kept twice: only likely copies are asked what is kept.
        texts = rows.filter(pl.col("text_hash").is_not_null())
        kept = texts.filter("scored", "keep")
        order = [pl.col("text_hash"), pl.col("bytes")]
        columns = ["bytes", "file", "row"]
        if self.stays != "first":
            kept = kept.with_columns(value=metric_value(self.metric))
            columns.append("value")
            order.append(pl.col("value") if self.stays == "low" else -pl.col("value"))
        num_turns = turns_for(rows)
        found: list[pl.DataFrame] = []
        for turn in range(num_turns):
            _, likely = likely_copies(texts, turn, num_turns, *columns, among=kept)
            ordered = likely.sort(order, maintain_order=True)
            is_copy = pl.struct("text_hash", "bytes") == pl.struct("text_hash", "bytes").shift()
            found.append(ordered.filter(is_copy).select("file", "row"))
        return replace(self, dropped=_masks(pl.concat(found)))

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        stays = pl.map_batches(
            ["file", "row"], self._stays, return_dtype=pl.Boolean, is_elementwise=True
        )
        return rows.with_columns(stays.alias(name))

    def _stays(self, columns: Sequence[pl.Series]) -> pl.Series:
        """Whether each of [file, row] stays."""
        assert self.dropped is not None
        files, rows = columns[0], columns[1].to_numpy()
        stays, at = np.ones(len(rows), np.bool_), 0
        # Rows of a file lie together: a lookup a run of rows, not a row.
        runs = files.rle().struct
        for file, size in zip(runs.field("value"), runs.field("len"), strict=True):
            mask, own = self.dropped.get(file), rows[at : at + size]
            if mask is not None:
                inside = own < len(mask)
                stays[at : at + size][inside] = ~mask[own[inside]]
            at += size
        return pl.Series(stays)


def _masks(dropped: pl.DataFrame) -> dict[str, Mask]:
    masks = {}
    for (file,), rows in dropped.partition_by("file", as_dict=True).items():
        own = rows["row"].to_numpy()
        masks[str(file)] = mask = np.zeros(int(own.max()) + 1, np.bool_)
        mask[own] = True
    return masks


def make(config: FilterConfig) -> list[Rule]:
    """The rule, if it is asked for."""
    return [] if config.drop_copies is None else [Copies(config.drop_copies, config.chosen_metric)]
