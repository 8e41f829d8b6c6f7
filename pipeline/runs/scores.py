"""The reader of scores: which parts of a run are whole and its own, and their rows in order.

Owns the answer to "is this part whole?", the same for every command. No other module opens a part.
What a part's bytes are checked with is parts.py's.

A local part that has checksums is read once up to its footer, in a process, before Polars may open
it: every flipped bit is found. Parts of Winnow 0.1.0 and on object stores, which would have to be
fetched whole, are read by pyarrow, row group by row group: each page against its checksum, and sums
of the columns read against the footer, which has a checksum unless 0.1.0 wrote it. A damaged header
between the pages that leaves the sums as they were is not found there.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from pipeline.errors import RunError, first_line, named
from pipeline.runs.manifest import (
    Manifest,
    PartChecksums,
    PartFooter,
    Success,
    Totals,
    add_totals,
    differences,
)
from pipeline.runs.metrics import comparable, may_overflow
from pipeline.runs.parts import DamagedPartError, Sums, check_body, differing_sum
from pipeline.runs.store import FINISH, RESUME, SCORE_AGAIN, SUCCESS, WRITE_AGAIN, RunStore
from pipeline.schema import Shard
from pipeline.settings.arguments import checked
from pipeline.storage.prefetch import Prefetch

FOOTER_READERS = 16
ROW_GROUPS_AHEAD = 2

_whole: dict[str, tuple[int, int, int]] = {}
"""Local parts that this process found whole: inode, size and time of modification."""
_overflowing: dict[str, frozenset[str]] = {}
"""The metrics of these parts that are to be made `comparable`."""


@checked
def read_scores(run: str | Path, *, partial: bool = False) -> pl.LazyFrame:
    """The score rows of a run, in the order of its corpus.

    `run` is a run directory, local or a URI such as s3://bucket/run. One row per input document,
    with `file` and `row`, the carried columns and those of `Scorer.score`. Raises RunError where
    there is no run, where a part is damaged or of another run, and, unless `partial` takes what
    there is, where a part is missing whose shard was not given up.

    >>> from pipeline import read_scores
    >>> scores = read_scores("runs/first").filter(status="ok").collect()
    >>> scores.select("file", "row", "source").row(0)
    ('0.parquet', 0, 'prose')
    """
    store = RunStore(str(run))
    return find_parts(store, store.require_manifest(), partial=partial).stored()


def scan_scores(store: RunStore, manifest: Manifest, *, partial: bool = False) -> pl.LazyFrame:
    """Every score row, in order of shards. Raises RunError as `find_parts` and `Parts.scan`."""
    return find_parts(store, manifest, partial=partial).scan()


class Part(NamedTuple):
    """What a part's footer says of its rows and bytes."""

    totals: Totals
    checksums: PartChecksums | None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a run had when it was looked at; by their footers they are its own."""

    store: RunStore
    manifest: Manifest
    found: dict[int, Part]
    """Parts by shard, in order."""
    is_complete: bool
    """Whether the run is finished and no part is missing."""

    def scan(self, shards: Sequence[int] | None = None) -> pl.LazyFrame:
        """The rows of these shards, in the order given; without, all rows. As `stored`, but for
        metrics that overflow: they are `comparable`."""
        shards = list(self.found) if shards is None else shards
        rows = self.stored(shards)
        if not all(self._can_be_checked(shard) for shard in shards):
            return comparable(rows)
        paths = (self.store.root.full(self.store.part_name(shard)) for shard in shards)
        return comparable(rows, frozenset[str]().union(*(_overflowing[path] for path in paths)))

    def stored(self, shards: Sequence[int] | None = None) -> pl.LazyFrame:
        """The rows as they are on disk.

        Raises RunError for a local part that is damaged; for others as their rows are collected.
        """
        shards = list(self.found) if shards is None else shards
        if not shards:
            return self._empty().lazy()
        if not all(self._can_be_checked(shard) for shard in shards):
            return self._scan_checked(shards)
        with ThreadPoolExecutor(os.cpu_count()) as readers:
            list(readers.map(self._check_body, shards))
        paths = [self.store.root.full(self.store.part_name(shard)) for shard in shards]
        return pl.scan_parquet(paths, glob=False)

    def read(self, shard: int) -> pa.Table:
        """One part's rows with all columns, every checksum that it has checked."""
        if self._can_be_checked(shard):
            self._check_body(shard)
        return pa.concat_tables(self._tables(shard, self.manifest.arrow_schema().names))

    def _can_be_checked(self, shard: int) -> bool:
        return self.store.root.is_local and self.found[shard].checksums is not None

    def _check_body(self, shard: int) -> None:
        path = self.store.root.full(self.store.part_name(shard))
        with _naming_part(self.store, shard):
            now = Path(path).stat()
            identity = (now.st_ino, now.st_size, now.st_mtime_ns)
            if _whole.get(path) != identity:
                checksums = self.found[shard].checksums
                assert checksums is not None
                check_body(path, checksums)
                _overflowing[path] = may_overflow(pq.read_metadata(path))
                _whole[path] = identity

    def _empty(self) -> pl.DataFrame:
        frame = pl.from_arrow(self.manifest.arrow_schema().empty_table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _scan_checked(self, shards: Sequence[int]) -> pl.LazyFrame:
        """Through pyarrow, which can check pages as it reads them, where Polars cannot."""
        schema = self._empty().schema

        def frames(
            columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, size: Any
        ) -> Iterator[pl.DataFrame]:
            names = list(schema) if columns is None else columns
            tables = (table for shard in shards for table in self._tables(shard, names))
            with contextlib.closing(Prefetch(tables, ROW_GROUPS_AHEAD)) as ahead:
                for table in ahead:
                    frame = pl.DataFrame(table)
                    if limit is not None:
                        frame = frame.head(limit)
                        limit -= frame.height
                    yield frame if predicate is None else frame.filter(predicate)
                    if limit == 0:
                        return

        return register_io_source(frames, schema=schema)

    def _tables(self, shard: int, columns: list[str]) -> Iterator[pa.Table]:
        """A table per row group; once all are read, their sums are compared with the footer."""
        store, schema = self.store, self.manifest.arrow_schema()
        stated, sums = self.found[shard].totals, Sums()
        with (
            _naming_part(store, shard),
            store.root.open_input(store.part_name(shard)) as source,
            pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True) as parquet,
        ):
            if not parquet.schema_arrow.equals(schema):
                raise DamagedPartError("its columns differ from those in the manifest")
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, columns=columns)
                # Polars takes for granted what a damaged page header can break.
                table.validate(full=True)
                sums.add(table)
                yield table
            if difference := sums.difference(stated):
                raise DamagedPartError(f"its footer {difference}")
            if not parquet.num_row_groups:
                yield schema.empty_table().select(columns)


