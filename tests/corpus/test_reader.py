"""Reading a shard: every row once, in order, as it was written, a little at a time."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.columns import Columns
from pipeline.corpus.reader import BATCH_ROWS, BATCH_TEXT_BYTES, Batch, read_batches
from pipeline.errors import UnreadableFileError
from pipeline.planning.sharding import CorpusPlan, plan_corpus
from pipeline.schema import Document, Shard, Span
from pipeline.storage.filesystem import open_root

MEBIBYTE = 1 << 20
TEXT_ONLY = Columns("text", None, ())
DICTIONARY = pa.dictionary(pa.int32(), pa.string())
TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), DICTIONARY]


def plan(folder: Path, *, limit: int | None = None, shard_tokens: int = 1 << 40) -> CorpusPlan:
    """By default everything in one shard."""
    return plan_corpus(
        str(folder),
        text_column="text",
        limit=limit,
        shard_tokens=shard_tokens,
        default_shard_tokens=1,
    )


def read(planned: CorpusPlan, columns: Columns = TEXT_ONLY) -> list[Batch]:
    files = tuple(file.path for file in planned.files)
    return [
        batch
        for shard in planned.shards
        for batch in read_batches(planned.root, files, shard, columns)
    ]


def rows(batches: Iterable[Batch]) -> list[tuple[str, int, str | None]]:
    return [(batch.file, d.row, d.text) for batch in batches for d in batch.documents]


def write_text(folder: Path, texts: pa.Array | list[str | None], **options: object) -> Path:
    file = folder / "a.parquet"
    column = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    pq.write_table(pa.table({"text": column}), file, **options)
    return file


def flip_bit(file: Path, inside: bytes) -> None:
    """Damage the one place where `inside` stands in a file."""
    content = bytearray(file.read_bytes())
    assert content.count(inside) == 1
    content[content.index(inside)] ^= 1
    file.write_bytes(content)


# --- order and row numbers


@pytest.mark.parametrize("shard_tokens", [1, 30, 1 << 40], ids=["tiny", "small", "one shard"])
@pytest.mark.parametrize("row_group_size", [1, 3, 100], ids=lambda n: f"{n} rows a group")
def test_every_row_comes_once_in_order_with_its_place_in_its_file(
    tmp_path, row_group_size, shard_tokens
):
    expected = []
    for name, count in (("a", 7), ("b", 1), ("c", 0), ("d", 12)):
        texts = [f"{name}{i}" for i in range(count)]
        table = pa.table({"text": pa.array(texts, pa.string())})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=row_group_size)
        expected += [(f"{name}.parquet", i, text) for i, text in enumerate(texts)]
    assert rows(read(plan(tmp_path, shard_tokens=shard_tokens))) == expected


def test_row_numbers_count_the_file_not_the_span(tmp_path):
    write_text(tmp_path, [str(i) for i in range(10)], row_group_size=2)
    # Row groups 1, 2 and 4: a retry may leave out what another span has.
    spans = (Span(0, (1, 2), 2, 4), Span(0, (4,), 8, 2))
    batches = read_batches(
        open_root(str(tmp_path)), ("a.parquet",), Shard(0, spans, 6, 6), TEXT_ONLY
    )
    assert rows(batches) == [("a.parquet", i, str(i)) for i in (2, 3, 4, 5, 8, 9)]


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_limit_ends_inside_a_row_group(tmp_path, limit):
    write_text(tmp_path, [str(i) for i in range(10)], row_group_size=4)
    found = rows(read(plan(tmp_path, limit=limit)))
    assert found == [("a.parquet", i, str(i)) for i in range(min(limit, 10))]


def test_a_limit_ends_inside_a_batch_and_inside_a_later_one(tmp_path):
    total = 3 * BATCH_ROWS
    write_text(tmp_path, [str(i) for i in range(total)])
    for limit in (BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1, total - 1):
        assert [row for _, row, _ in rows(read(plan(tmp_path, limit=limit)))] == list(range(limit))


def test_batches_hold_rows_of_one_file(tmp_path):
    for name in "ab":
        pq.write_table(pa.table({"text": [name] * 3}), tmp_path / f"{name}.parquet")
    batches = read(plan(tmp_path))
    assert [batch.file for batch in batches] == ["a.parquet", "b.parquet"]
    for batch in batches:
        assert {document.text for document in batch.documents} == {batch.file[0]}
        assert batch.table.num_rows == len(batch.documents)


# --- text as it was written

ODD_TEXTS = {
    "empty": "",
    "white space": " \t\r\n\x0b\f\u00a0\u2003 ",
    "trailing newlines": "a\n\n",
    "carriage return": "a\r\nb\rc",
    "NUL": "a\x00b\x00",
    "controls": "\x01\x1b[31m\x7f\x85",
    "emoji": "😀👩‍👩‍👧‍👦🏳️‍🌈",
    "right to left": "\u202e\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "not normalised": "e\u0301 ﬁ Å",
    "byte order mark": "\ufeffx",
    "noncharacter": "\ufffe\uffff",
    "special token": "<|endoftext|></s>",
}


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_text_of_every_type_comes_unchanged(tmp_path, kind):
    texts = [None, *ODD_TEXTS.values(), None]
    write_text(tmp_path, pa.array(texts).cast(kind), row_group_size=5)
    documents = [d for batch in read(plan(tmp_path)) for d in batch.documents]
    assert documents == [Document(i, text) for i, text in enumerate(texts)]


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_bytes_that_are_not_utf8_lose_only_their_own_row(tmp_path, kind):
    values = [
        b"fine",
        b"\xff\xfe",
        None,
        "Übung".encode("latin-1"),
        b"",
        "😀".encode(),
        b"\xed\xa0\x80",
    ]
    write_text(tmp_path, unchecked(values, kind))
    documents = [d for batch in read(plan(tmp_path)) for d in batch.documents]
    assert documents == [
        Document(0, "fine"),
        Document(1, None, error="not UTF-8"),
        Document(2, None),
        Document(3, None, error="not UTF-8"),
        Document(4, ""),
        Document(5, "😀"),
        # A surrogate in UTF-8, as Java and MySQL write it.
        Document(6, None, error="not UTF-8"),
    ]


def unchecked(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """Bytes in a column of strings, as writers that do not check leave them."""
    if pa.types.is_dictionary(kind):
        return unchecked(values, kind.value_type).dictionary_encode()
    raw_kind = {
        pa.string(): pa.binary(),
        pa.large_string(): pa.large_binary(),
        pa.string_view(): pa.binary_view(),
    }[kind]
    raw = pa.array(values, raw_kind)
    return pa.Array.from_buffers(kind, len(raw), raw.buffers())


def test_a_bad_row_after_a_slice_keeps_its_number(tmp_path):
    """Batches cut short by a limit are slices: their buffers begin elsewhere."""
    values = [b"\xff" if i % 3 == 0 else str(i).encode() for i in range(2 * BATCH_ROWS)]
    write_text(tmp_path, unchecked(values, pa.string()), row_group_size=100)
    limit = BATCH_ROWS + 50
    documents = [d for b in read(plan(tmp_path, limit=limit)) for d in b.documents]
    assert [d.row for d in documents] == list(range(limit))
    assert [d.text for d in documents] == [None if i % 3 == 0 else str(i) for i in range(limit)]
    assert {d.error for d in documents if d.row % 3 == 0} == {"not UTF-8"}


# --- files that are not what was planned


def test_a_flipped_bit_in_a_page_is_detected(tmp_path):
    """Uncompressed, so that nothing but the checksum can tell."""
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    marked = ["first", "needle in a page", "last"]
    file = write_text(tmp_path, marked, write_page_checksum=True, **options)
    planned = plan(tmp_path)
    flip_bit(file, b"needle")
    with pytest.raises(UnreadableFileError, match=r"a\.parquet, near row 0: .*CRC"):
        read(planned)


def test_a_flipped_bit_in_a_column_that_is_not_needed_is_not_even_read(tmp_path):
    table = pa.table({"other": ["needle"], "text": ["a"], "id": ["b"]})
    file = tmp_path / "a.parquet"
    pq.write_table(
        table,
        file,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    )
    flip_bit(file, b"needle")
    planned = plan(tmp_path)
    assert rows(read(planned)) == [("a.parquet", 0, "a")]
    with pytest.raises(UnreadableFileError):
        read(planned, Columns("text", None, ("other",)))


def test_damage_says_which_file_and_near_which_row(tmp_path):
    write_text(tmp_path, ["x"])
    (tmp_path / "a.parquet").rename(tmp_path / "0.parquet")
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    texts = [f"text {i:03} here" for i in range(100)]
    file = write_text(tmp_path, texts, row_group_size=10, write_page_checksum=True, **options)
    planned = plan(tmp_path)
    flip_bit(file, b"text 055")
    with pytest.raises(UnreadableFileError, match=r"(?m)^a\.parquet, near row \d+: [^\n]+$"):
        read(planned)


@pytest.mark.parametrize(
    ("remaining", "reason"),
    [(5, "5 fewer rows than when the run was planned"), (12, "8 fewer rows|near row")],
    ids=["within its row group", "whole row groups gone"],
)
def test_a_file_that_shrank_since_the_plan_is_unreadable(tmp_path, remaining, reason):
    size = 10 if remaining < 10 else 4
    total = 10 if remaining < 10 else 20
    write_text(tmp_path, ["x"] * total, row_group_size=size)
    planned = plan(tmp_path)
    write_text(tmp_path, ["x"] * remaining, row_group_size=size)
    with pytest.raises(UnreadableFileError, match=rf"a\.parquet.*({reason})"):
        read(planned)


def test_a_file_that_is_gone_is_unreadable(tmp_path):
    file = write_text(tmp_path, ["x"])
    planned = plan(tmp_path)
    file.unlink()
    with pytest.raises(UnreadableFileError, match=r"a\.parquet, near row 0: .*No such file"):
        read(planned)


def test_a_file_that_lost_its_text_column_is_unreadable(tmp_path):
    file = write_text(tmp_path, ["x"])
    planned = plan(tmp_path)
    pq.write_table(pa.table({"body": ["x"]}), file)
    with pytest.raises(UnreadableFileError, match=r"a\.parquet, near row 0: .*text"):
        read(planned)


def test_a_file_that_was_cut_is_unreadable(tmp_path):
    file = write_text(tmp_path, ["x"] * 100)
    planned = plan(tmp_path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UnreadableFileError, match=r"a\.parquet, near row 0: "):
        read(planned)


# --- only what is needed, a little at a time


def test_only_the_columns_needed_are_read(tmp_path):
    table = pa.table({"big": ["x" * 1000], "text": ["t"], "url": ["u"], "lang": ["en"]})
    pq.write_table(table, tmp_path / "a.parquet")
    planned = plan(tmp_path)
    (batch,) = read(planned, Columns("text", "url", ("lang",)))
    assert sorted(batch.table.schema.names) == ["lang", "text", "url"]
    (batch,) = read(planned)
    assert batch.table.schema.names == ["text"]


def test_the_text_itself_may_be_carried(tmp_path):
    write_text(tmp_path, ["t"])
    (batch,) = read(plan(tmp_path), Columns("text", "text", ("text",)))
    assert batch.table.to_pydict() == {"text": ["t"]}


def test_columns_that_a_file_lacks_are_left_to_the_caller(tmp_path):
    write_text(tmp_path, ["t"])
    (batch,) = read(plan(tmp_path), Columns("text", "url", ("lang",)))
    assert batch.table.schema.names == ["text"]


def test_ids_and_carried_columns_stay_beside_their_rows(tmp_path):
    count = 2 * BATCH_ROWS + 3
    table = pa.table({"text": [str(i) for i in range(count)], "id": range(count)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    for batch in read(plan(tmp_path, limit=count - 1), Columns("text", "id", ())):
        numbers = [document.row for document in batch.documents]
        assert batch.table.column("id").to_pylist() == numbers
        assert [document.text for document in batch.documents] == [str(i) for i in numbers]


def test_one_huge_row_group_comes_in_small_batches(tmp_path):
    """40 MB of text in one row group: neither the batches nor Arrow may hold much of it."""
    texts = [f"{i:06}" + "x" * 2000 for i in range(20_000)]
    write_text(tmp_path, texts, use_dictionary=False, compression="none")
    del texts
    planned = plan(tmp_path)
    assert planned.footers[0].row_groups[0][1] > 40 * 10**6
    before, peak, count = pa.total_allocated_bytes(), 0, 0
    for batch in read_batches(planned.root, ("a.parquet",), planned.shards[0], TEXT_ONLY):
        peak = max(peak, pa.total_allocated_bytes() - before)
        count += len(batch.documents)
        assert sum(len(document.text or "") for document in batch.documents) <= BATCH_TEXT_BYTES
    assert count == 20_000
    assert peak < 8 * MEBIBYTE


def test_long_documents_come_few_at_a_time(tmp_path):
    write_text(tmp_path, ["x" * MEBIBYTE] * 5, use_dictionary=False)
    assert [len(batch.documents) for batch in read(plan(tmp_path))] == [1] * 5


def test_short_documents_come_many_at_a_time(tmp_path):
    write_text(tmp_path, [""] * (BATCH_ROWS + 1))
    assert [len(batch.documents) for batch in read(plan(tmp_path))] == [BATCH_ROWS, 1]


def test_the_file_is_closed_when_reading_ends_early(tmp_path):
    write_text(tmp_path, ["x"] * (2 * BATCH_ROWS))
    planned = plan(tmp_path)
    batches = read_batches(planned.root, ("a.parquet",), planned.shards[0], TEXT_ONLY)
    next(batches)
    open_files = Path("/proc/self/fd")
    if not open_files.is_dir():
        pytest.skip("needs /proc to see open files")
    assert opened(open_files, tmp_path)
    batches.close()
    assert not opened(open_files, tmp_path)


def opened(open_files: Path, below: Path) -> list[Path]:
    links = []
    for link in open_files.iterdir():
        with suppress(FileNotFoundError):  # closed since, as what lists them is
            links.append(link.readlink())
    return [link for link in links if link.is_relative_to(below)]
