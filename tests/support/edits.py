"""A corpus file after what may happen to it: touched, written again as it was, edited unseen."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.footers import read_footer
from pipeline.storage.filesystem import open_root


def write_plain(file: Path, texts: list[str | None], rows_per_group: int = 3) -> None:
    """A file whose footer says nothing of its values: equally long texts have equal footers."""
    pq.write_table(
        pa.table({"text": pa.array(texts, pa.string())}),
        file,
        row_group_size=rows_per_group,
        compression="NONE",
        use_dictionary=False,
        write_statistics=False,
    )


def touch(file: Path) -> None:
    """Another time, and nothing else."""
    os.utime(file, ns=(1, 1))


def recompress(file: Path) -> None:
    """The same rows and row groups in other bytes."""
    parquet = pq.ParquetFile(file)
    rows = parquet.metadata.row_group(0).num_rows
    pq.write_table(parquet.read(), file, row_group_size=rows, compression="gzip")


def edit_unseen(file: Path, old: str, new: str, *, keep_time: bool = True) -> None:
    """Another text in a file of `write_plain`: same size, same footer and, if asked, same time."""
    assert len(old.encode()) == len(new.encode())
    before, content = file.stat(), file.read_bytes()
    assert content.count(old.encode()) == 1
    facts = facts_of(file)
    file.write_bytes(content.replace(old.encode(), new.encode()))
    os.utime(file, ns=(1, before.st_mtime_ns if keep_time else 1))
    assert facts_of(file) == facts


def facts_of(file: Path) -> tuple[int, str]:
    """Size and digest of the footer."""
    return file.stat().st_size, read_footer(open_root(str(file.parent)), file.name)[2]


def move(source: Path, target: Path) -> None:
    """A folder or a file elsewhere, times and all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
