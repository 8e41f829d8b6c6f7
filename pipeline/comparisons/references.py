"""Each run against the one it is compared with.

Owns which run that is, and one pair of runs in memory at a time. A document that both have is
resampled alike in both, wherever it lies: intervals of changes are those of paired documents.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl

from pipeline.comparisons.agreement import agree
from pipeline.comparisons.comparability import Subject, files_changed
from pipeline.comparisons.comparison import RunShift
from pipeline.comparisons.matching import match
from pipeline.comparisons.pairing import pair
from pipeline.comparisons.samples import Ids, Sample, file_order, read_ids, read_sample
from pipeline.comparisons.shifts import (
    Measured,
    count_scored,
    percentiles,
    resample,
    shift_between,
    with_exact_quantiles,
)
from pipeline.errors import WinnowError
from pipeline.reports.excerpts import read_excerpts
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest
from pipeline.statistics.bootstrap import Blocks, Bootstrap


def references(subjects: list[Subject], first: int) -> list[int | None]:
    """Which run each is compared with: the baseline.

    In a matrix another model is compared with the baseline's model over the same dataset, where
    there is one, so that one thing differs at a time.
    """
    found: list[int | None] = []
    for i, subject in enumerate(subjects):
        reference = first
        if subject.model != subjects[first].model:
            beside = [
                j
                for j, other in enumerate(subjects)
                if other.model == subjects[first].model and other.dataset == subject.dataset
            ]
            reference = first if first in beside or not beside else beside[0]
        found.append(None if i == first else reference)
    return found


class Shifts:
    """Compares each run with its reference; no more than two runs' documents in memory."""

    def __init__(
        self,
        runs: list[Measured],
        figures: list[str],
        groups: dict[str, list[str]],
        bootstrap: Bootstrap,
        *,
        text: bool,
    ) -> None:
        self._runs = runs
        self._text = text
        self._figures = figures
        self._groups = groups
        self._bootstrap = bootstrap
        self._files = file_order(run.subject.manifest for run in runs)
        self._blocks: dict[int, Blocks] = {}
        """Of the documents of runs that others are compared with."""

    def find(
        self, held_against: list[int | None], on_run: Callable[[str], None]
    ) -> dict[int, RunShift]:
        """Run to its shift; fills in every run's resampled figures."""
        shifts = {}
        first = held_against.index(None)
        # The baseline first: other references are themselves compared with it.
        for reference in sorted(
            {i for i in held_against if i is not None}, key=lambda i: i != first
        ):
            on_run(self._runs[reference].subject.name)
            baseline = self._read(reference)
            if reference not in self._blocks:
                self._blocks[reference] = self._own_blocks(reference, baseline)
            self._resample(reference, baseline, self._blocks[reference])
            for i, its_reference in enumerate(held_against):
                if its_reference == reference:
                    on_run(self._runs[i].subject.name)
                    shifts[i] = self._shift(reference, i, baseline, keep=i in held_against)
        return shifts

    def _read(self, index: int) -> Sample:
        return read_sample(self._runs[index].scores, self._files, self._groups)

    def _own_blocks(self, index: int, sample: Sample) -> Blocks:
        place = self._runs[index].subject.place
        return self._bootstrap.blocks(sample.key, self._files, place)

    def _resample(self, index: int, sample: Sample, blocks: Blocks) -> None:
        run = self._runs[index]
        if run.resampled:
            return
        run.resampled = resample(sample, blocks, self._bootstrap, self._groups)
        run.num_resampled = count_scored(sample, self._groups)
        run.percentiles = percentiles(sample, self._figures)
        run.figures = with_exact_quantiles(run.figures, run.percentiles)

    def _shift(self, reference: int, index: int, baseline: Sample, *, keep: bool) -> RunShift:
        before, after = self._runs[reference], self._runs[index]
        sample = self._read(index)
        blocks = self._own_blocks(index, sample)
        same_place = before.subject.place == after.subject.place
        matched = match(
            baseline, sample, ids=self._ids(before.scores, after.scores), same_corpus=same_place
        )
        blocks[matched.in_run] = self._blocks[reference][matched.in_baseline]
        if keep:
            self._blocks[index] = blocks
        self._resample(index, sample, blocks)
        overall, groups = shift_between(
            before, after, (baseline, sample), self._figures, self._groups
        )
        pairing = agreement = None
        if same_place or len(matched.in_run):
            pairing = pair(
                baseline,
                sample,
                matched,
                blocks=blocks,
                bootstrap=self._bootstrap,
                files=self._files,
                run_scores=after.scores,
                excerpts=partial(_excerpts, after.subject.manifest) if self._text else None,
            )
        if before.subject.model != after.subject.model and len(matched.in_run):
            agreement = agree(
                baseline,
                sample,
                matched,
                blocks=blocks,
                bootstrap=self._bootstrap,
                groups=self._groups,
            )
        return RunShift(
            run=after.subject.name,
            baseline=before.subject.name,
            overall=overall,
            groups=groups,
            files=files_changed(before.subject, after.subject),
            pairing=pairing,
            agreement=agreement,
        )

    def _ids(
        self, baseline: pl.LazyFrame, run: pl.LazyFrame
    ) -> Callable[[], tuple[Ids, Ids]] | None:
        """What reads the ids of both, where both have any."""
        if not all("doc_id" in scores.collect_schema() for scores in (baseline, run)):
            return None
        return lambda: (read_ids(baseline, self._files), read_ids(run, self._files))


def _excerpts(manifest: Manifest, rows: pl.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
    """The beginnings of documents of a run, or why there are none."""
    try:
        return read_excerpts(open_corpus(manifest), manifest.text_column, rows)
    except WinnowError as error:
        said = {"missing": f"the corpus cannot be opened: {error}"}
        return dict.fromkeys(rows.select("file", "row").iter_rows(), said)
