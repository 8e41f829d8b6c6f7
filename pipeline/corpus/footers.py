"""A Parquet footer and the digest of its bytes, in as many reads as the footer alone takes."""

from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = b"PAR1"
TAIL = 8
"""Bytes behind a footer: its length, little-endian, and the magic number."""
FIRST_READ = 64 << 10
"""What pyarrow reads first, too: the footers of most files."""


def read_footer(source: Any) -> tuple[pq.FileMetaData, str]:
    """The metadata of an open file, and a digest of the bytes that they were read from.

    Raises what pq.read_metadata raises for a file that is not Parquet.
    """
    size = source.size()
    content = _last(source, size, min(size, FIRST_READ))
    length = TAIL + int.from_bytes(content[-TAIL:-4], "little")
    if content[-4:] == MAGIC and len(content) < length <= size:
        content = _last(source, size, length)
    footer = content[-length:]
    return pq.read_metadata(pa.BufferReader(footer)), blake2b(footer, digest_size=16).hexdigest()


def _last(source: Any, size: int, count: int) -> bytes:
    source.seek(size - count)
    return bytes(source.read(count))
