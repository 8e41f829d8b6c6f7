"""Write one corpus file again, its rows sent to the outputs that were decided for them.

Owns the order of rows, and holding one row group in memory at most. A row group that no output
wants is not read, and of what is read each text must be the one that was scored. Which row goes
where is decided before, by shard: see `RouteReader`. Reading is corpus/reader.py's, writing
file_writer.py's.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.columns import plain_schema
from pipeline.corpus.identity import check_texts
from pipeline.corpus.reader import CorpusFile, open_file
from pipeline.errors import UnreadableFileError, WinnowError, first_line
from pipeline.filters.file_writer import FileWriter, writer_settings
from pipeline.storage.filesystem import Root
from pipeline.storage.prefetch import Prefetch

BATCH_BYTES = 32 << 20
BATCH_ROWS = 1 << 16
AHEAD = 2
ROUTE = "route"
TEXT_HASH = "text hash"
"""Beside the route and the added columns, one of which may be `text_hash`."""

Routes = npt.NDArray[np.int8]
"""For each row the index of its output, or -1 if it goes nowhere. Shape [rows]."""


@dataclass(frozen=True, slots=True)
class Output:
    """A folder that rows are written to."""

    root: Root
    folder: str = ""

    def name(self, file: str) -> str:
        """Where this output has the rows of a corpus file."""
        return f"{self.folder}/{file}" if self.folder else file


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive rows of a file that one shard decided."""

    shard: int
    offset: int
    """Position of its first row in the shard."""
    first_row: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class FileJob:
    """One corpus file to be written again."""

    name: str
    text_column: str
    num_rows: int
    stretches: tuple[Stretch, ...]
    """Stretches in the order of their rows; rows between them were not scored."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided of consecutive rows."""

    routes: Routes
    scored: list[tuple[int, int]]
    """The stretches [first, last) that have score rows, counted from the first of the rows."""
    hashes: pa.ChunkedArray
    added: pa.Table

    def check(self, file: str, first_row: int, at: int, texts: pa.Array) -> None:
        """Raises CorpusChangedError unless these, from the place `at` on, are what was scored.

        `first_row` is the row of the file that the place 0 is.
        """
        for first, last in self.scored:
            start, end = max(first, at), min(last, at + len(texts))
            if start < end:
                hashes = self.hashes.slice(start, end - start).combine_chunks()
                own = texts.slice(start - at, end - start)
                check_texts(file, first_row + start, own, hashes)


class RouteReader:
    """The routes and added columns of any rows; a shard is decided once for all its neighbours."""

    def __init__(
        self,
        decide: Callable[[int], pa.Table],
        added: pa.Schema,
        undecided: int,
        *,
        keep_shards: int,
    ) -> None:
        """`decide` gives `route`, the text's hash and the `added` columns of a shard's rows, in
        order."""
        self._decide = decide
        self._added = added
        self._undecided = undecided
        self._keep = keep_shards
        self._lock = threading.Lock()
        self._shards: OrderedDict[int, Future[pa.Table]] = OrderedDict()

    @property
    def added(self) -> pa.Schema:
        return self._added

    def rows(self, job: FileJob, first: int, last: int) -> Decided:
        """What was decided of the rows [first, last) of a file."""
        pieces, scored, at = list[pa.Table](), list[tuple[int, int]](), first
        for stretch in job.stretches:
            start, end = max(at, stretch.first_row), stretch.first_row + stretch.num_rows
            end = min(end, last)
            if start < end:
                pieces += [self._unknown(start - at)]
                shift = stretch.offset - stretch.first_row
                pieces += [self._shard(stretch.shard).slice(start + shift, end - start)]
                scored.append((start - first, end - first))
                at = end
        table = pa.concat_tables([*pieces, self._unknown(last - at)])
        added = table.drop_columns([ROUTE, TEXT_HASH])
        return Decided(table[ROUTE].to_numpy(), scored, table[TEXT_HASH], added)

    def _unknown(self, rows: int) -> pa.Table:
        route = pa.array(np.full(rows, self._undecided, np.int8))
        nulls = [pa.nulls(rows, kind) for kind in (pa.int64(), *self._added.types)]
        return pa.table([route, *nulls], names=[ROUTE, TEXT_HASH, *self._added.names])

    def _shard(self, index: int) -> pa.Table:
        with self._lock:
            found = self._shards.get(index)
            mine = found is None
            if found is None:
                found = self._shards[index] = Future()
                while len(self._shards) > self._keep:
                    self._shards.popitem(last=False)
            self._shards.move_to_end(index)
        if mine:
            try:
                found.set_result(self._decide(index))
            except BaseException as error:
                found.set_exception(error)
        return found.result()


