"""Exact duplicates: documents whose texts have equal hashes.

Owns counting them, and finding one of each of the largest. Texts without a byte are left out:
statuses count those.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.reports.sketches import Integers

MOST_CLUSTERS = 10
SAMPLED = 10_000


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
    """Count copies by `text_hash`. Memory: about 20 bytes a document."""
    texts = scores.filter(pl.col("num_bytes") > 0, pl.col("text_hash").is_not_null())
    hashes = texts.select("text_hash").collect(engine="streaming")["text_hash"].to_numpy()
    num_documents, repeated = len(hashes), _repeated(hashes)
    del hashes
    clusters = (
        texts.join(pl.LazyFrame({"text_hash": repeated}), on="text_hash", how="semi")
        .group_by("text_hash")
        .agg(
            pl.len().cast(pl.Int64).alias("documents"),
            # Of one text: a copy that could not be scored has no tokens.
            pl.col("num_tokens", "num_bytes").max(),
            pl.col("num_tokens").sum().alias("tokens"),
        )
        .collect(engine="streaming")
    )
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


def _repeated(hashes: Integers) -> Integers:
    """The values that are there more than once, ascending.

    Sorting finds them several times faster than grouping, and in a fraction of the memory.
    """
    if not len(hashes):
        return hashes
    # Of a sample, so that each of two threads has about half of them to sort.
    sample = np.sort(hashes[:: max(1, len(hashes) // SAMPLED)])
    middle = sample[len(sample) // 2]
    with ThreadPoolExecutor(2) as threads:
        low = threads.submit(lambda: _repeated_of(hashes[hashes < middle]))
        high = threads.submit(lambda: _repeated_of(hashes[hashes >= middle]))
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
