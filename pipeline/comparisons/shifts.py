"""How one run's figures differ from another's, for the whole and by group.

Owns the changes and their intervals, from two runs' figures, resampled sums and documents. The
measures themselves are drift.py's and statistics/bootstrap.py's.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.comparisons.comparability import Subject
from pipeline.comparisons.comparison import Change, GroupShift, Shift
from pipeline.comparisons.drift import Distances, distances
from pipeline.comparisons.samples import Sample
from pipeline.reports.figures import QUANTILES, Figures, quantile_name
from pipeline.reports.groups import Group
from pipeline.reports.intervals import RESAMPLED, drawn_ratios
from pipeline.reports.sampled import Sampled
from pipeline.schema import LARGEST_EXPONENT
from pipeline.statistics.bootstrap import (
    Blocks,
    Bootstrap,
    Interval,
    Mask,
    Values,
    block_sums,
    interval,
)
from pipeline.statistics.quantile import quantiles, weighted_quantiles

PERPLEXITY = "perplexity"
BITS = "bits_per_byte"
WORD = "word_perplexity"
NAMES = {PERPLEXITY: "corpus_perplexity", BITS: BITS, WORD: WORD}
"""Name of each figure in a report."""
DISTRIBUTIONS = {PERPLEXITY: "log_perplexity", BITS: BITS}
"""The document metric whose distribution belongs to each figure."""
WHOLE = ("", "")
Part = tuple[str, str]
"""(column, group), or WHOLE."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """A run, and what is kept of it once its rows are freed."""

    subject: Subject
    scores: pl.LazyFrame
    figures: Figures
    groups: dict[str, list[Group]]
    sampled: Sampled | None = None
    """Set if the run scored a sample: figures and groups are then estimates for the corpus."""
    num_resampled: dict[Part, int] = field(default_factory=dict)
    """Number of documents behind the interval of each part."""
    resampled: dict[Part, dict[str, Values]] = field(default_factory=dict)
    """Values in each resample by part and figure, shape [resamples]."""
    percentiles: dict[str, list[float]] = field(default_factory=dict)
    """The 0th, 1st, ..., 100th percentile over documents, by figure."""

    def part(self, part: Part) -> Figures | None:
        """The figures of a part; None where the run has no such group."""
        if part == WHOLE:
            return self.figures
        column, value = part
        return next((g.figures for g in self.groups[column] if g.value == value), None)

    def interval(self, figure: str) -> Interval | None:
        """Of the whole run's figure; None where it has none."""
        if figure_of(self.figures, figure) is None:
            return None
        if self.sampled is not None:
            found = self.sampled.estimates[NAMES[figure]]
            return None if found is None else found.interval
        return interval(self.resampled[WHOLE][figure], self.num_resampled[WHOLE])


def count_scored(sample: Sample, groups: dict[str, list[str]]) -> dict[Part, int]:
    """Documents of every part that intervals are of."""
    scored = sample.scored()
    found = {WHOLE: int(scored.sum())}
    for column, names in groups.items():
        counts = np.bincount(sample.groups[column][scored], minlength=len(names))
        found |= {(column, name): int(count) for name, count in zip(names, counts, strict=True)}
    return found


def resample(
    sample: Sample, blocks: Blocks, bootstrap: Bootstrap, groups: dict[str, list[str]]
) -> dict[Part, dict[str, Values]]:
    """The figures of every part in each resample; NaN of nothing."""
    columns: list[npt.NDArray[Any]] = [getattr(sample, name) for name in RESAMPLED]
    if sample.weight is not None:
        columns = [column * sample.weight for column in columns]
    scored = sample.scored()
    sums = {WHOLE: block_sums(blocks, columns, where=scored)[0]}
    for column, names in groups.items():
        by_group = block_sums(
            blocks, columns, where=scored, groups=sample.groups[column], num_groups=len(names)
        )
        sums |= {(column, name): by_group[i] for i, name in enumerate(names)}
    return {part: _figures(bootstrap.resample(parts)) for part, parts in sums.items()}


def _figures(sums: Values) -> dict[str, Values]:
    found = drawn_ratios(sums)
    return {figure: found[name] for figure, name in NAMES.items()}