def rewrite_file(
    source: Root,
    job: FileJob,
    outputs: list[Output],
    routes: RouteReader,
    stopped: threading.Event,
) -> list[int]:
    """Write a file's rows to the outputs, each of which appears whole. Rows written to each.

    Raises UnreadableFileError if the file is damaged, CorpusChangedError if it is not what was
    scored.
    """
    try:
        with open_file(source, job.name, pre_buffer=True) as file:
            return _rewrite(file, job, outputs, routes, stopped)
    except (pa.ArrowException, OSError, UnreadableFileError) as error:
        reason = first_line(error).removeprefix(f"{job.name}, ")
        raise UnreadableFileError(f"{job.name} cannot be rewritten: {reason}") from error


def _rewrite(
    file: CorpusFile,
    job: FileJob,
    outputs: list[Output],
    routes: RouteReader,
    stopped: threading.Event,
) -> list[int]:
    metadata = file.metadata
    if metadata.num_rows != job.num_rows:
        raise UnreadableFileError(
            f"it has {metadata.num_rows:,} rows, had {job.num_rows:,} when it was scored"
        )
    if job.text_column not in file.schema.names:
        raise UnreadableFileError(
            f"it has lost its text column '{job.text_column}' since it was scored; restore it, or "
            "score the corpus again"
        )
    schema = file.schema
    for field in routes.added:
        schema = schema.append(field)
    settings = writer_settings(metadata)
    most_rows = max(file.group_rows, default=1)
    written = [0] * len(outputs)
    with ExitStack() as stack:
        writers = []
        for output in outputs:
            sink = stack.enter_context(output.root.writing(output.name(job.name)))
            writers.append(
                stack.enter_context(FileWriter(sink, schema, settings, max(1, most_rows)))
            )
        batches = Prefetch(_routed(file, job, len(outputs), routes, plain_schema(schema)), AHEAD)
        stack.callback(batches.close)
        for index, batch in batches:
            if stopped.is_set():
                raise WinnowError(
                    "writing was stopped", hint="run the same command again to continue"
                )
            writers[index].write(batch)
            written[index] += batch.num_rows
    return written


def _routed(
    file: CorpusFile, job: FileJob, num_outputs: int, routes: RouteReader, schema: pa.Schema
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(output, rows for it) in order of rows, for outputs that want any."""
    first = 0
    for group, num_rows in enumerate(file.group_rows):
        last = first + num_rows
        decided = routes.rows(job, first, last)
        if num_rows and decided.routes.max() >= 0:
            mean_bytes = max(1, file.metadata.row_group(group).total_byte_size // num_rows)
            batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // mean_bytes))
            for row, batch in file.batches(groups=[group], batch_rows=batch_rows):
                at = row - first
                decided.check(job.name, first, at, batch.column(job.text_column))
                added = decided.added.slice(at, len(batch)).columns
                columns = [*batch.columns, *(column.combine_chunks() for column in added)]
                for index in range(num_outputs):
                    mask = decided.routes[at : at + len(batch)] == index
                    if mask.any():
                        yield index, _kept(columns, mask, schema)
        first = last


def _kept(
    columns: list[pa.Array], mask: npt.NDArray[np.bool_], schema: pa.Schema
) -> pa.RecordBatch:
    if not mask.all():
        columns = [column.filter(pa.array(mask)) for column in columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
