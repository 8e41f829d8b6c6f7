"""pipeline/corpus/footers.py: what pyarrow reads of a footer, and a digest of the same bytes."""

import io
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.footers import FIRST_READ, read_footer
from pipeline.storage.filesystem import Root, open_root
from tests.support.edits import write_plain


class Counted(Root):
    """A folder whose files are counted as they are opened and read."""

    events: ClassVar[list[str]] = []

    def open_input(self, name: str) -> Any:
        self.events.append("open")
        content, events = super().open_input(name).read(), self.events

        class File(io.BytesIO):
            def size(self) -> int:
                return len(content)

            def read(self, count: int | None = -1) -> bytes:
                events.append("read")
                return super().read(count)

        return File(content)


def counted(folder: Path) -> Counted:
    root = open_root(str(folder))
    return Counted(root.filesystem, root.path, root.location)


@pytest.mark.parametrize(("groups", "reads"), [(1, 1), (3000, 2)], ids=["small", "large"])
def test_the_metadata_is_pyarrows(tmp_path, groups, reads):
    file = tmp_path / "a.parquet"
    table = pa.table({"text": ["a"] * groups, "n": range(groups)})
    pq.write_table(table, file, row_group_size=1)
    Counted.events.clear()
    metadata, schema, digest = read_footer(counted(tmp_path), "a.parquet")
    assert Counted.events == ["open"] + ["read"] * reads
    expected = pq.read_metadata(file)
    assert metadata.equals(expected)
    assert schema == table.schema
    assert (expected.serialized_size > FIRST_READ) == (groups > 1)
    assert digest == read_footer(open_root(str(tmp_path)), "a.parquet")[2]


def test_a_digest_is_of_the_footer_and_not_of_the_values(tmp_path):
    found = set()
    for name, texts in (("a", ["one", "two"]), ("b", ["two", "one"]), ("c", ["one", "three"])):
        write_plain(tmp_path / name, list(texts))
        found.add(read_footer(open_root(str(tmp_path)), name)[2])
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
        read_footer(open_root(str(tmp_path)), "a.parquet")