def find_parts(store: RunStore, manifest: Manifest, *, partial: bool = False) -> Parts:
    """The parts of a run, by their footers alone: one listing, and a read per part.

    Raises RunError if one is missing whose shard was not given up, unless `partial` takes what
    there is; if one is of another run, not whole, or has not the rows of its shard; and if they do
    not add up to what `_SUCCESS` says.
    """
    success, done = store.success(), store.done()
    there = [shard for shard in manifest.shards if shard.id in done]
    missing = [shard.id for shard in manifest.shards if shard.id not in done]
    if missing and not partial:
        _refuse_missing(store, manifest, missing)
    with ThreadPoolExecutor(FOOTER_READERS) as readers:
        found = list(readers.map(lambda shard: _find_part(store, manifest, shard), there))
    by_shard = dict(zip((shard.id for shard in there), found, strict=True))
    is_complete = success is not None and not missing
    parts = Parts(store, manifest, by_shard, is_complete)
    if success is not None and is_complete:
        _check_totals(parts, success)
    return parts


def is_complete(store: RunStore, manifest: Manifest) -> bool:
    """Whether the run is finished and no part is missing; no part is opened."""
    return store.success() is not None and store.done().issuperset(
        shard.id for shard in manifest.shards
    )


def read_part(store: RunStore, manifest: Manifest, shard: Shard) -> tuple[PartFooter, pa.Table]:
    """One part's footer and all its rows, checked as a scan checks them."""
    footer = read_footer(store, manifest, shard)
    return footer, _alone(store, manifest, shard, footer).read(shard.id)


