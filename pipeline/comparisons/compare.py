"""Runs side by side: figures, shifts from a baseline, and their intervals.

Owns the order of the work. comparability.py says what may be compared, references.py which run is
compared with which, and shifts.py what a shift is.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field

from pipeline.comparisons.comparability import TREND, Question, Subject, recognise
from pipeline.comparisons.comparison import Cell, ComparedRun, Comparison, Matrix, Step
from pipeline.comparisons.gates import Gates
from pipeline.comparisons.notes import confounded, on_samples
from pipeline.comparisons.page import write_comparison
from pipeline.comparisons.references import Shifts, references
from pipeline.comparisons.shifts import (
    BITS,
    PERPLEXITY,
    WORD,
    Measured,
    change_between,
    figure_of,
)
from pipeline.errors import RunError
from pipeline.reports.groups import check_group, group_sizes, largest_groups
from pipeline.reports.requirements import Requirement
from pipeline.reports.sampled import corpus_figures, corpus_groups, sampled, weighed, weight_of
from pipeline.reports.term_values import Rows
from pipeline.runs.sample import Draw, read_draw
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.settings.arguments import checked
from pipeline.statistics.bootstrap import RESAMPLES, Bootstrap


@checked
def compare_runs(
    runs: Sequence[RunStore | str | Path],
    *,
    baseline: RunStore | str | Path | None = None,
    by: str | Sequence[str] | None = None,
    fail_if: str | Sequence[str] = (),
    out: str | Path | None = None,
    text: bool = True,
    partial: bool = False,
    resamples: Annotated[int, Field(ge=100)] = RESAMPLES,
    seed: Annotated[int, Field(ge=0)] = 0,
    on_run: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Compare runs with a baseline: the first, if none is given.

    `by` are columns that every run carries. `fail_if` are expressions that must not be true of any
    run but the baseline; increase(...) and the like compare it with its baseline. `out` is a folder
    to write comparison.html, .json and .md into; without, nothing is written. `text` has beginnings
    of the documents that moved most, read where each run was scored. `partial` lets in runs that
    are not complete. `on_run` is called with the name of each run as it is read.

    >>> from pipeline import compare_runs
    >>> comparison = compare_runs(["runs/first", "runs/first"], by="source", out="compared")
    >>> comparison.kind
    'repeats'
    >>> shift = comparison.shifts[0]
    >>> shift.overall.changes["bits_per_byte"].difference, shift.pairing.num_rose
    (0.0, 0)
    >>> nights = compare_runs(["runs/first", "runs/first"], fail_if="increase(tokens) > 5%")
    >>> [one.failed for one in nights.requirements]
    [False]

    Raises RunError for runs that cannot be compared, ConfigError for an expression that is wrong or
    if `out` is a file.
    """
    stores = [_store(run) for run in runs]
    by = (by,) if isinstance(by, str) else tuple(by or ())
    fail_if = (fail_if,) if isinstance(fail_if, str) else tuple(fail_if)
    requirements = [Requirement.read(source) for source in fail_if]
    by += tuple(name for one in requirements if one.needs_psi for name in one.grouped())
    baseline = None if baseline is None else _store(baseline, "baseline")
    stores, first = _with_baseline(stores, baseline)
    question = recognise(stores, partial=partial)
    draws = [read_draw(subject.store) for subject in question.subjects]
    scores = [
        weighed(scan_scores(subject.store, subject.manifest, partial=partial), draw)
        for subject, draw in zip(question.subjects, draws, strict=True)
    ]
    held_against = references(question.subjects, first)
    rows = [
        Rows(frame, weight_of(draw), draw, subject.place)
        for frame, draw, subject in zip(scores, draws, question.subjects, strict=True)
    ]
    gates = Gates(requirements, question.subjects, rows, held_against)
    groups = _groups(question.subjects, scores, by)
    measured = []
    for subject, frame, draw in zip(question.subjects, scores, draws, strict=True):
        on_run(subject.name)
        measured.append(_measured(subject, frame, groups, draw))
    figures = [PERPLEXITY, BITS, WORD] if question.same_tokenizer else [BITS, WORD]
    bootstrap = Bootstrap(seed=seed, resamples=resamples)
    shifts = Shifts(measured, figures, groups, bootstrap, text=text).find(held_against, on_run)
    order = _order(question, measured, figures[0])
    comparison = Comparison(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=question.kind,
        ranked_by=figures[0],
        baseline=question.subjects[first].name,
        by=list(groups),
        notes=[
            *question.notes,
            *confounded(question, held_against, shifts),
            *on_samples(question, draws),
        ],
        intervals=bootstrap.described(),
        runs=[_compared(measured[i], figures) for i in order],
        shifts=[shifts[i] for i in order if i in shifts],
        requirements=[
            one for i in order if i in shifts for one in gates.judge(i, shifts[i], bootstrap)
        ],
        trend=_trend(measured, figures[0]) if question.kind in TREND else None,
        matrix=_matrix(measured) if question.kind == "matrix" else None,
    )
    if out is not None:
        write_comparison(comparison, str(out))
    return comparison


def _store(run: RunStore | str | Path, setting: str | None = None) -> RunStore:
    return run if isinstance(run, RunStore) else RunStore(str(run), setting)


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
    """Column to the groups, the same in every run."""
    groups = {}
    for column in dict.fromkeys(by):
        sizes: dict[str, int] = {}
        for subject, frame in zip(subjects, scores, strict=True):
            try:
                check_group(column, subject.manifest)
            except RunError as error:
                raise error.at(subject.store.location) from error
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
            hint="winnow report lists why its rows have no score",
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


def _order(question: Question, runs: list[Measured], figure: str) -> list[int]:
    """Runs from the least to the most surprised; those of a trend as they were given."""
    if question.kind in TREND:
        return list(range(len(runs)))

    def surprise(index: int) -> float:
        value = figure_of(runs[index].figures, figure)
        return math.inf if value is None else value

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
