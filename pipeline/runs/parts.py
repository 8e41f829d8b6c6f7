"""The bytes of a part: a Parquet file that shows whether every byte is as it was written.

Owns the checksums of a part. Parquet's own cover the content of pages; not their headers, not the
footer. So the record in the footer holds a CRC32 of every byte before the footer, and one of the
footer itself. Any Parquet reader reads the file; parts of Winnow 0.1.0 have page checksums only.
"""

import contextlib
import math
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.engine.protocol import NO_WORK, Work
from pipeline.runs.manifest import PartChecksums, PartFooter, Totals, Value

FOOTER_KEY = "winnow"
ROW_GROUP_ROWS = 1 << 16
ROW_GROUP_BYTES = 64 << 20
SUMMED = ("num_tokens", "num_skipped_tokens", "num_bytes", "num_windows", "nll")
"""Columns whose sums are in the footer."""
NOT_OF_ROWS = ("seconds", *Work._fields)
"""What of a part's totals its rows do not tell."""
SUM_TOLERANCE = 1e-9
"""Relative tolerance of nll, which may have been summed in another order; counts must be equal."""

MAGIC = b"PAR1"
LENGTH_BYTES = 4
ENDING_BYTES = LENGTH_BYTES + len(MAGIC)
"""A Parquet file ends with the footer, its length and the magic."""
TAIL_BYTES = 64 << 10
"""Bytes that are read first from the end; most footers are smaller."""
BLOCK_BYTES = 4 << 20
UNKNOWN = "00000000"
"""Placeholder for the footer's CRC32; the CRC32 is that of the footer with the placeholder."""
FOOTER_CRC32 = b'"footer_crc32":"'
"""How the last one in a footer begins: quotes inside of the record's values are escaped."""


class DamagedPartError(ValueError):
    """The bytes of a part are not those that were written; says which."""


class _Sink:
    """What a Parquet writer writes to: passes the body on and adds it up, keeps the footer."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._footer: bytearray | None = None
        self._body_bytes = self._body_crc32 = 0
        self.closed = False

    def write(self, content: Any) -> int:
        data = memoryview(content)
        if self._footer is not None:
            self._footer += data
        else:
            self._sink.write(data)
            self._body_crc32 = zlib.crc32(data, self._body_crc32)
            self._body_bytes += data.nbytes
        return data.nbytes

    def tell(self) -> int:
        return self._body_bytes + len(self._footer or b"")

    def flush(self) -> None:
        self._sink.flush()

    def begin_footer(self) -> PartChecksums:
        """The body is complete: what the footer is to say of it."""
        self._footer = bytearray()
        return PartChecksums(
            body_bytes=self._body_bytes,
            body_crc32=f"{self._body_crc32:08x}",
            footer_crc32=UNKNOWN,
        )

    def finish(self) -> None:
        """Write the footer, with its CRC32 in place."""
        footer = self._footer
        assert footer is not None
        assert _footer_bytes(footer) == len(footer), "the body was not complete"
        at = footer.rindex(FOOTER_CRC32) + len(FOOTER_CRC32)
        footer[at : at + len(UNKNOWN)] = f"{zlib.crc32(footer):08x}".encode()
        self._sink.write(footer)


class PartWriter:
    """Collects a shard's rows into one Parquet file and adds up its totals."""

    def __init__(self, sink: Any, schema: pa.Schema) -> None:
        self._sink = _Sink(sink)
        self._writer = pq.ParquetWriter(
            self._sink, schema, compression="zstd", write_page_checksum=True, store_schema=True
        )
        self._pending: list[pa.Table] = []
        self._pending_rows = self._pending_bytes = 0
        self._sums = Sums()
        self._num_rows_copied = self._num_tokens_copied = 0

    def write(self, rows: pa.Table, copied: Sequence[int] = ()) -> None:
        """Append rows, in order. `copied` are the scored tokens of those that are copies."""
        self._num_rows_copied += len(copied)
        self._num_tokens_copied += sum(copied)
        self._sums.add(rows)
        self._pending.append(rows)
        self._pending_rows += rows.num_rows
        self._pending_bytes += rows.nbytes
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            table = pa.concat_tables(self._pending)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
            self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def close(
        self,
        run_id: str,
        shard: int,
        fingerprint: dict[str, Value],
        seconds: float,
        work: Work = NO_WORK,
    ) -> Totals:
        """Write what is pending and the footer."""
        self._flush()
        totals = self._sums.of(
            Totals(
                num_rows_copied=self._num_rows_copied,
                num_tokens_copied=self._num_tokens_copied,
                seconds=seconds,
                **work._asdict(),
            )
        )
        # Every page is in the sink: a row group that is written is closed.
        footer = PartFooter(
            run_id=run_id,
            fingerprint=fingerprint,
            shard=shard,
            totals=totals,
            checksums=self._sink.begin_footer(),
        )
        self._writer.add_key_value_metadata({FOOTER_KEY: footer.model_dump_json()})
        self._writer.close()
        self._sink.finish()
        return totals

    def abandon(self) -> None:
        """Let go of the sink while it is still open; what was written is not kept."""
        with contextlib.suppress(pa.ArrowException, OSError, ValueError):
            self._writer.close()