def scan_part(store: RunStore, manifest: Manifest, shard: Shard) -> pl.LazyFrame:
    """One part's rows, whatever the others are like. Raises RunError as `Parts.scan`."""
    footer = read_footer(store, manifest, shard)
    return _alone(store, manifest, shard, footer).scan()


def _alone(store: RunStore, manifest: Manifest, shard: Shard, footer: PartFooter) -> Parts:
    part = {shard.id: Part(footer.totals, footer.checksums)}
    return Parts(store, manifest, part, is_complete=False)


def read_footer(store: RunStore, manifest: Manifest, shard: Shard) -> PartFooter:
    """A part's footer. Raises RunError unless it is of this shard of this run, or reused by it."""
    footer = store.footer(shard.id)
    reuse = manifest.reuse
    is_reused = reuse is not None and shard.id in reuse.shards
    where = store.root.show(store.part_name(shard.id))
    # A reused part may be reused there already, of a third run: then it is another's number.
    numbers = {manifest.run_id: shard.id}
    if is_reused:
        assert reuse is not None
        numbers[reuse.run_id] = reuse.shards[shard.id]
    if changes := differences(manifest.fingerprint, footer.fingerprint):
        what = f"has another fingerprint: {'; '.join(changes)}"
    elif footer.run_id not in numbers and not is_reused:
        what = f"belongs to another run, {footer.run_id}; this one is {manifest.run_id}"
    elif footer.shard != numbers.get(footer.run_id, footer.shard):
        what = f"has the scores of another shard, {footer.shard}"
    elif footer.totals.num_rows != shard.num_rows:
        what = f"has {footer.totals.num_rows} rows for {shard.num_rows} input rows"
    else:
        return footer
    raise RunError(f"{where} {what}", hint=SCORE_AGAIN)


def _find_part(store: RunStore, manifest: Manifest, shard: Shard) -> Part:
    footer = read_footer(store, manifest, shard)
    return Part(footer.totals, footer.checksums)


def _refuse_missing(store: RunStore, manifest: Manifest, missing: list[int]) -> None:
    """Raises RunError unless each of these shards was given up."""
    given_up = {failure.get("shard") for failure in store.failures()}
    lost = [shard for shard in missing if shard not in given_up]
    if not lost:
        return
    name, total = store.part_name(lost[0]), len(manifest.shards)
    if store.root.exists(name):
        raise RunError(f"{store.root.show(name)} is {store.root.fault(name)}", hint=SCORE_AGAIN)
    partly = f"or read the parts that exist with {named('partial')}"
    if store.success() is not None:
        more = f", and {len(lost) - 1:,} more of {total:,}" if len(lost) > 1 else ""
        raise RunError(f"{store.root.show(name)} is missing{more}", hint=f"{RESUME}; {partly}")
    what = f"is not finished: it has {total - len(missing):,} of {total:,} parts"
    raise RunError(f"{store.location} {what}", hint=f"{FINISH}; {partly}")


def _check_totals(parts: Parts, success: Success) -> None:
    found = add_totals(part.totals for part in parts.found.values())
    if difference := differing_sum(success.totals, found):
        for shard in parts.found:  # a part whose footer is not what its rows add up to is named
            parts.read(shard)
        raise RunError(f"{parts.store.root.show(SUCCESS)} {difference}", hint=WRITE_AGAIN)


@contextlib.contextmanager
def _naming_part(store: RunStore, shard: int) -> Iterator[None]:
    """A part that cannot be read says which it is, and what to do."""
    try:
        yield
    except PermissionError:  # names it already, and scoring again would not help
        raise
    except (pa.ArrowException, OSError, DamagedPartError) as error:
        raise RunError(
            f"{store.root.show(store.part_name(shard))} is damaged: {first_line(error)}",
            hint=SCORE_AGAIN,
        ) from error
