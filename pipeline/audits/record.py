"""What an audit says of a night: the records of `audit.json`.

Owns names and their meaning; what is in them is checks.py's and figures.py's to find.
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.reports.figures import RATIO_FIGURES, Figures
from pipeline.reports.requirements import Finding as Outcome
from pipeline.reports.sampled import Sampled
from pipeline.reports.term_values import ExactQuantiles
from pipeline.runs.records import Record, form_version

AUDIT_VERSION = 1
Verdict = Literal["pass", "fail"]
State = Literal["pass", "fail", "skipped"]


class Part(Record):
    """The whole corpus, or the documents that share a value of a column."""

    figures: Figures
    statuses: dict[str, float]
    """Status to the share of documents that have it."""

    def value(self, metric: str) -> float | None:
        """A metric of a requirement; None where nothing was scored."""
        if metric in RATIO_FIGURES:
            return self.figures.average(metric)
        if metric in Figures.model_fields:
            found: int = getattr(self.figures, metric)
            return found
        if metric in self.figures.quantiles["perplexity"]:
            return self.figures.quantiles["perplexity"][metric]
        if metric.startswith("p"):
            return None
        return self.statuses.get(metric, 0.0)

    def with_exact(self, quantiles: ExactQuantiles | None) -> "Part":
        """The same with exact quantiles in place of those of the same name."""
        return self.model_copy(update={"figures": self.figures.with_quantiles(quantiles or {})})


class Finding(Record):
    """One value that a bound was checked against."""

    group: str | None
    """None: the whole corpus."""
    state: State
    value: float | None
    baseline: float | None = None
    """The baseline's value, of bounds that are relative to it."""
    detail: str
    """The finding in words."""


class Check(Record):
    """One bound of one requirement, or its expression."""

    requirement: int
    """Which [[audit.require]], from 1."""
    metric: str | None
    """None, as `limit`, of an expression."""
    by: str | None
    bound: str
    """fail_if of an expression."""
    limit: float | None
    expression: str | None = None
    """What must not be true; None: a night of Winnow 0.1.0."""
    outcome: Outcome | None = None
    """Of an expression: its figures, and the groups that decided."""
    state: State
    num_failed: int
    """Groups, or the whole corpus."""
    num_passed: int
    num_skipped: int
    findings: list[Finding]
    """Of groups, the first that failed or were skipped; of the whole corpus, the one there is."""


class Baseline(Record):
    """The run that the night is compared with."""

    run: str
    night: str | None
    """None: a run that was named."""
    differences: list[str] = Field(default_factory=list)
    """What makes scores differ other than the text: `key was -> is`. Then nothing compares."""


class Reused(Record):
    """What was reused of an earlier run."""

    run: str
    num_shards: int
    num_rows: int

    def in_words(self) -> str:
        """In words, for people."""
        return (
            f"Reused the scores of {self.num_rows:,} documents ({self.num_shards:,} shards) "
            f"from {self.run}."
        )


class Delivery(Record):
    """Whether the webhook was called. Its address is not kept."""

    delivered: bool
    attempts: int
    error: str | None


class Audit(Record):
    """`RUNS/<night>/audit.json`, written last."""

    audit_version: Annotated[int, form_version(AUDIT_VERSION)] = AUDIT_VERSION
    night: str
    """YYYY-MM-DD."""
    verdict: Verdict
    reasons: list[str]
    """Why it failed."""
    notes: list[str]
    complete: bool
    """False: shards were given up, and running the night again retries them."""
    generated_at: str
    run: str
    run_id: str
    corpus: str
    model: str
    overall: Part
    """Of the whole corpus; estimated from weighted rows where it was sampled."""
    groups: dict[str, dict[str, Part]]
    """Column to group, the largest groups first."""
    checks: list[Check]
    baseline: Baseline | None
    reuse: Reused | None
    sample: Sampled | None
    webhook: Delivery | None
