"""The corpus: find its Parquet files and check them before any model is loaded.

Owns listing (a file, a folder or a glob) and reading footers. The columns and their types are
columns.py's, reading rows reader.py's, sizing shards planning/'s.
"""

import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from pipeline.corpus.footers import find_bounds, read_footer
from pipeline.corpus.patterns import (
    GLOB_CHARACTERS,
    SUFFIXES,
    is_hidden,
    is_other_data,
    is_parquet,
    is_wrapped,
    matches,
    may_hold,
)
from pipeline.corpus.promotion import Bounds
from pipeline.corpus.tables import refuse_tables
from pipeline.errors import CorpusError, UnreadableFileError, counted, first_line, named
from pipeline.settings.names import listed, near_name, near_path
from pipeline.storage.filesystem import Root, open_root
from pipeline.storage.locations import split_options

log = logging.getLogger(__name__)
FOOTER_READERS = 16


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file's footer says, without reading any row."""

    name: str
    info: fs.FileInfo
    schema: pa.Schema
    row_groups: tuple[tuple[int, int], ...]
    """(rows, uncompressed bytes of the text column) of each row group."""
    digest: str | None = None
    """Digest of the footer's bytes."""
    bounds: dict[str, Bounds] = field(default_factory=dict)
    """Smallest and largest values of columns of integers, dates and timestamps, from the statistics
    in the footer."""


FROM_JSON_LINES = "JSON lines: polars.scan_ndjson('a.jsonl').sink_parquet('a.parquet')"
"""A hint for corpora that are still JSON lines."""


def find_files(corpus: str) -> tuple[Root, dict[str, fs.FileInfo]]:
    """The corpus root and its Parquet files by name relative to it, sorted. Raises CorpusError.

    Names that begin with "_" or "." are skipped at any depth, as Spark and Hive do. What should be
    a file and is none, such as a link that leads nowhere, is there too: of another type than File.
    """
    root, name, pattern = open_corpus_root(corpus)
    if name is not None:
        return root, {name: root.filesystem.get_file_info(root.full(name))}
    folder, _ = split_options(root.location)
    try:
        found = root.entries()
    except UnicodeError as error:
        raise CorpusError(
            f"a file name below {folder} is not UTF-8",
            hint="rename the file, or give the files one by one",
        ) from error
    if pattern is None and "manifest.json" in found and "_SUCCESS" in found:
        raise CorpusError(
            f"{folder} is a run directory, not a corpus",
            hint="give the folder of the corpus; or the scores/ folder of the run, if it carries "
            "the text",
        )
    if "." in found:
        raise CorpusError(f"{folder} cannot be listed: {root.fault('.')}")
    wanted = {
        name: found[name]
        for name in sorted(found)
        if _is_wanted(name, pattern, is_file=found[name].type == fs.FileType.File)
        and not is_hidden(name)
    }
    if not wanted:
        raise CorpusError(
            f"no Parquet file in {corpus}",
            hint=f"files must end in {', '.join(SUFFIXES)}, at any depth; {FROM_JSON_LINES}",
        )
    refuse_tables(root, found, wanted)
    if pattern is None:
        _say_what_is_left_out(folder, list(found))
    return root, wanted


def _is_wanted(name: str, pattern: str | None, *, is_file: bool) -> bool:
    """Whether a name is of the corpus; of what is no file, whether it may be or lead there."""
    if pattern is None:
        return not is_file or is_parquet(name) or is_wrapped(name)
    return matches(name, pattern) or (not is_file and may_hold(name, pattern))


def _say_what_is_left_out(folder: str, names: list[str]) -> None:
    """A folder may hold documents in other formats, too: they are not of the corpus."""
    others = sorted(name for name in names if is_other_data(name) and not is_hidden(name))
    if others:
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        _warn_once(f"{folder}: ignoring files that are not Parquet: {others[0]}{more}")


@functools.lru_cache(maxsize=1000)
def _warn_once(said: str) -> None:
    """An audit looks for its corpus more than once; who reads its log is told once."""
    log.warning("%s", said)


