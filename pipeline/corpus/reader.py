"""Stream a shard's documents out of the corpus, row group by row group; or out of memory.

Owns bounded memory (a few megabytes of text at a time, only the columns needed) and turning every
row into a Document, whatever its bytes are. Which rows make a shard is planning/'s.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.files import Columns
from pipeline.errors import CorpusError, UnreadableFileError, first_line
from pipeline.schema import Document, Shard
from pipeline.storage.filesystem import Root

BATCH_TEXT_BYTES = 1 << 20
BATCH_ROWS = 256
NO_COLUMNS = pa.RecordBatch.from_pydict({})
LARGEST_TEXT_CHARS = 1 << 25
"""A hundred long books. A tokenizer takes a hundred bytes a token: what is beyond is an attack or a
mistake, and would take the machine's memory before the engine sees any of it."""


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
    rows = max(1, min(BATCH_ROWS, BATCH_TEXT_BYTES // mean_bytes))
    for span in shard.spans:
        name, row, left = files[span.file], span.first_row, span.num_rows
        try:
            # Checksums are verified where the writer stored them: without this a flipped bit in a
            # data page is read as other text, silently. buffer_size keeps a huge column chunk out
            # of memory.
            with pq.ParquetFile(
                root.open_input(name),
                page_checksum_verification=True,
                buffer_size=1 << 20,
                pre_buffer=False,
            ) as source:
                present = set(source.schema_arrow.names)
                wanted = [
                    columns.text,
                    *([columns.doc_id] if columns.doc_id else []),
                    *columns.carried,
                ]
                for batch in source.iter_batches(
                    batch_size=rows,
                    row_groups=list(span.row_groups),
                    columns=[column for column in dict.fromkeys(wanted) if column in present],
                ):
                    taken = batch.slice(0, left)
                    if taken.num_rows:
                        texts = _to_documents(taken.column(columns.text), row)
                        yield Batch(name, texts, taken)
                    row, left = row + taken.num_rows, left - taken.num_rows
        except (pa.ArrowException, OSError, KeyError) as error:
            reason = first_line(error)
            raise UnreadableFileError(f"{name}, near row {row}: {reason}") from error
        if left:
            raise UnreadableFileError(f"{name} has {left} rows fewer than when it was planned")


def _is_valid(column: pa.Array, index: int) -> bool:
    try:
        column.take(pa.array([index])).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def readable(column: pa.Array) -> pa.Array:
    """The column, with bytes that are not UTF-8 replaced where it claims to be text.

    Inside of lists and structs there is no such repair: the value is null. A part that holds such
    bytes could be written and never be read again.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if pa.types.is_nested(column.type):
            kept = [i if _is_valid(column, i) else None for i in range(len(column))]
            return column.take(pa.array(kept, pa.int64()))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        raw = column.cast(pa.large_string()).view(pa.large_binary()).to_pylist()
        texts = [None if value is None else value.decode(errors="replace") for value in raw]
        return pa.array(texts, pa.large_string())
    return column


def carried_column(batch: Batch, column: str, kind: pa.DataType) -> pa.Array:
    """A carried column in the type of the run. Raises UnreadableFileError if it does not fit."""
    try:
        # A large integer among floats is rounded, as its readers would; nothing else may change.
        safe = not pa.types.is_floating(kind)
        return readable(batch.table.column(column)).cast(kind, safe=safe)
    except pa.ArrowException as error:
        raise UnreadableFileError(
            f"{batch.file}: column '{column}' cannot be carried as {kind}: {first_line(error)}"
        ) from error


def documents_of(texts: Iterable[object]) -> Iterator[Document]:
    """A document for each text, which is a string or None. Raises CorpusError."""
    for row, text in enumerate(texts):
        if not (text is None or isinstance(text, str)):
            raise CorpusError(
                f"text {row} is {type_name(text)}, not a string",
                hint="a text is a string, or None; a column of a table goes to score_table",
            )
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


def type_name(value: object) -> str:
    """What a value is, as its user would say it: `int`, `pandas.DataFrame`."""
    kind = type(value)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}".removeprefix("builtins.")


def _to_documents(column: pa.Array, first_row: int) -> list[Document]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        values: list[str | None] = column.to_pylist()
        return [_document(first_row + i, text) for i, text in enumerate(values)]
    except UnicodeDecodeError:
        # Some writers put bytes into string columns; only the rows that are not UTF-8 are lost.
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
