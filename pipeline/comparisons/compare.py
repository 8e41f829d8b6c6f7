"""Runs side by side: figures, shifts from a baseline, and how sure they are.

Owns the order of the work: which run is held against which, and one pair in memory at a time. What
may be compared is comparability.py's, what a shift is, shifts.py's.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl

from pipeline.comparisons.comparability import (
    TREND,
    Question,
    Subject,
    confounded,
    files_changed,
    on_samples,
    recognise,
)
from pipeline.comparisons.comparison import (
    Cell,
    ComparedRun,
    Comparison,
    Intervals,
    Matrix,
    RunShift,
    Step,
)
from pipeline.comparisons.pairing import pair
from pipeline.comparisons.samples import Sample, file_order, read_sample
from pipeline.comparisons.shifts import (
    BITS,
    PERPLEXITY,
    Measured,
    change_between,
    count_scored,
    figure_of,
    percentiles,
    resample,
    shift_between,
    with_exact_quantiles,
)
from pipeline.errors import RunError
from pipeline.reports.groups import check_group, group_sizes, largest_groups
from pipeline.reports.sampled import corpus_figures, corpus_groups, sampled, weighed
from pipeline.runs.sample import Draw, read_draw
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.statistics.bootstrap import CONFIDENCE, METHOD, Blocks, Bootstrap

DEFAULT_RESAMPLES = 1000


def compare_runs(
    stores: list[RunStore],
    *,
    baseline: RunStore | None = None,
    by: tuple[str, ...] = (),
    partial: bool = False,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    on_run: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Compare runs with a baseline: the first, if none is given. Raises RunError.

    `by` are columns that every run carries. `partial` lets in runs that are not finished. `on_run`
    hears the name of each run as it is read.
    """
    stores, first = _with_baseline(stores, baseline)
    question = recognise(stores, partial=partial)
    draws = [read_draw(subject.store) for subject in question.subjects]
    scores = [
        weighed(scan_scores(subject.store, subject.manifest), draw)
        for subject, draw in zip(question.subjects, draws, strict=True)
    ]
    groups = _groups(question.subjects, scores, by)
    runs = []
    for subject, frame, draw in zip(question.subjects, scores, draws, strict=True):
        on_run(subject.name)
        runs.append(_measured(subject, frame, groups, draw))
    figures = [PERPLEXITY, BITS] if question.same_tokenizer else [BITS]
    bootstrap = Bootstrap(seed=seed, resamples=resamples)
    references = _references(question, first)
    pairs = _Pairs(runs, figures, groups, bootstrap)
    shifts = pairs.compare(references, on_run)
    order = _order(question, runs, figures[0])
    return Comparison(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=question.kind,
        ranked_by=figures[0],
        baseline=question.subjects[first].name,
        by=list(groups),
        notes=question.notes + confounded(question, references) + on_samples(question, draws),
        intervals=Intervals(method=METHOD, confidence=CONFIDENCE, resamples=resamples, seed=seed),
        runs=[_compared(runs[i], figures) for i in order],
        shifts=[shifts[i] for i in order if i in shifts],
        trend=_trend(runs, figures[0]) if question.kind in TREND else None,
        matrix=_matrix(runs) if question.kind == "matrix" else None,
    )


def _with_baseline(stores: list[RunStore], baseline: RunStore | None) -> tuple[list[RunStore], int]:
    """The runs, and which is the baseline; one that is not among them comes first."""
    if baseline is None:
        return stores, 0
    locations = [store.location for store in stores]
    if baseline.location in locations:
        return stores, locations.index(baseline.location)
    return [baseline, *stores], 0


def _groups(
    subjects: list[Subject], scores: list[pl.LazyFrame], by: tuple[str, ...]
) -> dict[str, list[str]]:
    """Column to the groups that are told apart in every run alike."""
    groups = {}
    for column in dict.fromkeys(by):
        sizes: dict[str, int] = {}
        for subject, frame in zip(subjects, scores, strict=True):
            try:
                check_group(column, subject.manifest)
            except RunError as error:
                raise RunError(f"{subject.store.location}: {error}", hint=error.hint) from error
            for name, size in group_sizes(frame, column).items():
                sizes[name] = sizes.get(name, 0) + size
        groups[column] = largest_groups(sizes)
    return groups


def _measured(
    subject: Subject, scores: pl.LazyFrame, groups: dict[str, list[str]], draw: Draw | None
) -> Measured:
    figures = corpus_figures(scores, draw)
    if figures.bits_per_byte is None:
        raise RunError(
            f"no document of {subject.store.location} has a score: there is nothing to compare",
            hint="`winnow report` says what became of its rows",
        )
    return Measured(
        subject=subject,
        scores=scores,
        figures=figures,
        groups={
            column: corpus_groups(scores, column, draw, names) for column, names in groups.items()
        },
        sampled=None if draw is None else sampled(scores, draw),
    )


