"""Exact duplicates: documents whose texts have equal hashes.

Owns counting them, and finding one of each of the largest. Texts without a byte are left out:
statuses count those.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

MOST_CLUSTERS = 10
MOST_AT_A_TIME = 100_000_000
"""Documents whose hashes are held at a time; sorting takes 16 bytes for each."""
ROWS_AT_A_TIME = 1 << 18
SIEVE_BITS = 26
"""One byte for each leading-bit prefix of a hash: 64 MiB."""
Integers = npt.NDArray[np.int64]


class Cluster(BaseModel):
    """Documents with the same text."""

    num_documents: int
    num_tokens: int
    """Scored tokens of one of the copies."""
    num_bytes: int
    file: str
    """Together with `row`: the first of the copies in the order of the scores."""
    row: int


class Duplicates(BaseModel):
    """Of documents with a text that is not empty."""

    num_documents: int
    num_distinct: int
    num_copies: int
    """Documents minus distinct texts: what keeping one of each would remove."""
    copied_tokens: int
    """Scored tokens in the `num_copies` documents."""
    copied_bytes: int
    largest: list[Cluster]


def find_duplicates(scores: pl.LazyFrame) -> Duplicates:
    """Count copies by `text_hash`. Memory: 16 bytes per document, of MOST_AT_A_TIME, and what the
    copies take."""
    texts = scores.filter(pl.col("num_bytes") > 0, pl.col("text_hash").is_not_null())
    num_turns = turns_for(scores)
    counts, found = zip(
        *(_copied(texts, turn, num_turns) for turn in range(num_turns)), strict=True
    )
    num_documents, clusters = sum(counts), pl.concat(found)
    num_copies = int((clusters["documents"] - 1).sum())
    return Duplicates(
        num_documents=num_documents,
        num_distinct=num_documents - num_copies,
        num_copies=num_copies,
        copied_tokens=int((clusters["tokens"] - clusters["num_tokens"]).sum()),
        copied_bytes=int(((clusters["documents"] - 1) * clusters["num_bytes"]).sum()),
        largest=_located(
            texts, clusters.top_k(MOST_CLUSTERS, by=["documents", "num_bytes", "text_hash"])
        ),
    )


def turns_for(scores: pl.LazyFrame) -> int:
    """In how many turns hashes are taken, so that those of a turn fit in memory."""
    # Of all rows, which footers tell: counting the texts would read every hash once more.
    num_rows = int(scores.select(pl.len()).collect(engine="streaming").item())
    return max(1, -(-num_rows // MOST_AT_A_TIME))


def _copied(texts: pl.LazyFrame, turn: int, num_turns: int) -> tuple[int, pl.DataFrame]:
    """Of the texts whose turn it is: how many, and a row for each that is there more than once.

    Hashes are sorted, and then only copies are grouped: both together take a third of the time of
    grouping everything.
    """
    num_documents, likely = likely_copies(texts, turn, num_turns, "num_tokens", "num_bytes")
    clusters = (
        likely.lazy()
        .group_by("text_hash")
        .agg(
            pl.len().cast(pl.Int64).alias("documents"),
            # Of one text: a copy that could not be scored has no tokens.
            pl.col("num_tokens", "num_bytes").max(),
            pl.col("num_tokens").sum().alias("tokens"),
        )
        .filter(pl.col("documents") > 1)
        .collect(engine="streaming")
    )
    return num_documents, clusters


def likely_copies(
    texts: pl.LazyFrame,
    turn: int,
    num_turns: int,
    *columns: str,
    among: pl.LazyFrame | None = None,
) -> tuple[int, pl.DataFrame]:
    """Of the texts whose turn it is: how many, and, in order, [text_hash, and the columns] of those
    that are there more than once; of these only those `among` some of the texts, if it is given.
    Another text that begins like a copy comes through too."""
    is_own = pl.col("text_hash") % num_turns == turn if num_turns > 1 else pl.lit(True)
    hashes = _sorted_hashes(texts.filter(is_own))
    repeated = hashes.filter(hashes == hashes.shift()).unique()
    num_documents = len(hashes)
    del hashes
    sieve = np.zeros(1 << SIEVE_BITS, np.bool_)
    sieve[_beginnings(repeated)] = True
    likely = pl.concat(
        batch.filter(pl.Series(sieve[_beginnings(batch["text_hash"])]))
        for batch in _batches(
            (texts if among is None else among).filter(is_own), "text_hash", *columns
        )
    )
    return num_documents, likely


def _sorted_hashes(texts: pl.LazyFrame) -> pl.Series:
    """In 16 bytes each for a moment: Polars sorts a copy."""
    hashes = pl.concat([batch["text_hash"] for batch in _batches(texts, "text_hash")])
    return hashes.sort(in_place=True)


def _beginnings(hashes: pl.Series) -> Integers:
    """The first SIEVE_BITS of each."""
    return (hashes.to_numpy() >> (64 - SIEVE_BITS)) + (1 << (SIEVE_BITS - 1))


def _batches(rows: pl.LazyFrame, *columns: str) -> Iterator[pl.DataFrame]:
    """In order; the first has no row, so that there is one in any case."""
    wanted = rows.select(columns)
    yield wanted.clear().collect()
    yield from wanted.collect_batches(
        chunk_size=ROWS_AT_A_TIME, maintain_order=True, engine="streaming"
    )


def _located(texts: pl.LazyFrame, clusters: pl.DataFrame) -> list[Cluster]:
    places: dict[int, tuple[str, int]] = {}
    wanted = texts.filter(pl.col("text_hash").is_in(clusters["text_hash"].implode()))
    if clusters.height:
        # What is copied most is met early: the rest of the scores need not be read.
        for batch in _batches(wanted, "text_hash", "file", "row"):
            for text_hash, file, row in batch.iter_rows():
                places.setdefault(text_hash, (file, row))
            if len(places) == clusters.height:
                break
    rows = sorted(
        clusters.iter_rows(named=True),
        key=lambda row: (-row["documents"], -row["num_bytes"], places[row["text_hash"]]),
    )
    return [
        Cluster(
            num_documents=row["documents"],
            num_tokens=row["num_tokens"],
            num_bytes=row["num_bytes"],
            file=places[row["text_hash"]][0],
            row=places[row["text_hash"]][1],
        )
        for row in rows
    ]
