"""THE reader of a corpus: nothing else opens one of its files for the rows.

Owns decoding (checksums, old timestamps, views of strings), bounded memory (a few megabytes at a
time, only the columns needed), and turning every row into a Document, whatever its bytes are. Which
rows make a shard is planning/'s, what a column's type is over all files columns.py's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.casting import cast_column, convert
from pipeline.corpus.columns import Columns, plain_schema
from pipeline.corpus.files import is_bytes
from pipeline.corpus.int96 import find_unit, has_int96
from pipeline.errors import CorpusError, UnreadableFileError, first_line, type_name
from pipeline.schema import Document, Shard
from pipeline.storage.filesystem import Root

BATCH_TEXT_BYTES = 1 << 20
BATCH_ROWS = 256
BUFFER_BYTES = 1 << 20
NO_COLUMNS = pa.RecordBatch.from_pydict({})
LARGEST_TEXT_CHARS = 1 << 25
"""A hundred long books. A tokenizer takes 100 bytes per token: what is beyond is an attack or a
mistake, and would take the machine's memory before the engine sees any of it."""
MISSING_IN_PANDAS = ("float", "pandas.NAType")
"""Types of what pandas has in place of a missing text."""
BROKEN = (pa.ArrowException, OSError, KeyError)

Rows = npt.NDArray[np.int64]


