"""The corpus of a run: where it lies, what its files are today, and whether its texts are the same.

Owns the order of the questions. A file whose size, footer and time agree with the plan is trusted
unread; of any other the documents are compared with the score rows, text by text, and only that
decides. Columns other than the text are compared where a part would be reused with them.
"""

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import polars as pl
import pyarrow as pa

from pipeline.corpus.casting import without_times
from pipeline.corpus.columns import Columns
from pipeline.corpus.files import Footer, try_footers
from pipeline.corpus.identity import check_texts, is_trusted
from pipeline.corpus.location import find_planned, locate
from pipeline.corpus.reader import Batch, carried_column, read_batches
from pipeline.errors import (
    CorpusChangedError,
    CorpusError,
    RunError,
    UnreadableFileError,
    WinnowError,
    first_line,
)
from pipeline.runs.manifest import Manifest, PlannedFile
from pipeline.runs.scores import scan_part
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, Span
from pipeline.storage.filesystem import Root

FILES_AT_ONCE = 8


def open_corpus(manifest: Manifest, moved_to: str | None = None) -> Root:
    """Where to read the corpus of a run: where it was scored, or where it was moved to.

    Raises CorpusError where `moved_to` is no place for it.
    """
    return locate(manifest.corpus, [file.path for file in manifest.files], moved_to)


def planned_file(footer: Footer) -> PlannedFile:
    """What a manifest remembers of a file."""
    return PlannedFile(
        path=footer.name,
        size_bytes=footer.info.size,
        mtime_ns=footer.info.mtime_ns or 0,
        num_rows=sum(rows for rows, _ in footer.row_groups),
        footer_digest=footer.digest,
    )


@dataclass(frozen=True, slots=True)
class Survey:
    """The files of a plan as they are today, before any row is read."""

    footers: dict[str, Footer]
    """Footers, by name, of the files that can be read and have as many rows as before."""
    faults: dict[str, str]
    """What is wrong with the other files."""
    doubtful: tuple[PlannedFile, ...]
    """Readable files that are not trusted until their documents are compared."""

    @property
    def num_trusted(self) -> int:
        return len(self.footers) - len(self.doubtful)