def percentiles(sample: Sample, figures: list[str]) -> dict[str, list[float]]:
    """The whole distribution in 101 numbers, for each figure's metric of documents."""
    scored = sample.scored()
    found = {}
    for figure in _distributed(figures):
        values = sample.metric(DISTRIBUTIONS[figure], scored)
        if figure == PERPLEXITY:
            values = np.exp(np.minimum(values, LARGEST_EXPONENT))
        at = [k / 100 for k in range(101)]
        if sample.weight is None:
            found[figure] = quantiles(values, at).tolist()
        else:
            found[figure] = weighted_quantiles(values, sample.weight[scored], at).tolist()
    return found


def with_exact_quantiles(figures: Figures, percentiles: dict[str, list[float]]) -> Figures:
    """Those of all documents, in place of those that were read off a sketch."""
    return figures.with_quantiles(
        {
            figure: {quantile_name(q): found[round(100 * q)] for q in QUANTILES}
            for figure, found in percentiles.items()
        }
    )


def figure_of(figures: Figures | None, name: str) -> float | None:
    """A set of documents' perplexity, or another of NAMES."""
    return None if figures is None else figures.average(NAMES[name])


def change(baseline: float | None, value: float | None, around: Interval | None = None) -> Change:
    """The value minus the baseline's."""
    if baseline is None or value is None:
        return Change(baseline=baseline, value=value, difference=None, relative=None)
    difference = value - baseline
    return Change(
        baseline=baseline,
        value=value,
        difference=difference,
        relative=difference / baseline if baseline else None,
        interval=around,
    )


def change_between(baseline: Measured, run: Measured, figure: str, part: Part = WHOLE) -> Change:
    """A figure's change, with the interval of the difference."""
    before, after = baseline.part(part), run.part(part)
    around = None
    if before is not None and after is not None:
        differences = run.resampled[part][figure] - baseline.resampled[part][figure]
        around = interval(differences, min(baseline.num_resampled[part], run.num_resampled[part]))
    return change(figure_of(before, figure), figure_of(after, figure), around)


def shift_between(
    baseline: Measured,
    run: Measured,
    samples: tuple[Sample, Sample],
    figures: list[str],
    groups: dict[str, list[str]],
) -> tuple[Shift, dict[str, list[GroupShift]]]:
    """The whole's shift, and every group's, those with the largest change first.

    `samples` are the baseline's and the run's documents; `figures` those that compare, the one to
    go by first.
    """
    masks = (samples[0].scored(), samples[1].scored())
    whole = _shift(baseline, run, samples, masks, figures, WHOLE)
    by_group = {}
    for column, names in groups.items():
        found = []
        for code, name in enumerate(names):
            inside = tuple(
                mask & (sample.groups[column] == code)
                for mask, sample in zip(masks, samples, strict=True)
            )
            shift = _shift(baseline, run, samples, inside, figures, (column, name))
            found.append(GroupShift(value=name, shift=shift))
        by_group[column] = sorted(found, key=lambda group: _by_size(group, figures[0]))
    return whole, by_group


def _by_size(group: GroupShift, figure: str) -> tuple[float, str]:
    difference = group.shift.changes[figure].difference
    return (float("inf") if difference is None else -abs(difference), group.value)


def _shift(
    baseline: Measured,
    run: Measured,
    samples: tuple[Sample, Sample],
    masks: tuple[Mask, ...],
    figures: list[str],
    part: Part,
) -> Shift:
    before, after = baseline.part(part), run.part(part)
    apart: dict[str, Distances] = {}
    for figure in _distributed(figures):
        metric = DISTRIBUTIONS[figure]
        sides = [
            np.sort(sample.metric(metric, mask))
            for sample, mask in zip(samples, masks, strict=True)
        ]
        if (found := distances(*sides)) is not None:
            apart[metric] = found
    return Shift(
        num_scored_baseline=before.num_scored if before else 0,
        num_scored=after.num_scored if after else 0,
        changes={figure: change_between(baseline, run, figure, part) for figure in figures},
        quantiles={
            figure: _quantile_changes(before.quantiles[figure], after.quantiles[figure])
            for figure in _distributed(figures)
            if before is not None and after is not None
        },
        distances=apart,
    )


def _distributed(figures: list[str]) -> list[str]:
    """Those whose distribution over documents is compared."""
    return [figure for figure in figures if figure in DISTRIBUTIONS]


def _quantile_changes(before: dict[str, float], after: dict[str, float]) -> dict[str, Change]:
    return {name: change(before[name], after[name]) for name in before if name in after}
