"""Is this the text that was scored? The hash that a score row holds decides, and nothing else.

Owns comparing rows of a corpus with `text_hash` of their scores. A file may be touched, moved or
written again as it was; one that was edited is detected, whatever its size and time say. Columns
other than the text are not covered. Owns, too, when a whole file need not be read to know.
"""

from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import CorpusChangedError, named
from pipeline.statistics.hashing import hash_bytes


class FileFacts(Protocol):
    """What is known of a file without reading its rows."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def footer_digest(self) -> str | None: ...


def is_trusted(then: FileFacts, now: FileFacts) -> bool:
    """Whether a file may be taken for the one it was unread: size, footer and time all agree.

    False is no verdict: a copy has another time. Nor is what is not known agreement: run
    directories of 0.1.0 hold no digest of footers, and some stores give no modification time.
    """
    known = then.footer_digest is not None and then.mtime_ns != 0
    return known and not differing_facts(then, now)


def differing_facts(then: FileFacts, now: FileFacts) -> list[str]:
    """What of size, footer and time is known not to be as it was, for people."""
    footers = (then.footer_digest, now.footer_digest)
    facts = {
        "size": then.size_bytes != now.size_bytes,
        "footer": None not in footers and footers[0] != footers[1],
        "time": then.mtime_ns != now.mtime_ns,
    }
    return [name for name, differs in facts.items() if differs]


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
                hint=f"name a copy of the corpus as it was then with {named('corpus')}, or score "
                "the present one into a new run",
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
        text.cast(pa.large_string()).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
