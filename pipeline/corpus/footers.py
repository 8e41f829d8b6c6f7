"""A Parquet footer and the digest of its bytes, in as many reads as the footer alone takes."""

from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.filesystem import Root

MAGIC = b"PAR1"
TAIL = 8
"""Bytes behind a footer: its length, little-endian, and the magic number."""
FIRST_READ = 64 << 10
"""What pyarrow reads first, too: the footers of most files."""


def read_footer(root: Root, name: str) -> tuple[pq.FileMetaData, pa.Schema, str]:
    """What Parquet says of a file, its Arrow schema, and a digest of the bytes that say it.

    Old timestamps (INT96) are of microseconds: those hold every date, nanoseconds end in 2262.
    Raises ArrowException and OSError.
    """
    with root.open_input(name) as source:
        footer = _read(source)
    digest = blake2b(footer, digest_size=16).hexdigest()
    with pq.ParquetFile(pa.BufferReader(footer), coerce_int96_timestamp_unit="us") as file:
        return file.metadata, file.schema_arrow, digest


def _read(source: Any) -> bytes:
    """The footer and what is behind it: all of a file that Parquet needs to be told apart."""
    size = source.size()
    content = _last(source, size, min(size, FIRST_READ))
    length = TAIL + int.from_bytes(content[-TAIL:-4], "little")
    if content[-4:] == MAGIC and len(content) < length <= size:
        content = _last(source, size, length)
    return content[-length:]


def _last(source: Any, size: int, count: int) -> bytes:
    source.seek(size - count)
    return bytes(source.read(count))
