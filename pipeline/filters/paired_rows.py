"""The score rows of a run, with a second run's beside them where two models are compared.

Owns which runs may be paired: the same rows of the same text, in the same order. Then the two are
laid side by side, which costs no join, whatever their shards.

The difference of two models' surprise is the excess loss of RHO-1 (Lin et al. 2024,
arXiv:2404.07965), by document; the ratio of their perplexities is the quality factor of
ScalingFilter (Li et al. 2024, arXiv:2408.08310). Both are of bits per byte here, which compares
across tokenizers.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import polars as pl

from pipeline.errors import RunError, counted, named
from pipeline.runs.manifest import Manifest
from pipeline.runs.rules import check_rules
from pipeline.runs.scores import find_parts
from pipeline.runs.store import RESUME, RunStore
from pipeline.statistics.columns import column_named

OTHER = "other:"
PAIRED = "bits_per_byte"
"""The metric that the two are compared by."""


class ScoreRows:
    """A run's committed score rows: all of them, or those of one shard."""

    def __init__(
        self,
        store: RunStore,
        manifest: Manifest,
        own_metrics: Sequence[str] = (),
        *,
        partial: bool = False,
    ) -> None:
        self.store = store
        self.manifest = manifest
        self.parts = find_parts(store, manifest, partial=partial)
        self.shards = list(self.parts.found)
        self.is_complete = self.parts.is_complete
        self._own_metrics = own_metrics
        self._other: ScoreRows | None = None
        rows = (shard.num_rows for shard in manifest.shards)
        self._first_rows = list(accumulate(rows, initial=0))

    def pair(self, other: "ScoreRows") -> None:
        """Pair a second run with this one. Raises RunError unless both hold the same rows,
        scored by the same rules."""
        for run in (self, other):
            if not run.is_complete:
                raise RunError(
                    f"{run.store.location} is not complete: it cannot be compared with another run",
                    hint=RESUME,
                )
        if difference := _difference(self.manifest, other.manifest):
            raise RunError(
                f"{self.store.location} and {other.store.location} did not score the same corpus: "
                f"{difference}",
                hint=f"score the same corpus with the same {named('text_column')} and "
                f"{named('limit')} in both runs",
            )
        check_rules([(run.store.location, run.manifest) for run in (self, other)])
        self._other = other
        frame = self._beside(self.everything(), other.everything(), "file", "row", "text_hash")
        same = [
            column_named(name).eq_missing(pl.col(OTHER + name))
            for name in ("file", "row", "text_hash")
        ]
        wrong = frame.select((~pl.all_horizontal(same)).sum()).collect(engine="streaming").item()
        if wrong:
            raise RunError(
                f"{counted(wrong, 'document')} with different texts in {other.store.location} and "
                f"{self.store.location}",
                hint="the corpus was changed between the two runs; repeat the older run in a new "
                "folder",
            )

    def everything(self) -> pl.LazyFrame:
        """Every committed row, in the order of the corpus."""
        rows = self.parts.scan()
        return rows if self._other is None else self._paired(rows, self._other.everything())

    def of(self, shards: Sequence[int]) -> pl.LazyFrame:
        """The rows of shards that follow each other, in order."""
        rows = self.parts.scan(shards)
        if self._other is None:
            return rows
        first, last = self._first_rows[shards[0]], self._first_rows[shards[-1] + 1]
        return self._paired(rows, self._other._between(first, last))

    def beside(self, *names: str) -> pl.LazyFrame:
        """Every committed row, and those columns of the second run as OTHER + name."""
        assert self._other is not None
        return self._beside(self.everything(), self._other.parts.scan(), *names)

    def _between(self, first: int, last: int) -> pl.LazyFrame:
        """Rows by their place in the run, from 0."""
        start = bisect_right(self._first_rows, first) - 1
        end = next(i for i, row in enumerate(self._first_rows) if row >= last)
        rows = self.parts.scan(range(start, end))
        return rows.slice(first - self._first_rows[start], last - first)

    def _paired(self, rows: pl.LazyFrame, others: pl.LazyFrame) -> pl.LazyFrame:
        if not self._own_metrics:
            return rows
        own, other = column_named(PAIRED), pl.col(OTHER + PAIRED)
        values = {"difference": own - other, "ratio": own / other}
        made = {name: values[name] for name in self._own_metrics}
        return self._beside(rows, others, PAIRED).with_columns(**made).drop(OTHER + PAIRED)

    def _beside(self, rows: pl.LazyFrame, others: pl.LazyFrame, *names: str) -> pl.LazyFrame:
        renamed = others.select(column_named(name).alias(OTHER + name) for name in names)
        return pl.concat([rows, renamed], how="horizontal")


def _difference(one: Manifest, two: Manifest) -> str | None:
    """The first way in which two runs do not hold the same rows."""
    if one.text_column != two.text_column:
        return f"the text columns are '{one.text_column}' and '{two.text_column}'"
    ours, theirs = ({file.path: file for file in run.files} for run in (one, two))
    for name in sorted(ours.keys() ^ theirs.keys()):
        return f"{name} is only in the {'first' if name in ours else 'second'}"
    for name, file in ours.items():
        if file.num_rows != theirs[name].num_rows:
            return f"{name} has {file.num_rows:,} rows and {theirs[name].num_rows:,}"
    covered = [sum(shard.num_rows for shard in run.shards) for run in (one, two)]
    if covered[0] != covered[1]:
        return f"the first covers {covered[0]:,} rows and the second {covered[1]:,}"
    return None
