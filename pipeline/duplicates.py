"""Exact duplicates: documents whose texts have equal hashes.

Owns counting them in bounded memory: hashes are dealt to partitions by their last bits, and one
partition at a time is sorted. Texts without a byte are left out: statuses count those.
"""

import polars as pl
from pydantic import BaseModel

PARTITION_ROWS = 1 << 22
"""Rows that are sorted and grouped at a time: some hundred megabytes."""
MOST_CLUSTERS = 10


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


def find_duplicates(scores: pl.LazyFrame, *, partition_rows: int = PARTITION_ROWS) -> Duplicates:
    """Count copies by `text_hash`. Memory: 16 bytes a document, and one partition."""
    texts = scores.filter(pl.col("num_bytes") > 0, pl.col("text_hash").is_not_null())
    hashes = texts.select(
        "text_hash", pl.col("num_tokens").cast(pl.UInt32), pl.col("num_bytes").cast(pl.UInt32)
    ).collect(engine="streaming")
    partitions = 1
    while hashes.height / partitions > partition_rows:
        partitions *= 2
    copied = [
        _clusters(hashes.filter((pl.col("text_hash") & (partitions - 1)) == index))
        for index in range(partitions)
    ]
    clusters = pl.concat(copied)
    num_copies = int((clusters["documents"] - 1).sum())
    return Duplicates(
        num_documents=hashes.height,
        num_distinct=hashes.height - num_copies,
        num_copies=num_copies,
        copied_tokens=int((clusters["tokens"] - clusters["num_tokens"]).sum()),
        copied_bytes=int(((clusters["documents"] - 1) * clusters["num_bytes"]).sum()),
        largest=_located(
            texts, clusters.top_k(MOST_CLUSTERS, by=["documents", "num_bytes", "text_hash"])
        ),
    )


def _clusters(texts: pl.DataFrame) -> pl.DataFrame:
    """A row a text that is there more than once."""
    # Sorting finds them several times faster than grouping, which would make a group a text.
    in_order = texts["text_hash"].sort()
    repeated = in_order.filter(in_order == in_order.shift(1)).unique()
    return (
        texts.lazy()
        .join(repeated.to_frame().lazy(), on="text_hash", how="semi")
        .group_by("text_hash")
        .agg(
            pl.len().cast(pl.Int64).alias("documents"),
            # Of one text: a copy that could not be scored has no tokens.
            pl.col("num_tokens", "num_bytes").max().cast(pl.Int64),
            pl.col("num_tokens").cast(pl.Int64).sum().alias("tokens"),
        )
        .collect(engine="streaming")
    )


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
