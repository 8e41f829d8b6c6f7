"""pipeline/corpus/footers.py: what pyarrow reads of a footer, and a digest of the same bytes."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.footers import FIRST_READ, read_footer
from tests.support.edits import write_plain


class Counted:
    """An open file that counts how often it is read."""

    def __init__(self, file: Path) -> None:
        self._source = pa.OSFile(str(file))
        self.num_reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, count: int) -> bytes:
        self.num_reads += 1
        content: bytes = self._source.read(count)
        return content


@pytest.mark.parametrize(("groups", "reads"), [(1, 1), (3000, 2)], ids=["small", "large"])
def test_the_metadata_is_pyarrows(tmp_path, groups, reads):
    file = tmp_path / "a.parquet"
    table = pa.table({"text": ["a"] * groups, "n": range(groups)})
    pq.write_table(table, file, row_group_size=1)
    source = Counted(file)
    metadata, digest = read_footer(source)
    expected = pq.read_metadata(file)
    assert metadata.equals(expected)
    assert metadata.schema.to_arrow_schema() == expected.schema.to_arrow_schema()
    assert (expected.serialized_size > FIRST_READ) == (groups > 1)
    assert source.num_reads == reads
    assert digest == read_footer(Counted(file))[1]


def test_a_digest_is_of_the_footer_and_not_of_the_values(tmp_path):
    found = set()
    for name, texts in (("a", ["one", "two"]), ("b", ["two", "one"]), ("c", ["one", "three"])):
        write_plain(tmp_path / name, list(texts))
        found.add(read_footer(Counted(tmp_path / name))[1])
    assert len(found) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"x" * 100, b"x" * 200_000, b"PAR1" + b"\xff" * 70_000 + b"PAR1"],
    ids=["empty", "magic", "text", "long text", "a length beyond the file"],
)
def test_what_is_not_parquet_is_refused_as_pyarrow_does(tmp_path, content):
    file = tmp_path / "a.parquet"
    file.write_bytes(content)
    with pytest.raises(pa.ArrowInvalid):
        pq.read_metadata(file)
    with pytest.raises(pa.ArrowInvalid):
        read_footer(Counted(file))