def survey_corpus(root: Root, manifest: Manifest) -> Survey:
    """Look at the files of a plan: a listing of them, and their footers."""
    found = find_planned(root, [file.path for file in manifest.files])
    footers, unreadable = try_footers(root, found, manifest.text_column)
    by_name = {footer.name: footer for footer in footers}
    faults, doubtful = dict[str, str](), list[PlannedFile]()
    for file in manifest.files:
        footer = by_name.get(file.path)
        if footer is None:
            reason = unreadable.get(file.path)
            faults[file.path] = "is gone" if reason is None else f"cannot be read: {reason}"
            continue
        now = planned_file(footer)
        if now.num_rows != file.num_rows:
            faults[file.path] = f"has {now.num_rows:,} rows, had {file.num_rows:,}"
            del by_name[file.path]
        elif not is_trusted(file, now):
            doubtful.append(file)
    return Survey(by_name, faults, tuple(doubtful))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Consecutive rows of a file whose scores are in one part."""

    first_row: int
    num_rows: int
    shard: int
    offset: int
    """Position of its first row in the part."""


def compare_documents(
    store: RunStore,
    manifest: Manifest,
    root: Root,
    footers: Iterable[Footer],
    shards: Collection[int],
    *,
    carried: bool = False,
) -> dict[str, WinnowError]:
    """For each of the files whose documents are not those that these shards' parts hold: why.

    `carried` compares the id and the carried columns too. Reads the rows of the shards, no others;
    where the file has its row groups does not matter.
    """
    stretches: dict[str, list[_Stretch]] = {}
    for shard in manifest.shards:
        offset = 0
        for span in shard.spans if shard.id in shards else ():
            stretch = _Stretch(span.first_row, span.num_rows, shard.id, offset)
            stretches.setdefault(manifest.files[span.file].path, []).append(stretch)
            offset += span.num_rows
    compare = partial(_compare_file, store, manifest, root, carried=carried)
    with ThreadPoolExecutor(FILES_AT_ONCE) as readers:
        files = list(footers)
        wanted = [stretches.get(footer.name, []) for footer in files]
        found = zip(files, readers.map(compare, files, wanted), strict=True)
        return {footer.name: error for footer, error in found if error is not None}


def _compare_file(
    store: RunStore,
    manifest: Manifest,
    root: Root,
    footer: Footer,
    stretches: list[_Stretch],
    *,
    carried: bool,
) -> WinnowError | None:
    columns = Columns(manifest.text_column, None, ())
    if carried:
        columns = Columns(manifest.text_column, manifest.id_column, manifest.carried)
    try:
        for stretch in stretches:
            stored = _stored(store, manifest, stretch, columns)
            for batch in read_batches(root, (footer.name,), _covering(footer, stretch), columns):
                _compare_batch(batch, stretch, stored, columns, manifest.arrow_schema())
    except (CorpusError, RunError, UnreadableFileError) as error:
        return error
    return None


def _covering(footer: Footer, stretch: _Stretch) -> Shard:
    """The row groups that hold a stretch, from the first row of the first on."""
    ends, rows, size = list[int](), 0, 0
    for group_rows, _ in footer.row_groups:
        ends.append(rows := rows + group_rows)
    end = stretch.first_row + stretch.num_rows
    groups = tuple(
        group
        for group, last in enumerate(ends)
        if last > stretch.first_row and last - footer.row_groups[group][0] < end
    )
    first_row = ends[groups[0]] - footer.row_groups[groups[0]][0]
    size = sum(footer.row_groups[group][1] for group in groups)
    return Shard(0, (Span(0, groups, first_row, end - first_row),), end - first_row, size)


def _stored(
    store: RunStore, manifest: Manifest, stretch: _Stretch, columns: Columns
) -> pl.DataFrame:
    """The columns of a part that rows of the corpus are compared with."""
    names = ["text_hash", *(["doc_id"] if columns.doc_id else []), *columns.carried]
    rows = scan_part(store, manifest, manifest.shards[stretch.shard]).select(names)
    try:
        return rows.slice(stretch.offset, stretch.num_rows).collect()
    except (pl.exceptions.PolarsError, OSError, pa.ArrowException) as error:
        name = store.root.show(store.part_name(stretch.shard))
        raise RunError(f"{name} cannot be read: {first_line(error)}") from error


def _compare_batch(
    batch: Batch, stretch: _Stretch, stored: pl.DataFrame, columns: Columns, schema: pa.Schema
) -> None:
    """Raises CorpusChangedError at a row that differs."""
    first = batch.documents[0].row
    skipped = max(0, stretch.first_row - first)
    if skipped >= len(batch.documents):
        return
    rows = batch.table.slice(skipped)
    then = stored.slice(first + skipped - stretch.first_row, rows.num_rows)
    check_texts(
        batch.file, first + skipped, rows.column(columns.text), then["text_hash"].to_arrow()
    )
    sources = {name: name for name in columns.carried}
    sources |= {"doc_id": columns.doc_id} if columns.doc_id else {}
    for name, source in sources.items():
        kind = schema.field(name).type
        now = pa.nulls(rows.num_rows, kind)
        if source in rows.schema.names:
            now = carried_column(Batch(batch.file, batch.documents[skipped:], rows), source, kind)
        # As text, in which NaN is equal to NaN.
        both = (without_times(column).to_pylist() for column in (now, then[name].to_arrow()))
        seen, had = ([repr(value) for value in values] for values in both)
        if seen != had:
            at = next(i for i, pair in enumerate(zip(seen, had, strict=True)) if len({*pair}) > 1)
            raise CorpusChangedError(
                f"{batch.file}, row {first + skipped + at}: column '{source}' is not what it was"
            )
