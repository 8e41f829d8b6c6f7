"""A finished run, opened to be looked at for hours: its rows, its columns, what it was then.

Owns which runs may be explored, which of their columns are metrics and groups, and how a run that
was scored again meanwhile is told from the one that was opened.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

from pipeline.corpus.location import require_planned
from pipeline.errors import CorpusError, RunError, WinnowError
from pipeline.filters.filtering import PreparedRun, is_metric
from pipeline.reports.excerpts import METRIC
from pipeline.reports.groups import check_group, default_columns
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest
from pipeline.runs.scores import Parts, find_parts
from pipeline.runs.store import RunStore
from pipeline.statistics.columns import column_named, nan_as_null
from pipeline.storage.filesystem import Root

PLACE = ["file", "row"]
CHUNK_ROWS = 2_000_000
"""Rows that are read between two steps of a progress bar."""
GLIMPSE_ROWS, GLIMPSE_PARTS = 10_000, 16
"""Rows of a part, and parts, that are looked at to see whether a column has few values."""


@dataclass(frozen=True, slots=True)
class ExploredRun:
    """A run as it was when it was opened."""

    prepared: PreparedRun
    """The prepared run that rules are applied to."""
    identity: str
    """Identity of the scores; it changes when any part is scored anew."""
    corpus: Root | None
    corpus_moved_to: str | None
    corpus_fault: str | None
    """Why texts cannot be shown; None if they can."""
    other: "ExploredRun | None" = None
    """A second run, paired with this one if `prepared` has metrics of its own."""

    @property
    def parts(self) -> Parts:
        return self.prepared.rows.parts

    @property
    def store(self) -> RunStore:
        return self.parts.store

    @property
    def manifest(self) -> Manifest:
        return self.parts.manifest

    def rows(self) -> pl.LazyFrame:
        """Every score row; what is NaN is null. Raises RunError where a part is not as it was."""
        return nan_as_null(self.prepared.rows.everything())

    def at(self, places: pl.DataFrame, keys: Sequence[str]) -> pl.LazyFrame:
        """The rows of places by these keys, `file` and `row` among them; beside each what else is
        told of it."""
        files, rows = (column_named(name).is_in(places[name].unique().implode()) for name in PLACE)
        return self.rows().filter(files, rows).join(places.lazy(), on=keys, how="inner")

    def chunks(self) -> Iterator[tuple[int, pl.LazyFrame]]:
        """The same rows, some millions at a time, with how many they are."""
        shards, num_rows = list[int](), 0
        for shard in self.parts.found:
            shards.append(shard)
            num_rows += self.manifest.shards[shard].num_rows
            if num_rows >= CHUNK_ROWS:
                yield num_rows, nan_as_null(self.prepared.rows.of(shards))
                shards, num_rows = [], 0
        if shards:
            yield num_rows, nan_as_null(self.prepared.rows.of(shards))

    def identity_of(self, metric: str) -> str:
        """Of the scores that a metric comes from: of both runs, where it is made of both."""
        if self.other is None or metric not in self.prepared.own_metrics:
            return self.identity
        return f"{self.identity}-{self.other.identity}"

    @property
    def num_rows(self) -> int:
        """Score rows that there are."""
        return sum(self.manifest.shards[shard].num_rows for shard in self.parts.found)

    @property
    def metrics(self) -> list[str]:
        """Columns that a rule can look at: those made of two runs, then perplexity, first."""
        names = [field.name for field in self.manifest.arrow_schema() if is_metric(field)]
        return [*self.prepared.own_metrics, *sorted(names, key=lambda name: name != METRIC)]

    @property
    def columns(self) -> list[str]:
        """Columns whose values are groups; the text is none, though it may be carried, too."""
        found = []
        for name in self.manifest.carried:
            if name == self.manifest.text_column:
                continue
            try:
                check_group(name, self.manifest)
            except RunError:
                continue
            found.append(name)
        return found

    def default_column(self) -> str | None:
        """The first that a report would group by, by the first rows of some parts."""
        columns = self.columns
        every = max(1, len(self.parts.found) // GLIMPSE_PARTS)
        heads = [
            self.parts.scan([shard]).select(map(column_named, columns)).head(GLIMPSE_ROWS)
            for shard in list(self.parts.found)[::every]
        ]
        if not columns or not heads:
            return None
        rows = pl.concat(heads).collect()
        besides = set(self.manifest.carried).difference(columns)
        return next(iter(default_columns(rows.lazy(), self.manifest, besides)), None)

    def has_changed(self) -> bool:
        """Whether the run is another one than was opened, or none at all."""
        try:
            manifest = self.store.require_manifest()
            now = identify(find_parts(self.store, manifest, partial=True))
            return self.identity != now or (self.other is not None and self.other.has_changed())
        except (WinnowError, OSError):
            return True


def open_run(location: str, *, corpus: str | None = None, partial: bool = False) -> ExploredRun:
    """Open a run to explore. A corpus that is gone is no reason not to; one that was named is.

    Raises RunError for a run that is not finished, unless `partial` takes what there is.
    """
    prepared = PreparedRun(location, partial=partial)
    manifest = prepared.manifest
    root, fault = None, None
    try:
        root = open_corpus(manifest, corpus)
        require_planned(root, [file.path for file in manifest.files])
    except CorpusError as error:
        if corpus is not None:
            raise
        root, fault = None, str(error)
    return ExploredRun(prepared, identify(prepared.rows.parts), root, corpus, fault)


def identify(parts: Parts) -> str:
    """A digest of everything that a run's footers say of its scores."""
    found = [
        [shard, part.totals.model_dump(), part.checksums and part.checksums.model_dump()]
        for shard, part in parts.found.items()
    ]
    content = json.dumps([parts.manifest.run_id, parts.manifest.fingerprint, found])
    return blake2b(content.encode(), digest_size=16).hexdigest()
