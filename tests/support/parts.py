"""Parts as Winnow 0.1.0 wrote them, without checksums of their own; and forged ones."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runs import parts
from pipeline.runs.parts import FOOTER_KEY


class _PlainSink(parts._Sink):
    def begin_footer(self) -> None:
        return None

    def finish(self) -> None:
        pass


def write_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are written from here on have the checksums of their pages only."""
    monkeypatch.setattr(parts, "_Sink", _PlainSink)


def rewrite(
    part: Path,
    change: Callable[[pa.Table], pa.Table] = lambda table: table,
    **footer: object,
) -> None:
    """Alter rows, or what the footer says: a forgery that checksums cannot see, as of 0.1.0."""
    record = json.loads(pq.read_metadata(part).metadata[FOOTER_KEY.encode()])
    record = {**record, **footer, "checksums": None}
    table = change(pq.read_table(part))
    with pq.ParquetWriter(part, table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({FOOTER_KEY: json.dumps(record)})
