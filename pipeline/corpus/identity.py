"""Is this the text that was scored? The hash that a score row holds decides, and nothing else.

Owns comparing rows of a corpus with `text_hash` of their scores. A file may be touched, moved or
written again as it was; one that was edited is found out, whatever its size and time say. Columns
other than the text are not covered.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import CorpusChangedError
from pipeline.statistics.hashing import hash_bytes


def check_texts(file: str, first_row: int, texts: pa.Array, hashes: pa.Array) -> None:
    """Raises CorpusChangedError at the first of consecutive rows whose text was not scored.

    `hashes` are of the same rows, from the score rows' `text_hash`, which is null for a row whose
    text is null or not UTF-8.
    """
    found = _hash_column(texts)
    if found.equals(hashes):
        return
    agree = np.asarray(found.fill_null(0)) == np.asarray(hashes.fill_null(0))
    agree &= np.asarray(found.is_null()) == np.asarray(hashes.is_null())
    for index in np.flatnonzero(~agree).tolist():
        if hashes[index].is_valid or _is_utf8(texts[index : index + 1]):
            raise CorpusChangedError(
                f"{file}, row {first_row + index}: the text is not the one that was scored",
                hint="score the corpus again, into a new run, or name the one that was scored "
                "with --corpus",
            )


def _hash_column(texts: pa.Array) -> pa.Array:
    """The hash of each text's bytes, whether they are UTF-8 or not; null of null."""
    if pa.types.is_dictionary(texts.type):
        return _hash_column(texts.dictionary).take(texts.indices)
    raw = texts.cast(pa.large_binary())
    starts = np.frombuffer(raw.buffers()[1], np.int64)[raw.offset : raw.offset + len(raw) + 1]
    content = memoryview(raw.buffers()[2] or b"")
    hashes = [hash_bytes(content[start:end]) for start, end in pairwise(starts.tolist())]
    nulls: npt.NDArray[Any] = np.asarray(raw.is_null())
    return pa.array(np.array(hashes, np.int64), mask=nulls)


def _is_utf8(text: pa.Array) -> bool:
    """Whether a column of one row is UTF-8; a null is."""
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
