"""The documents at the quantiles and at both ends, with the beginning of their texts.

Owns choosing them, and reading texts back out of a corpus that may be gone or changed by now: a
text is shown only if its hash is that of the text that was scored.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from pipeline.corpus.identity import check_texts
from pipeline.corpus.reader import open_file
from pipeline.errors import CorpusChangedError, WinnowError, first_line
from pipeline.runs.ids import shown_id
from pipeline.runs.manifest import Manifest
from pipeline.statistics.sketches import Sketch
from pipeline.storage.filesystem import Root

NUM_EXTREMES = 5
EXCERPT_CHARACTERS = 300
METRIC = "perplexity"
NEAR = 32
"""How many documents just above a quantile are searched for the nearest one, if they were evenly
spread."""


class Example(BaseModel):
    """A document that stands for its place in the distribution of perplexity."""

    place: str
    """The place in the distribution: lowest, p1, ..., p99 or highest."""
    file: str
    row: int
    doc_id: str | None
    num_tokens: int
    perplexity: float
    bits_per_byte: float | None
    excerpt: str | None
    """The first EXCERPT_CHARACTERS of the text. Null if excerpts were not requested, or for the
    reason in `missing`."""
    is_whole: bool = False
    """Whether the excerpt is the whole text."""
    missing: str | None = None
    """Why a requested excerpt could not be read."""


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
    excerpts = {} if corpus is None else read_excerpts(corpus, manifest.text_column, rows)
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
    return (
        scored.filter(
            pl.col("file").is_in(places["file"].unique().implode()),
            pl.col(METRIC).is_in(places[METRIC].unique().implode()),
        )
        .select(*LOCATED, *SHOWN, shown_id(scores))
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


def read_excerpts(
    root: Root, text_column: str, rows: pl.DataFrame
) -> dict[tuple[str, int], dict[str, Any]]:
    """Locator to `excerpt`, `is_whole` and `missing`, as an Example has them.

    `rows` have `file`, `row` and `text_hash`. What cannot be read is said of its row.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for (file,), wanted in rows.partition_by("file", as_dict=True).items():
        hashes = dict(wanted.select("row", "text_hash").sort("row").iter_rows())
        try:
            for row, text in _texts(root, file, list(hashes), text_column):
                found[file, row] = _excerpt(file, row, text, hashes[row])
            reason = f"{file} no longer has that row"
        except (WinnowError, pa.ArrowException) as error:
            cause = error.__cause__ or error
            reason = f"{file} cannot be read: {first_line(cause)}"
            if isinstance(cause, FileNotFoundError):
                reason = f"{file} is no longer in the corpus"
        for row in hashes:
            found.setdefault((file, row), {"excerpt": None, "missing": reason})
    return found


def _excerpt(file: str, row: int, column: pa.Array, text_hash: int | None) -> dict[str, Any]:
    try:
        check_texts(file, row, column, pa.array([text_hash], pa.int64()))
    except CorpusChangedError:
        return {"excerpt": None, "missing": "the text is not the one that was scored"}
    text = column.cast(pa.large_string())[0].as_py()
    return {"excerpt": text[:EXCERPT_CHARACTERS], "is_whole": len(text) <= EXCERPT_CHARACTERS}


def _texts(root: Root, file: str, rows: list[int], column: str) -> Iterator[tuple[int, pa.Array]]:
    """(row, a column of its text alone) of some rows, ascending."""
    with open_file(root, file, [column]) as source:
        for own, batch in source.rows_at(np.array(rows), [column]):
            for index, row in enumerate(own.tolist()):
                yield row, batch.column(0).slice(index, 1)
