"""The documents at the quantiles and at both ends, with the beginning of their texts.

Owns choosing them, and reading texts back out of a corpus that may be gone or changed by now: a
text is shown only if its hash is that of the text that was scored.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from pipeline.errors import WinnowError, first_line
from pipeline.runs.manifest import Manifest
from pipeline.statistics.hashing import hash_text
from pipeline.statistics.sketches import Sketch
from pipeline.storage.filesystem import Root

NUM_EXTREMES = 5
EXCERPT_CHARACTERS = 300
METRIC = "perplexity"
ROWS_AT_A_TIME = 256
NEAR = 32
"""Documents above a quantile among which to find the nearest, were they evenly spread."""


class Example(BaseModel):
    """A document that stands for its place in the distribution of perplexity."""

    place: str
    """lowest, p1, ..., p99 or highest."""
    file: str
    row: int
    doc_id: str | None
    num_tokens: int
    perplexity: float
    bits_per_byte: float | None
    excerpt: str | None
    """The first EXCERPT_CHARACTERS of the text. Null: not asked for, or see `missing`."""
    is_whole: bool = False
    """Whether the excerpt is the whole text."""
    missing: str | None = None
    """Why there is no excerpt although it was asked for."""


LOCATED = [METRIC, "file", "row"]
SHOWN = ["num_tokens", "bits_per_byte", "text_hash"]


def find_examples(
    scores: pl.LazyFrame,
    manifest: Manifest,
    sketch: Sketch,
    quantiles: dict[str, float],
    *,
    corpus: Root | None,
) -> list[Example]:
    """Those at the low end, at the quantiles and at the high end, each by ascending perplexity.

    `sketch` and `quantiles` are of perplexity. Excerpts are read back from `corpus`,
    if it is given.
    """
    if not quantiles:
        return []
    rows = _chosen(scores, sketch, quantiles)
    excerpts = {} if corpus is None else _excerpts(corpus, manifest.text_column, rows)
    return [
        Example(
            place=row["place"],
            file=row["file"],
            row=row["row"],
            doc_id=row["doc_id"],
            num_tokens=row["num_tokens"],
            perplexity=row[METRIC],
            bits_per_byte=row["bits_per_byte"],
            **excerpts.get((row["file"], row["row"]), {"excerpt": None}),
        )
        for row in rows.iter_rows(named=True)
    ]


def _chosen(scores: pl.LazyFrame, sketch: Sketch, quantiles: dict[str, float]) -> pl.DataFrame:
    """The documents, by place.

    Of documents in one file with the same perplexity, the first stands for all.
    """
    scored = scores.filter(pl.col(METRIC).is_not_null())
    ranges = [_ends(sketch), _ends(sketch, high=True)]
    for value in quantiles.values():
        ranges += sketch.above(value, NEAR)
    near = (
        scored.filter(pl.any_horizontal(pl.col(METRIC).is_between(*ends) for ends in ranges))
        .group_by(METRIC, "file")
        .agg(pl.col("row").min())
        .collect(engine="streaming")
        .sort(LOCATED)
    )
    # Of few documents the lowest may be the highest too.
    num_highest = min(NUM_EXTREMES, max(0, near.height - NUM_EXTREMES))
    named = {"lowest": near.head(NUM_EXTREMES)}
    for place, value in quantiles.items():
        named[place] = near.filter(pl.col(METRIC) >= value).head(1)
    named["highest"] = near.tail(num_highest)
    places = pl.concat(
        part.select(pl.lit(place).alias("place"), *LOCATED) for place, part in named.items()
    ).with_row_index("order")
    doc_id = pl.col("doc_id") if "doc_id" in scores.collect_schema() else pl.lit(None)
    return (
        scored.filter(
            pl.col("file").is_in(places["file"].unique().implode()),
            pl.col(METRIC).is_in(places[METRIC].unique().implode()),
        )
        .select(*LOCATED, *SHOWN, doc_id.cast(pl.String).alias("doc_id"))
        .join(places.lazy(), on=LOCATED)
        .collect(engine="streaming")
        .sort("order")
    )


def _ends(sketch: Sketch, *, high: bool = False) -> tuple[float, float]:
    """A range that holds the documents at one end."""
    documents = sketch.documents[::-1] if high else sketch.documents
    last = int(np.searchsorted(documents.cumsum(), NUM_EXTREMES))
    at = min(last, len(documents) - 1)
    if high:
        return float(sketch.low[-1 - at]), float(sketch.high[-1])
    return float(sketch.low[0]), float(sketch.high[at])


def _excerpts(
    root: Root, text_column: str, rows: pl.DataFrame
) -> dict[tuple[str, int], dict[str, Any]]:
    """Locator to the fields of an Example that depend on the corpus."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for (file,), wanted in rows.partition_by("file", as_dict=True).items():
        hashes = dict(wanted.select("row", "text_hash").iter_rows())
        try:
            for row, text in _texts(root, file, sorted(hashes), text_column):
                found[file, row] = _excerpt(text, hashes[row])
            reason = f"{file} has no such row any more"
        except FileNotFoundError:
            reason = f"{file} is not in the corpus any more"
        except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError, WinnowError) as error:
            reason = f"{file} cannot be read: {first_line(error)}"
        for row in hashes:
            found.setdefault((file, row), {"excerpt": None, "missing": reason})
    return found


def _excerpt(text: str | None, text_hash: int | None) -> dict[str, Any]:
    if text is None or hash_text(text) != text_hash:
        return {"excerpt": None, "missing": "the text is not the one that was scored"}
    return {"excerpt": text[:EXCERPT_CHARACTERS], "is_whole": len(text) <= EXCERPT_CHARACTERS}


def _texts(root: Root, file: str, rows: list[int], column: str) -> Iterator[tuple[int, str | None]]:
    """(row, text) of some rows, in order; of each row group only what is needed is read."""
    with (
        root.open_input(file) as source,
        pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False) as parquet,
    ):
        first, waiting = 0, deque(rows)
        for group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(group).num_rows
            at = first
            first += num_rows
            if not waiting or waiting[0] >= first:
                continue
            for batch in parquet.iter_batches(
                batch_size=ROWS_AT_A_TIME, row_groups=[group], columns=[column]
            ):
                while waiting and waiting[0] < at + len(batch):
                    row = waiting.popleft()
                    yield row, batch.column(column)[row - at].as_py()
                at += len(batch)
                if not waiting or waiting[0] >= first:
                    break
