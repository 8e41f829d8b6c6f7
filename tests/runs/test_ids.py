"""What is shown of the id of a document."""

import datetime as dt
import uuid

import polars as pl
import pytest

from pipeline.runs.ids import shown_id

UUID = uuid.UUID(int=2**127 + 0xFF)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([UUID.bytes, b"ab", None], [UUID.hex, "6162", None]),
        (["a", None], ["a", None]),
        ([2**63 - 1], ["9223372036854775807"]),
        ([[1]], [None]),
        ([{"a": 1}], [None]),
        ([dt.timedelta(1)], [None]),
    ],
    ids=["bytes", "text", "number", "list", "struct", "duration"],
)
def test_an_id_as_text(values, shown):
    scores = pl.LazyFrame({"doc_id": values})
    assert scores.select(shown_id(scores)).collect()["doc_id"].to_list() == shown


def test_no_id():
    scores = pl.LazyFrame({"row": [1, 2]})
    assert scores.select("row", shown_id(scores)).collect()["doc_id"].to_list() == [None, None]