def _references(question: Question, first: int) -> list[int | None]:
    """Which run each is held against: the baseline.

    In a matrix another model is held against the baseline's model over the same dataset, where
    there is one, so that one thing differs at a time.
    """
    subjects = question.subjects
    references: list[int | None] = []
    for i, subject in enumerate(subjects):
        reference = first
        if subject.model != subjects[first].model:
            beside = [
                j
                for j, other in enumerate(subjects)
                if other.model == subjects[first].model and other.dataset == subject.dataset
            ]
            reference = first if first in beside or not beside else beside[0]
        references.append(None if i == first else reference)
    return references


class _Pairs:
    """Holds each run against its reference; no more than two runs' documents in memory."""

    def __init__(
        self,
        runs: list[Measured],
        figures: list[str],
        groups: dict[str, list[str]],
        bootstrap: Bootstrap,
    ) -> None:
        self.runs = runs
        self.figures = figures
        self.groups = groups
        self.bootstrap = bootstrap
        self.files = file_order(run.subject.manifest for run in runs)

    def compare(
        self, references: list[int | None], on_run: Callable[[str], None]
    ) -> dict[int, RunShift]:
        """Run to its shift; fills in every run's resampled figures."""
        shifts = {}
        for reference in sorted({i for i in references if i is not None}):
            on_run(self.runs[reference].subject.name)
            baseline, _ = self._read(reference)
            for i, its_reference in enumerate(references):
                if its_reference == reference:
                    on_run(self.runs[i].subject.name)
                    shifts[i] = self._shift(reference, i, baseline)
        return shifts

    def _read(self, index: int) -> tuple[Sample, Blocks]:
        run = self.runs[index]
        sample = read_sample(run.scores, self.files, self.groups)
        blocks = self.bootstrap.blocks(sample.key, self.files, run.subject.place)
        if not run.resampled:
            run.resampled = resample(sample, blocks, self.bootstrap, self.groups)
            run.num_resampled = count_scored(sample, self.groups)
            run.percentiles = percentiles(sample, self.figures)
            run.figures = with_exact_quantiles(run.figures, run.percentiles)
        return sample, blocks

    def _shift(self, reference: int, index: int, baseline: Sample) -> RunShift:
        before, after = self.runs[reference], self.runs[index]
        sample, blocks = self._read(index)
        overall, groups = shift_between(
            before, after, (baseline, sample), self.figures, self.groups
        )
        pairing = None
        if before.subject.place == after.subject.place:
            pairing = pair(
                baseline,
                sample,
                blocks=blocks,
                bootstrap=self.bootstrap,
                files=self.files,
                run_scores=after.scores,
            )
        return RunShift(
            run=after.subject.name,
            baseline=before.subject.name,
            overall=overall,
            groups=groups,
            files=files_changed(before.subject, after.subject),
            pairing=pairing,
        )


def _order(question: Question, runs: list[Measured], figure: str) -> list[int]:
    """Runs from the least to the most surprised; those of a trend as they were given."""
    if question.kind in TREND:
        return list(range(len(runs)))

    def surprise(index: int) -> float:
        value = figure_of(runs[index].figures, figure)
        return float("inf") if value is None else value

    return sorted(range(len(runs)), key=surprise)


def _compared(run: Measured, figures: list[str]) -> ComparedRun:
    subject = run.subject
    return ComparedRun(
        run=subject.store.location,
        name=subject.name,
        model=subject.manifest.model.name,
        corpus=subject.manifest.corpus,
        tokenizer=subject.tokenizer,
        dtype=subject.manifest.rules.dtype,
        complete=subject.complete,
        sample=run.sampled,
        figures=run.figures,
        intervals={figure: run.interval(figure) for figure in figures},
        percentiles=run.percentiles,
        groups=run.groups,
    )


def _trend(runs: list[Measured], figure: str) -> list[Step]:
    return [
        Step(
            run=run.subject.name,
            value=figure_of(run.figures, figure),
            from_previous=change_between(runs[i - 1], run, figure) if i else None,
            from_first=change_between(runs[0], run, figure) if i else None,
        )
        for i, run in enumerate(runs)
    ]


def _matrix(runs: list[Measured]) -> Matrix:
    """The first run given of each model and dataset."""
    models = {run.subject.model: run.subject.model_name for run in reversed(runs)}
    datasets = {run.subject.dataset: run.subject.dataset_name for run in reversed(runs)}
    cells = {
        (run.subject.model, run.subject.dataset): Cell(
            run=run.subject.name,
            bits_per_byte=run.figures.bits_per_byte,
            interval=run.interval(BITS),
        )
        for run in reversed(runs)
    }
    return Matrix(
        models=[models[model] for model in sorted(models)],
        datasets=[datasets[dataset] for dataset in sorted(datasets)],
        cells=[[cells.get((m, d)) for d in sorted(datasets)] for m in sorted(models)],
    )
