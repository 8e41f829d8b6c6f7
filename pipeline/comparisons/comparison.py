"""What a comparison says: the records of `comparison.json`.

Owns names and their meaning; compare.py fills them in. Figures of a run are as in a report; a
change is the run's minus the baseline's, so positive means more surprising.
"""

from pydantic import BaseModel, Field

from pipeline.comparisons.agreement import ModelAgreement
from pipeline.comparisons.comparability import FilesChanged, Kind
from pipeline.comparisons.drift import Distances
from pipeline.comparisons.pairing import Pairing
from pipeline.rendering.notebook import Result, framed
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
    """The difference divided by the baseline's figure."""
    interval: Interval | None = None
    """95% interval of the difference; null if none is estimated."""


class Shift(BaseModel):
    """How one set of documents differs from another."""

    num_scored_baseline: int
    num_scored: int
    changes: dict[str, Change]
    """Changes of the comparable figures: perplexity (of the corpus), bits_per_byte and
    word_perplexity."""
    quantiles: dict[str, dict[str, Change]]
    """Changes of p1, ..., p99 over documents, by metric."""
    distances: dict[str, Distances]
    """Distances between the distributions over documents of log_perplexity (nats per token) and
    bits_per_byte: of those that are comparable, if both runs have scored documents."""


class GroupShift(BaseModel):
    """The shift of the documents that share a value of a column."""

    value: str
    shift: Shift


class RunShift(BaseModel):
    """How a run differs from the one it is compared with."""

    run: str
    """Name of the run; all runs below are given by name."""
    baseline: str
    overall: Shift
    groups: dict[str, list[GroupShift]]
    """Shifts of groups by column, those with the largest change of the ranking figure first."""
    files: FilesChanged | None
    """How the files changed; null unless both runs are of one location."""
    pairing: Pairing | None
    """Comparison document by document; null if the runs have no documents in common."""
    agreement: ModelAgreement | None = None
    """How alike two models rank the paired documents; null for runs of one model."""


class ComparedRun(BaseModel):
    """One run's figures and what they hold for."""

    run: str
    """The run directory."""
    name: str
    """The part of the location that distinguishes the run from the others."""
    model: str
    corpus: str
    tokenizer: str
    """Digest of the tokenizer."""
    dtype: str
    complete: bool
    sample: Sampled | None
    """Set if the run scored a sample: figures, groups and percentiles are then estimates for the
    corpus."""
    figures: Figures
    intervals: dict[str, Interval | None]
    """95% intervals of the comparable figures; for a sample, those of its estimates."""
    percentiles: dict[str, list[float]]
    """The 0th, 1st, ..., 100th percentile over documents, by comparable figure."""
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
    """One row per model and one column per dataset; null if no run has this model and dataset."""


class RunFinding(Finding):
    """A requirement and how a run stands to it."""

    run: str
    baseline: str
    """Name of the run that `run` is compared with."""


class Comparison(Result):
    """`comparison.json`: runs from the least to the most surprised, those of a trend in order."""

    comparison_version: int = COMPARISON_VERSION
    generated_at: str
    kind: Kind
    ranked_by: str
    """perplexity, or bits_per_byte if the tokenizers differ."""
    baseline: str
    by: list[str]
    notes: list[str]
    intervals: Intervals
    runs: list[ComparedRun]
    shifts: list[RunShift]
    requirements: list[RunFinding] = Field(default=[])
    trend: list[Step] | None
    matrix: Matrix | None

    # A page is made of a comparison, so that it is imported when there is one.

    def __repr__(self) -> str:
        names = ", ".join(run.name for run in self.runs)
        return (
            f"<Comparison ({self.kind}) of {names} with {self.baseline}: print it for its tables, "
            "or see runs, shifts, requirements>"
        )

    def __str__(self) -> str:
        from pipeline.comparisons.page import to_markdown

        return to_markdown(self)

    def _repr_html_(self) -> str:
        from pipeline.comparisons.page import to_html

        return framed(to_html(self))
