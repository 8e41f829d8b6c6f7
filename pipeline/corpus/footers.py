"""A Parquet footer and the digest of its bytes, in as many reads as the footer alone takes."""

from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.promotion import Bounds
from pipeline.storage.filesystem import Root

MAGIC = b"PAR1"
TAIL = 8
"""Bytes behind a footer: its length, little-endian, and the magic number."""
MOST_STATISTICS = 4096
"""Column statistics that are read per file, so that planning a large corpus stays cheap."""
FIRST_READ = 64 << 10
"""Bytes that are read first, as pyarrow does: they hold the footers of most files."""


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


def find_bounds(metadata: pq.FileMetaData, schema: pa.Schema) -> dict[str, Bounds]:
    """The ends of each column whose type alone does not tell what holds it, by its statistics.

    A column is not there if a row group has none for it.
    """
    asked = {field.name for field in schema if _is_asked(field.type)}
    if not asked or len(asked) * metadata.num_row_groups > MOST_STATISTICS:
        return {}
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    found = {}
    for index, path in enumerate(paths):
        if path in asked and paths.count(path) == 1:
            bounds = _bounds(metadata, index, is_unsigned=schema.field(path).type == pa.uint64())
            if bounds is not None:
                found[path] = bounds
    return found


def _is_asked(kind: pa.DataType) -> bool:
    is_ = pa.types
    return bool(
        is_.is_int64(kind) or is_.is_uint64(kind) or is_.is_date(kind) or is_.is_timestamp(kind)
    )


def _bounds(metadata: pq.FileMetaData, index: int, *, is_unsigned: bool) -> Bounds | None:
    lows, highs = [0], [0]
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        statistics = group.column(index).statistics
        if statistics is None:
            return None
        if not statistics.has_min_max:
            if statistics.null_count != group.num_rows:
                return None
            continue
        low, high = statistics.min_raw, statistics.max_raw
        lows.append(low % 2**64 if is_unsigned else low)
        highs.append(high % 2**64 if is_unsigned else high)
    return min(lows), max(highs)


def _read(source: Any) -> bytes:
    """The footer and what follows it: what identifies a Parquet file."""
    size = source.size()
    content = _last(source, size, min(size, FIRST_READ))
    length = TAIL + int.from_bytes(content[-TAIL:-4], "little")
    if content[-4:] == MAGIC and len(content) < length <= size:
        content = _last(source, size, length)
    return content[-length:]


def _last(source: Any, size: int, count: int) -> bytes:
    source.seek(size - count)
    return bytes(source.read(count))
