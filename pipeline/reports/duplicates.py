"""Exact duplicates: documents whose texts have equal hashes.

Owns counting them, and finding one of each of the largest. Texts without a byte are left out:
statuses count those.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

MOST_CLUSTERS = 10
Integers = npt.NDArray[np.int32]
SAMPLED = 10_000
MOST_AT_A_TIME = 1 << 27
"""Documents whose hashes are held: of more, half hashes would be alike by chance too often."""


class Cluster(BaseModel):
    """Documents with the same text."""

    num_documents: int
    num_tokens: int
    """Of one of them."""
    num_bytes: int
    file: str
    """With `row`: one of them, the first by name of file and row."""
    row: int


class Duplicates(BaseModel):
    """Of documents with a text that is not empty."""

    num_documents: int
    num_distinct: int
    num_copies: int
    """Documents less distinct texts: what keeping one of each would remove."""
    copied_tokens: int
    """Scored tokens in those copies."""
    copied_bytes: int
    largest: list[Cluster]


def find_duplicates(scores: pl.LazyFrame) -> Duplicates:
    """Count copies by `text_hash`. Memory: about 10 bytes a document, of MOST_AT_A_TIME."""
    texts = scores.filter(pl.col("num_bytes") > 0, pl.col("text_hash").is_not_null())
    # Of all rows, which footers tell: counting the texts would read every hash once more.
    num_rows = scores.select(pl.len()).collect(engine="streaming").item()
    num_turns = max(1, -(-num_rows // MOST_AT_A_TIME))
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


def _copied(texts: pl.LazyFrame, turn: int, num_turns: int) -> tuple[int, pl.DataFrame]:
    """Of the texts whose turn it is: how many, and a row for each that is there more than once.

    Half of a hash is sorted, which takes half of the time of the whole and several times less than
    grouping. Texts that share a half by chance, a few million, go through the exact count too.
    """
    own = texts.filter(pl.col("text_hash") % num_turns == turn) if num_turns > 1 else texts
    half = (pl.col("text_hash") // (1 << 32)).cast(pl.Int32)
    halves = own.select(half).collect(engine="streaming").to_series().to_numpy()
    repeated = pl.LazyFrame({"half": _repeated(halves)})
    num_documents = len(halves)
    del halves
    clusters = (
        own.join(repeated, left_on=half, right_on="half", how="semi")
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


def _repeated(values: Integers) -> Integers:
    """The values that are there more than once, ascending."""
    if not len(values):
        return values
    # Of a sample, so that each of two threads has about half of them to sort.
    sample = np.sort(values[:: max(1, len(values) // SAMPLED)])
    middle = sample[len(sample) // 2]
    with ThreadPoolExecutor(2) as threads:
        low = threads.submit(lambda: _repeated_of(values[values < middle]))
        high = threads.submit(lambda: _repeated_of(values[values >= middle]))
        return np.concatenate([low.result(), high.result()])


def _repeated_of(values: Integers) -> Integers:
    values.sort()
    return np.unique(values[1:][values[1:] == values[:-1]])


def _located(texts: pl.LazyFrame, clusters: pl.DataFrame) -> list[Cluster]:
    if not clusters.height:
        return []
    places = (
        texts.filter(pl.col("text_hash").is_in(clusters["text_hash"].implode()))
        .group_by("text_hash", "file")
        .agg(pl.col("row").min())
        .collect(engine="streaming")
        .sort("file", "row")
        .unique("text_hash", keep="first", maintain_order=True)
    )
    rows = clusters.join(places, on="text_hash").sort(
        ["documents", "num_bytes", "file", "row"], descending=[True, True, False, False]
    )
    return [
        Cluster(
            num_documents=row["documents"],
            num_tokens=row["num_tokens"],
            num_bytes=row["num_bytes"],
            file=row["file"],
            row=row["row"],
        )
        for row in rows.iter_rows(named=True)
    ]
