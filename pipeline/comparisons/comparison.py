"""What a comparison says: the records of `comparison.json`.

Owns names and their meaning; compare.py fills them in. Figures of a run are as in a report; a
change is the run's minus the baseline's, so positive means more surprising.
"""

from pydantic import BaseModel

from pipeline.comparisons.agreement import ModelAgreement
from pipeline.comparisons.comparability import FilesChanged, Kind
from pipeline.comparisons.drift import Distances
from pipeline.comparisons.pairing import Pairing
from pipeline.reports.figures import Figures
from pipeline.reports.groups import Group
from pipeline.reports.requirements import Finding
from pipeline.reports.sampled import Sampled
from pipeline.statistics.bootstrap import Interval, Intervals

COMPARISON_VERSION = 1


class Change(BaseModel):
    """A figure then and now; null where a side has none."""

    baseline: float | None
    value: float | None
    difference: float | None
    relative: float | None
    """The difference over the baseline's figure."""
    interval: Interval | None = None
    """Of the difference, where one is estimated."""


class Shift(BaseModel):
    """How one set of documents differs from another."""

    num_scored_baseline: int
    num_scored: int
    changes: dict[str, Change]
    """perplexity (of the corpus), bits_per_byte and word_perplexity, those that compare."""
    quantiles: dict[str, dict[str, Change]]
    """Metric to p1, ..., p99 over documents."""
    distances: dict[str, Distances]
    """log_perplexity (nats per token) and bits_per_byte, over documents; those that compare, where
    both sides have documents with a score."""


class GroupShift(BaseModel):
    """The shift of the documents that share a value of a column."""

    value: str
    shift: Shift


class RunShift(BaseModel):
    """How a run differs from the one it is compared with."""

    run: str
    """By name, as all that follow."""
    baseline: str
    overall: Shift
    groups: dict[str, list[GroupShift]]
    """Column to groups, those with the largest change of the figure that ranks first."""
    files: FilesChanged | None
    """What happened to the files, where both runs are of one location."""
    pairing: Pairing | None
    """Document by document, where both runs have the same documents."""
    agreement: ModelAgreement | None = None
    """How two models rank those documents, where the runs are of two."""


class ComparedRun(BaseModel):
    """One run's figures and what they hold for."""

    run: str
    """The run directory."""
    name: str
    """As much of it as distinguishes it from the others."""
    model: str
    corpus: str
    tokenizer: str
    """Digest."""
    dtype: str
    complete: bool
    sample: Sampled | None
    """What the run is a sample of: figures, groups and percentiles are estimates of it."""
    figures: Figures
    intervals: dict[str, Interval | None]
    """Of the figures that compare, as shifts have them; a sample's are its estimates'."""
    percentiles: dict[str, list[float]]
    """Figure to the 0th, 1st, ..., 100th percentile over documents, of those that compare."""
    groups: dict[str, list[Group]]


class Step(BaseModel):
    """A run of a trend, by the figure that ranks."""

    run: str
    value: float | None
    from_previous: Change | None
    from_first: Change | None


class Cell(BaseModel):
    """A model's bits per byte over a dataset."""

    run: str
    bits_per_byte: float | None
    interval: Interval | None


class Matrix(BaseModel):
    """Models by datasets."""

    models: list[str]
    datasets: list[str]
    cells: list[list[Cell | None]]
    """A row per model, a column per dataset; null where no run has both."""


class RunFinding(Finding):
    """A requirement and how a run stands to it."""

    run: str
    baseline: str
    """What it is held against."""


class Comparison(BaseModel):
    """`comparison.json`: runs from the least to the most surprised, those of a trend in order."""

    comparison_version: int = COMPARISON_VERSION
    generated_at: str
    kind: Kind
    ranked_by: str
    """perplexity, or bits_per_byte where tokenizers differ."""
    baseline: str
    by: list[str]
    notes: list[str]
    intervals: Intervals
    runs: list[ComparedRun]
    shifts: list[RunShift]
    requirements: list[RunFinding] = []
    trend: list[Step] | None
    matrix: Matrix | None