def open_corpus_root(corpus: str) -> tuple[Root, str | None, str | None]:
    """The folder of a corpus; its file's name, if it is one file; the pattern below, if a glob.

    Raises CorpusError where there is no such file or folder.
    """
    pattern = None
    folder, options = split_options(corpus)
    if GLOB_CHARACTERS & set(folder) and not _exists(corpus):
        first = min(folder.index(c) for c in GLOB_CHARACTERS if c in folder)
        cut = folder.rfind("/", 0, first) + 1
        folder, pattern = folder[:cut] or ".", folder[cut:]
    root = open_root(folder + options)
    root.check_bucket()
    kind = root.filesystem.get_file_info(root.path).type
    if kind == fs.FileType.Unknown:
        raise CorpusError(f"{folder} is neither a file nor a folder")
    if kind == fs.FileType.NotFound:
        raise CorpusError(
            f"no such file or folder: {folder}",
            hint=(near_path(Path(folder)) if root.is_local else "")
            or "CORPUS is a Parquet file, a folder or a glob",
        )
    if kind == fs.FileType.File:
        parent, _, name = root.path.rpartition("/")
        base, _ = split_options(root.location)
        folder = (base.rpartition("/")[0] or "/") + options
        return Root(root.filesystem, parent or "/", folder), name, None
    return root, None, pattern


def _exists(location: str) -> bool:
    root = open_root(location)
    return bool(root.filesystem.get_file_info(root.path).type != fs.FileType.NotFound)


def read_footers(
    root: Root, files: dict[str, fs.FileInfo], text_column: str
) -> tuple[list[Footer], dict[str, str]]:
    """Footers of the readable files, in order, and the reason for each unreadable one.

    Raises CorpusError where no file can be read or none has a usable text column: that is a
    mistake of the request, not damage to a file.
    """
    footers, unreadable = try_footers(root, files, text_column)
    if unreadable and not footers:
        where, error = next(iter(unreadable.items()))
        others = len(unreadable) - 1
        more = f" (and {counted(others, 'more file')})" if others else ""
        raise error.at(f"{where}{more}", CorpusError)
    return footers, {name: str(error) for name, error in unreadable.items()}


def try_footers(
    root: Root, files: dict[str, fs.FileInfo], text_column: str
) -> tuple[list[Footer], dict[str, UnreadableFileError]]:
    """Footers of the readable files, in order, and what is wrong with the others."""
    with ThreadPoolExecutor(FOOTER_READERS) as readers:
        read = partial(_try_footer, root, text_column=text_column)
        found = dict(zip(files, readers.map(read, files.items()), strict=True))
    footers = [one for one in found.values() if isinstance(one, Footer)]
    unreadable = {n: one for n, one in found.items() if isinstance(one, UnreadableFileError)}
    return footers, unreadable


def _try_footer(
    root: Root, item: tuple[str, fs.FileInfo], *, text_column: str
) -> Footer | UnreadableFileError:
    name, info = item
    if info.type != fs.FileType.File:  # a pipe would be waited for
        return UnreadableFileError(root.fault(name))
    try:
        metadata, schema, digest = read_footer(root, name)
    except (pa.ArrowException, OSError) as error:
        if is_wrapped(name):
            return UnreadableFileError(
                "compressed, or an incomplete download: decompress it, or finish the download"
            )
        return UnreadableFileError(
            f"not a readable Parquet file: {first_line(error)}",
            hint=None if is_parquet(name) else FROM_JSON_LINES,
        )
    outer = text_column.partition(".")[0]
    if text_column not in schema.names and outer in schema.names and outer != text_column:
        kind = schema.field(outer).type
        return UnreadableFileError(
            f"text column '{text_column}' is a field of the column '{outer}' ({kind})",
            hint="the text must be a column of its own: write one with polars, such as "
            f".with_columns(text=pl.col('{outer}').struct.field('...')), and score that",
        )
    if text_column not in schema.names:
        near, column = near_name(text_column, schema.names), named("text_column")
        other = f"name it with {column}" if schema.names else None
        return UnreadableFileError(
            f"no column '{text_column}'; it has {listed(schema.names, none='no columns')}",
            hint=f"did you mean {column} {near}?" if near else other,
        )
    if len(schema.get_all_field_indices(text_column)) > 1:
        return UnreadableFileError(f"has the column '{text_column}' more than once")
    kind = schema.field(text_column).type
    if not is_scorable(kind):
        texts = [field.name for field in schema if is_text(field.type)]
        return UnreadableFileError(
            f"column '{text_column}' is {kind}, not text",
            hint=f"text columns: {', '.join(texts) or 'none'}; name one with "
            f"{named('text_column')}",
        )
    at = _leaf_index(metadata, text_column)
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    sizes = tuple((g.num_rows, g.column(at).total_uncompressed_size) for g in groups)
    return Footer(name, info, schema, sizes, digest, find_bounds(metadata, schema))


def is_scorable(kind: pa.DataType) -> bool:
    """Whether a column of this type may be the text: bytes may be UTF-8, and nulls are rows."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) or is_bytes(kind) or bool(pa.types.is_null(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are bytes of any length."""
    is_ = pa.types
    return bool(is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _leaf_index(metadata: Any, column: str) -> int:
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    return paths.index(column)
