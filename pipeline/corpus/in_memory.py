"""Texts and tables that are in memory: what of Python's is taken for them, and what is refused.

Owns the words for what is neither. How a text becomes a document is reader.py's.
"""

import collections
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.corpus.files import is_scorable
from pipeline.corpus.reader import as_texts, documents_of, documents_of_column
from pipeline.errors import CorpusError, type_name
from pipeline.schema import Document
from pipeline.settings.names import MOST_NAMED, listed, near_or_known


def documents_given(texts: Any) -> Iterator[Document]:
    """A document for each text. Raises CorpusError for what is no text, has no order, or would give
    names in place of texts when it is iterated over, as dicts and tables do."""
    is_table = any(hasattr(type(texts), name) for name in ("columns", "column_names"))
    hint = "give a list of strings"
    if isinstance(texts, str | bytes):
        hint = "put the text in a list"
    elif isinstance(texts, Mapping):
        hint = "give its values in a list: list(texts.values())"
    elif isinstance(texts, set | frozenset):
        hint = "a set has no order, and the scores are in order: give a list"
    elif is_table:
        hint = "score_table takes a Polars DataFrame or a pyarrow Table; of others, give the column"
    elif (column := arrow_column(texts)) is not None:
        check_text(column.type, "the array")
        return documents_of_column(column)
    elif _can_be_iterated(texts):
        if hasattr(texts, "__len__") and hasattr(texts, "__getitem__"):
            collections.deque(as_texts(texts), maxlen=0)  # refused before anything is scored
        return documents_of(texts)
    raise CorpusError(f"score takes a list of texts, not {type_name(texts)}", hint=hint)


def arrow_column(texts: Any) -> pa.ChunkedArray | None:
    """What has a column of Arrow's to give, as Series have, with what is missing in it as null.

    None for everything else, and for a column of various objects, whose texts are looked at one by
    one.
    """
    if isinstance(texts, pa.ChunkedArray):
        return texts
    if not any(hasattr(texts, f"__arrow_c_{kind}__") for kind in ("array", "stream")):
        return None
    try:
        if isinstance(texts, pl.Series):
            if texts.dtype == pl.Object:
                return None
            # What it gives as a stream has categories that cannot be decoded.
            texts = texts.to_arrow()
        return pa.chunked_array([texts] if isinstance(texts, pa.Array) else texts)
    except (pa.ArrowException, TypeError, ValueError):
        return None


def _can_be_iterated(texts: Any) -> bool:
    try:
        iter(texts)
    except TypeError:  # an array without dimensions has the method
        return False
    return True


def names_of(table: Any) -> list[str]:
    """A table's columns. Raises CorpusError for what is no table that can be scored."""
    if isinstance(table, pl.DataFrame):
        return table.columns
    if isinstance(table, pa.Table):
        return list(table.column_names)
    if isinstance(table, pl.LazyFrame):
        hint = "collect it"
    elif isinstance(table, Mapping) or hasattr(table, "__arrow_c_stream__"):
        hint = "polars.DataFrame(TABLE) makes one of it"
    else:
        hint = "score takes a list of texts, or the column of another table"
    raise CorpusError(
        f"score_table takes a Polars DataFrame or a pyarrow Table, not {type_name(table)}",
        hint=hint,
    )


def check_text(kind: pa.DataType, what: str) -> None:
    if not is_scorable(kind):
        raise CorpusError(f"{what} is {kind}, not text")


def check_column(column: object, names: list[str]) -> None:
    if not isinstance(column, str):
        raise CorpusError(
            f"text_column is {type_name(column)}, not the name of a column",
            hint=f"known: {listed(names)}",
        )
    if column not in names:
        hint = near_or_known(column, names, most=MOST_NAMED)
        raise CorpusError(f"no column '{column}' in the table", hint=hint)
    if names.count(column) > 1:
        raise CorpusError(f"the table has the column '{column}' more than once")