def read_metadata(source: Any) -> pq.FileMetaData:
    """A part's Parquet footer, checked by its CRC32 before anything interprets it.

    Raises DamagedPartError, and what pyarrow raises for a footer that has no CRC32.
    """
    size = source.size()
    tail = _read_tail(source, min(size, TAIL_BYTES))
    if len(tail) < ENDING_BYTES or not tail.endswith(MAGIC):
        raise DamagedPartError("it does not end like a Parquet file")
    needed = _footer_bytes(tail)
    if needed > size:
        raise DamagedPartError("its footer is longer than the file")
    if needed > len(tail):
        tail = _read_tail(source, needed)
    footer = bytearray(tail[-needed:])
    if (begin := footer.rfind(FOOTER_CRC32)) >= 0:
        at = begin + len(FOOTER_CRC32)
        stated = bytes(footer[at : at + len(UNKNOWN)])
        footer[at : at + len(UNKNOWN)] = UNKNOWN.encode()
        if f"{zlib.crc32(footer):08x}".encode() != stated:
            raise DamagedPartError("the checksum of its footer is wrong")
    return pq.read_metadata(pa.BufferReader(MAGIC + tail[-needed:]))


def _read_tail(source: Any, count: int) -> bytes:
    source.seek(source.size() - count)
    return bytes(source.read(count))


def _footer_bytes(tail: bytes | bytearray) -> int:
    """Of the footer with its ending, by the length that stands there."""
    return int.from_bytes(tail[-ENDING_BYTES : -len(MAGIC)], "little") + ENDING_BYTES


def check_body(path: str, checksums: PartChecksums) -> None:
    """Read a local part up to its footer. Raises DamagedPartError if a byte is not as written."""
    with Path(path).open("rb", buffering=0) as file:
        file.seek(-ENDING_BYTES, os.SEEK_END)
        if file.tell() + ENDING_BYTES - _footer_bytes(file.read()) != checksums.body_bytes:
            raise DamagedPartError("its length is not the one recorded when it was written")
        file.seek(0)
        block = memoryview(bytearray(min(BLOCK_BYTES, checksums.body_bytes)))
        crc32, left = 0, checksums.body_bytes
        while left and (count := file.readinto(block[: min(left, len(block))])):
            crc32 = zlib.crc32(block[:count], crc32)
            left -= count
    if left or f"{crc32:08x}" != checksums.body_crc32:
        raise DamagedPartError("its checksum is wrong")


def differing_sum(stated: Totals, found: Totals) -> str | None:
    """Which sum over rows is not the same; None if all are. Time and work are no such sums."""
    for field in Totals.model_fields:
        if field in NOT_OF_ROWS:
            continue
        recorded, seen = getattr(stated, field), getattr(found, field)
        same = (
            math.isclose(recorded, seen, rel_tol=SUM_TOLERANCE)
            if field == "nll"
            else recorded == seen
        )
        if not same:
            return f"says {field} = {recorded}, the rows add up to {seen}"
    return None


class Sums:
    """Adds up what of Totals the columns that are read can tell."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {"num_rows": 0}

    def add(self, table: pa.Table) -> None:
        self._found["num_rows"] += table.num_rows
        for name in set(SUMMED) & set(table.column_names):
            self._found[name] = self._found.get(name, 0) + (pc.sum(table[name]).as_py() or 0)
        if "status" in table.column_names:
            counted = self._found.setdefault("statuses", Counter())
            for pair in table["status"].value_counts().to_pylist():
                counted[pair["values"]] += pair["counts"]

    def of(self, totals: Totals) -> Totals:
        """Totals with the sums that were found."""
        statuses = dict(sorted(self._found.get("statuses", totals.statuses).items()))
        return totals.model_copy(update={**self._found, "statuses": statuses})

    def difference(self, stated: Totals) -> str | None:
        return differing_sum(stated, self.of(stated))
