"""A Parquet file as another one is: schema, metadata, codecs, sort order and row groups.

Owns how rows of a corpus are written; which, is rewriting.py's.
"""

import base64
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.columns import plain_schema

GROUP_BYTES = 256 << 20
"""Bytes after which a row group ends at the latest, however many rows those of the corpus file
have."""
ARROW_SCHEMA = b"ARROW:schema"


class FileWriter:
    """Writes rows in plain types; closed properly, or let go of while its sink is still open."""

    def __init__(
        self, sink: Any, schema: pa.Schema, settings: dict[str, Any], most_rows: int
    ) -> None:
        self._schema = plain_schema(schema)
        # Views are the same in Parquet: it says only in the footer that Arrow is to make them.
        is_plain = self._schema == schema
        self._writer = pq.ParquetWriter(sink, self._schema, store_schema=is_plain, **settings)
        if not is_plain:
            stored = base64.b64encode(schema.serialize().to_pybytes())
            self._writer.add_key_value_metadata({ARROW_SCHEMA: stored})
        self._most_rows = most_rows
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def __enter__(self) -> "FileWriter":
        return self

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows; row groups are filled up to the size that the file has."""
        self._pending.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        if self._rows >= self._most_rows or self._bytes >= GROUP_BYTES:
            self._flush(min(self._rows, self._most_rows))

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending, self._schema)
        self._writer.write_table(table.slice(0, rows), row_group_size=max(1, rows))
        rest = table.slice(rows)
        self._pending = rest.to_batches() if rest.num_rows else []
        self._rows, self._bytes = rest.num_rows, rest.nbytes

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            if self._rows:
                self._flush(self._rows)
            self._writer.close()
            return
        with suppress(pa.ArrowException, OSError, ValueError):
            self._writer.close()


def writer_settings(metadata: Any) -> dict[str, Any]:
    """Codec by column, encoding and sort order as the file has them."""
    settings: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    if not metadata.num_row_groups:
        return settings
    group = metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    codecs = {column.path_in_schema: column.compression for column in columns}
    settings["compression"] = {
        path: "NONE" if codec == "UNCOMPRESSED" else codec for path, codec in codecs.items()
    }
    if group.sorting_columns:
        settings["sorting_columns"] = group.sorting_columns
    return settings