class CorpusFile:
    """An open file of a corpus; see `open_file`."""

    def __init__(self, name: str, file: pq.ParquetFile) -> None:
        self.name = name
        self._file = file
        self.metadata: pq.FileMetaData = file.metadata
        self.schema: pa.Schema = file.schema_arrow
        """As the file has it. Rows come in the types of `plain_schema`."""
        self.group_rows = [
            self.metadata.row_group(i).num_rows for i in range(self.metadata.num_row_groups)
        ]

    def batches(
        self,
        columns: list[str] | None = None,
        groups: Sequence[int] | None = None,
        *,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(row in the file of the first, rows) of consecutive row groups, by default all.

        Raises UnreadableFileError for a damaged page or a column that is not there.
        """
        wanted = list(range(len(self.group_rows)) if groups is None else groups)
        row = sum(self.group_rows[: wanted[0]]) if wanted else 0
        try:
            for name in columns or ():
                if name not in self.schema.names:
                    raise KeyError(f"no column '{name}'")
            for batch in self._file.iter_batches(batch_rows, wanted, columns):
                plain = _plain(batch if columns is None else batch.select(columns))
                yield row, plain
                row += len(batch)
        except BROKEN as error:
            raise unreadable(self.name, row, error) from error

    def rows_at(
        self, rows: Rows, columns: list[str], *, batch_rows: int = BATCH_ROWS
    ) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """The given rows, ascending, a few at a time; row groups without any are not read.

        Rows beyond the end do not come.
        """
        ends = np.cumsum([0, *self.group_rows])
        for group, (first, last) in enumerate(pairwise(ends.tolist())):
            low, high = np.searchsorted(rows, [first, last])
            own = rows[low:high]
            for row, batch in self.batches(columns, [group], batch_rows=batch_rows):
                if not len(own):
                    break
                count = np.searchsorted(own, row + len(batch))
                if count:
                    yield own[:count], batch.take(pa.array(own[:count] - row))
                own = own[count:]


@contextmanager
def open_file(
    root: Root,
    name: str,
    columns: Collection[str] | None = None,
    groups: Sequence[int] | None = None,
    *,
    pre_buffer: bool = False,
    first_row: int = 0,
) -> Iterator[CorpusFile]:
    """A file of a corpus, to read these columns of these row groups, by default everything.

    Raises UnreadableFileError, which names `first_row`.
    """
    with ExitStack() as stack:

        def opened(unit: str, *, ahead: bool = False) -> pq.ParquetFile:
            # Checksums are verified where the writer stored them: without this a flipped bit in a
            # data page is read as other text, silently. buffer_size keeps a huge column chunk out
            # of memory.
            source = stack.enter_context(root.open_input(name))
            file = pq.ParquetFile(
                source,
                page_checksum_verification=True,
                buffer_size=0 if ahead else BUFFER_BYTES,
                pre_buffer=ahead,
                coerce_int96_timestamp_unit=unit,
            )
            return stack.enter_context(file)

        try:
            file = opened("ns", ahead=pre_buffer)
            if has_int96(file.metadata):
                unit = find_unit(name, opened("us"), opened("ns"), columns, groups)
                file = opened(unit, ahead=pre_buffer)
        except BROKEN as error:
            raise unreadable(name, first_row, error) from error
        yield CorpusFile(name, file)


def unreadable(name: str, row: int, error: Exception) -> UnreadableFileError:
    """What Arrow says of a file, with the place."""
    reason = str(error.args[0]) if isinstance(error, KeyError) else first_line(error)
    return UnreadableFileError(f"{name}, near row {row}: {reason}")


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    schema = plain_schema(batch.schema)
    if schema == batch.schema:
        return batch
    columns = [convert(c, kind) for c, kind in zip(batch.columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of one file."""

    file: str
    documents: list[Document]
    table: pa.RecordBatch
    """The id and carried columns of these rows, uncast."""


def read_batches(
    root: Root, files: tuple[str, ...], shard: Shard, columns: Columns
) -> Iterator[Batch]:
    """A shard's documents in order, a few megabytes of text at a time.

    `files` are the names that the spans index. Only the columns needed are read. Raises
    UnreadableFileError if a page is damaged or the file is no longer what was planned.
    """
    mean_bytes = max(1, shard.text_bytes // max(1, shard.num_rows))
    batch_rows = max(1, min(BATCH_ROWS, BATCH_TEXT_BYTES // mean_bytes))
    others = [*([columns.doc_id] if columns.doc_id else []), *columns.carried]
    for span in shard.spans:
        name, row, left = files[span.file], span.first_row, span.num_rows
        with open_file(root, name, [columns.text, *others], span.row_groups, first_row=row) as file:
            present = [column for column in others if column in file.schema.names]
            wanted = list(dict.fromkeys([columns.text, *present]))
            found = file.batches(wanted, span.row_groups, batch_rows=batch_rows)
            for _, batch in found:
                taken = batch.slice(0, left)
                if taken.num_rows:
                    texts = _to_documents(taken.column(columns.text), row)
                    yield Batch(name, texts, taken)
                row, left = row + taken.num_rows, left - taken.num_rows
        if left:
            raise UnreadableFileError(f"{name} has {left} fewer rows than when the run was planned")


def carried_column(batch: Batch, column: str, kind: pa.DataType) -> pa.Array:
    """A carried column in the type of the run. Raises UnreadableFileError if it does not fit."""
    try:
        return cast_column(batch.table.column(column), kind)
    except pa.ArrowException as error:
        raise UnreadableFileError(
            f"{batch.file}, near row {batch.documents[0].row}: column '{column}' cannot be carried "
            f"into the scores as {kind}: {first_line(error)}"
        ) from error


def as_texts(texts: Iterable[object]) -> Iterator[str | None]:
    """The same texts; raises CorpusError at one that is neither a string nor None."""
    for row, text in enumerate(texts):
        if not (text is None or isinstance(text, str)):
            hint = "give strings, and None for a missing text"
            if isinstance(text, bytes):
                hint = "decode them: [text.decode() for text in texts]"
            elif isinstance(text, Mapping):
                hint = 'give the texts of these rows: [row["text"] for row in rows]'
            elif type_name(text) in MISSING_IN_PANDAS:
                hint += "; of a pandas column the column itself, or pyarrow.array(COLUMN)"
            raise CorpusError(f"texts[{row}] is {type_name(text)}, not a string", hint=hint)
        yield text


def documents_of(texts: Iterable[object]) -> Iterator[Document]:
    """A document for each text, which is a string or None. Raises CorpusError."""
    for row, text in enumerate(as_texts(texts)):
        try:
            (text or "").encode()
        except UnicodeEncodeError:  # half of a surrogate pair: Parquet could not hold it either
            yield Document(row, None, error="not UTF-8")
        else:
            yield _document(row, text)


def documents_of_column(column: pa.ChunkedArray) -> Iterator[Document]:
    """A document for each value of a text column in memory, whatever its bytes are."""
    row = 0
    for chunk in column.chunks:
        for start in range(0, len(chunk), BATCH_ROWS):
            found = _to_documents(chunk.slice(start, BATCH_ROWS), row)
            yield from found
            row += len(found)


def batches_of(documents: Iterable[Document]) -> Iterator[Batch]:
    """Batches of documents in memory, as large as those of a shard, without columns."""
    waiting, num_chars = list[Document](), 0
    for document in documents:
        waiting.append(document)
        num_chars += len(document.text or "")
        if len(waiting) == BATCH_ROWS or num_chars >= BATCH_TEXT_BYTES:
            yield Batch("", waiting, NO_COLUMNS)
            waiting, num_chars = [], 0
    if waiting:
        yield Batch("", waiting, NO_COLUMNS)


def _to_documents(column: pa.Array, first_row: int) -> list[Document]:
    is_dictionary = pa.types.is_dictionary(column.type)
    if is_bytes(column.type.value_type if is_dictionary else column.type):
        return [_decoded(first_row + i, value) for i, value in enumerate(column.to_pylist())]
    try:
        values: list[str | None] = column.to_pylist()
        return [_document(first_row + i, text) for i, text in enumerate(values)]
    except UnicodeDecodeError:
        # Some writers put bytes into string columns; only the rows that are not UTF-8 are lost.
        if is_dictionary:
            column = column.dictionary_decode()
        raw = column.cast(pa.large_string()).view(pa.large_binary()).to_pylist()
        return [_decoded(first_row + i, value) for i, value in enumerate(raw)]


def _decoded(row: int, value: bytes | None) -> Document:
    try:
        return _document(row, None if value is None else value.decode())
    except UnicodeDecodeError:
        return Document(row, None, error="not UTF-8")


def _document(row: int, text: str | None) -> Document:
    is_large = text is not None and len(text) > LARGEST_TEXT_CHARS
    return Document(row, text, "too_large" if is_large else None)
