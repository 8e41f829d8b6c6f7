"""Exact duplicates against a Counter."""

from collections import Counter, defaultdict
from unittest import mock

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports import duplicates
from pipeline.reports.duplicates import MOST_CLUSTERS, find_duplicates

SCHEMA = {
    "text_hash": pl.Int64,
    "num_tokens": pl.Int64,
    "num_bytes": pl.Int64,
    "file": pl.String,
    "row": pl.Int64,
}
# Few different hashes, of either sign and at both ends, so that copies are common.
HASHES = st.sampled_from([None, -(2**63), 2**63 - 1, -5, -1, 0, 1, 2, 3, 4, 8, 16, 32])


def rows_of(hashes: list[int | None]) -> pl.LazyFrame:
    rows = [
        (h, 0 if h is None else abs(h) % 7, 0 if h is None else 1 + abs(h) % 11, f"{i // 9}", i)
        for i, h in enumerate(hashes)
    ]
    return pl.LazyFrame(rows, schema=SCHEMA, orient="row")


@given(st.lists(HASHES, max_size=80), st.sampled_from([1, 3, 1000]))
def test_copies_are_what_is_left_of_each_text_but_one(hashes, at_a_time):
    """Most of the hashes begin alike; few documents at a time take several turns."""
    with mock.patch.object(duplicates, "MOST_AT_A_TIME", at_a_time):
        found = find_duplicates(rows_of(hashes))
    counts = Counter(h for h in hashes if h is not None)
    assert found.num_documents == counts.total()
    assert found.num_distinct == len(counts)
    assert found.num_copies == counts.total() - len(counts)
    assert found.copied_tokens == sum((n - 1) * (abs(h) % 7) for h, n in counts.items())
    assert found.copied_bytes == sum((n - 1) * (1 + abs(h) % 11) for h, n in counts.items())
    sizes = sorted((n for n in counts.values() if n > 1), reverse=True)
    assert [cluster.num_documents for cluster in found.largest] == sizes[:MOST_CLUSTERS]
    places = defaultdict(list)
    for i, h in enumerate(hashes):
        places[h].append((f"{i // 9}", i))
    for cluster in found.largest:
        same = places[hashes[cluster.row]]
        assert (cluster.file, cluster.row) == same[0]
        assert cluster.num_documents == len(same)


def test_empty_texts_are_not_copies_of_each_other():
    rows = rows_of([7, 7, 7]).with_columns(num_bytes=pl.lit(0, pl.Int64))
    found = find_duplicates(rows)
    assert (found.num_documents, found.num_copies, found.largest) == (0, 0, [])


def test_a_copy_that_could_not_be_scored_has_no_tokens_to_save():
    rows = rows_of([9, 9, 9]).with_columns(num_tokens=pl.Series([5, 0, 5]))
    found = find_duplicates(rows)
    assert found.num_copies == 2
    assert found.copied_tokens == 5
    assert found.largest[0].num_tokens == 5
