"""Write what a filter decided: every corpus file again, then `_filter.json`.

Owns the outputs, which row goes to which, and resuming where an earlier attempt was stopped: a
file whose outputs have the rows that the plan says is done. The Parquet is rewriting.py's.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.corpus.footers import read_footer
from pipeline.errors import (
    ConfigError,
    RunError,
    UnreadableFileError,
    WinnowError,
    first_line,
    named,
)
from pipeline.filters.filtering import Filter
from pipeline.filters.record import (
    FilterPlan,
    FilterRecord,
    begin,
    finish,
    identify,
    remove_leftovers,
)
from pipeline.filters.rewriting import (
    ROUTE,
    TEXT_HASH,
    FileJob,
    Output,
    RouteReader,
    Stretch,
    rewrite_file,
)
from pipeline.runs.manifest import Manifest
from pipeline.storage.filesystem import Root, open_root

THREADS = min(8, os.cpu_count() or 1)
BUCKET = "bucket"
UNSCORED = "unscored"
NO_OUTPUT = -1

OnRows = Callable[[int, int], None]
"""A function called with the number of rows done and the number of all rows."""


class FilterWriter:
    """Writes one filter's output."""

    def __init__(self, request: Filter, out: str) -> None:
        self._request = request
        config, self._manifest = request.config, request.manifest
        self._out = open_root(out)
        self._rejects = open_root(config.rejects) if config.rejects else None
        self._corpus = request.corpus
        self._buckets: list[str | None] | None = None
        if config.bucket_folders:
            unscored = [None] if config.unscored == "keep" else []
            self._buckets = [*(config.buckets or ()), *unscored]
        folders = [name or UNSCORED for name in self._buckets] if self._buckets else [""]
        self._outputs = [Output(self._out, folder) for folder in folders]
        self._rejected = NO_OUTPUT
        if self._rejects:
            self._rejected = len(self._outputs)
            self._outputs.append(Output(self._rejects))

    def write(self, on_rows: OnRows = lambda done, total: None) -> FilterRecord:
        """Write what is not there yet. Raises what `begin` does, and UnreadableFileError at the
        end if files were damaged; the others are written then."""
        added = self._added_columns()
        check_names(self._corpus, self._manifest, added)
        plan, record = self._plan(), self._request.record()
        roots = [(self._out, "out")] + ([(self._rejects, "rejects")] if self._rejects else [])
        whole = [begin(root, plan, setting) for root, setting in roots]
        jobs = [job for job in self._jobs() if not self._is_done(job, plan.kept[job.name])]
        total = sum(file.num_rows for file in self._manifest.files)
        on_rows(total - sum(job.num_rows for job in jobs), total)
        if not jobs and all(whole):
            return record
        for root, _ in roots:
            remove_leftovers(root)
        routes = RouteReader(self._decide_shard, added, self._undecided(), keep_shards=2 * THREADS)
        self._rewrite(jobs, plan, routes, total, on_rows)
        for root, _ in roots:
            finish(root, record)
        return record

    def _plan(self) -> FilterPlan:
        request = self._request
        kept = request.counts.kept_by_file(self._buckets)
        if self._rejects:
            sizes = {file.path: file.num_rows for file in self._manifest.files}
            kept = {name: (*rows, sizes[name] - sum(rows)) for name, rows in kept.items()}
        rules = request.config.model_dump(
            exclude={"run", "corpus", "out", "rejects", "minus", "over", "force", "partial"}
        )
        run = request.run
        other = run.other.require_manifest().run_id if run.other else None
        identity = identify(self._manifest, len(run.rows.shards), other, rules)
        identity["paired"] = request.config.own_metric
        for rule in request.selection.rules:
            identity |= rule.identity
        identity["rejects"] = self._rejects.location if self._rejects else None
        return FilterPlan(identity=identity, kept=kept)

    def _jobs(self) -> list[FileJob]:
        stretches: list[list[Stretch]] = [[] for _ in self._manifest.files]
        done = set(self._request.run.rows.shards)
        for shard in self._manifest.shards:
            offset = 0
            for span in shard.spans:
                if shard.id in done:
                    stretch = Stretch(shard.id, offset, span.first_row, span.num_rows)
                    stretches[span.file].append(stretch)
                offset += span.num_rows
        return [
            FileJob(file.path, self._manifest.text_column, file.num_rows, tuple(found))
            for file, found in zip(self._manifest.files, stretches, strict=True)
        ]

    def _is_done(self, job: FileJob, expected: tuple[int, ...]) -> bool:
        return all(
            _num_rows(output, job.name) == rows
            for output, rows in zip(self._outputs, expected, strict=True)
        )

    def _rewrite(
        self,
        jobs: list[FileJob],
        plan: FilterPlan,
        routes: RouteReader,
        total: int,
        on_rows: OnRows,
    ) -> None:
        stopped = threading.Event()
        unreadable: list[UnreadableFileError] = []
        done = total - sum(job.num_rows for job in jobs)
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                pending = {
                    pool.submit(
                        rewrite_file, self._corpus, job, self._outputs, routes, stopped
                    ): job
                    for job in jobs
                }
                for future in as_completed(pending):
                    job = pending[future]
                    try:
                        written = tuple(future.result())
                    except UnreadableFileError as error:
                        unreadable.append(error)
                        continue
                    if written != plan.kept[job.name]:
                        raise RunError(
                            f"the output of {job.name} has {written} rows, but the rules keep "
                            f"{plan.kept[job.name]}",
                            hint="the run or the corpus changed meanwhile: run the command again "
                            "with a new output folder",
                        )
                    done += job.num_rows
                    on_rows(done, total)
            except BaseException:
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        if unreadable:
            others = len(unreadable) - 1
            more = f" (and {others} more such files)" if others else ""
            raise WinnowError(
                f"{unreadable[0]}{more}; the output is incomplete",
                hint="repair the files and run the same command again; what is written is kept",
            )

    def _added_columns(self) -> pa.Schema:
        config, fields = self._request.config, list[pa.Field]()
        if config.add_columns:
            corpus_own = {"file", "row", "doc_id", *self._manifest.carried}
            schema = self._manifest.arrow_schema()
            fields += [
                field.with_nullable(True) for field in schema if field.name not in corpus_own
            ]
            if config.own_metric:
                fields.append(pa.field(config.own_metric, pa.float64()))
        if config.buckets and not config.bucket_folders:
            fields.append(pa.field(BUCKET, pa.string()))
        return pa.schema(fields)

    def _undecided(self) -> int:
        """Where rows go that have no score row."""
        if self._request.config.unscored == "drop":
            return self._rejected
        return self._buckets.index(None) if self._buckets else 0

    def _decide_shard(self, index: int) -> pa.Table:
        """[route, hash of the text, the added columns] of a shard's rows, in order."""
        request = self._request
        scores = request.run.rows.of([index])
        decided = request.selection.decide(scores)
        kept = pl.lit(0)
        if self._buckets:
            for place, name in enumerate(self._buckets):
                kept = pl.when(pl.col(BUCKET).eq_missing(pl.lit(name))).then(place).otherwise(kept)
        route = pl.when("keep").then(kept).otherwise(self._rejected).cast(pl.Int8)
        added = self._added_columns()
        own = scores.select(
            pl.col("text_hash").alias(TEXT_HASH),
            *(name for name in added.names if name != BUCKET),
        )
        frame = pl.concat(
            [decided.select("file", "row", BUCKET, route.alias(ROUTE)), own], how="horizontal"
        ).collect()
        self._check_rows(index, frame)
        columns = [frame[name].to_arrow().cast(added.field(name).type) for name in added.names]
        first = [frame[name].to_arrow() for name in (ROUTE, TEXT_HASH)]
        return pa.table([*first, *columns], names=[ROUTE, TEXT_HASH, *added.names])

    def _check_rows(self, index: int, frame: pl.DataFrame) -> None:
        """Raises RunError unless these are the shard's rows in order."""
        at, right = 0, True
        for span in self._manifest.shards[index].spans:
            part = frame.slice(at, span.num_rows)
            rows = np.arange(span.first_row, span.first_row + span.num_rows)
            right &= np.array_equal(part["row"].to_numpy(), rows)
            right &= bool((part["file"] == self._manifest.files[span.file].path).all())
            at += span.num_rows
        if not right or at != frame.height:
            store = self._request.run.rows.store
            raise RunError(
                f"{store.root.show(store.part_name(index))} is damaged: it does not have the input "
                "rows in order",
                hint=f"winnow verify {store.location} lists every damaged part",
            )


def check_names(corpus: Root, manifest: Manifest, added: pa.Schema) -> None:
    """Raises ConfigError if a corpus file has a column that would be added."""
    if not added.names:
        return
    with ThreadPoolExecutor(THREADS) as pool:
        schemas = pool.map(lambda file: _column_names(corpus, file.path), manifest.files)
        for file, names in zip(manifest.files, schemas, strict=True):
            if taken := [name for name in added.names if name in names]:
                hint = f"rename it in the corpus, or leave out {named('add_columns')}"
                if taken[0] == BUCKET:
                    hint = f"rename it in the corpus, or use {named('bucket_folders')}"
                raise ConfigError(f"{file.path} has a column '{taken[0]}' already", hint=hint)


def _column_names(corpus: Root, name: str) -> list[str]:
    try:
        _, schema, _ = read_footer(corpus, name)
        names: list[str] = schema.names
        return names
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"{name} cannot be read: {first_line(error)}") from error


def _num_rows(output: Output, name: str) -> int | None:
    """Rows of an output file, from its footer; None if there is no whole file."""
    try:
        metadata, _, _ = read_footer(output.root, output.name(name))
        return int(metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None
