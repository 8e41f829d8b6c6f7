"""What an audit says of a night: the records of `audit.json`.

Owns names and their meaning; what is in them is checks.py's and figures.py's to find.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pipeline.errors import counted
from pipeline.reports.figures import RATIO_FIGURES, Figures
from pipeline.reports.requirements import Finding as Outcome
from pipeline.reports.sampled import Sampled
from pipeline.reports.term_values import ExactQuantiles
from pipeline.runs.manifest import Value
from pipeline.runs.records import Record, form_version
from pipeline.schema import STATUSES

AUDIT_VERSION = 1
Verdict = Literal["pass", "fail"]
State = Literal["pass", "fail", "skipped"]


class Part(Record):
    """The whole corpus, or the documents that share a value of a column."""

    figures: Figures
    statuses: dict[str, float]
    """Share of documents by status."""

    def value(self, metric: str) -> float | None:
        """A metric of a requirement; None where nothing was scored."""
        if metric in RATIO_FIGURES:
            return self.figures.average(metric)
        if metric in Figures.model_fields:
            found: int = getattr(self.figures, metric)
            return found
        if metric in STATUSES:
            return self.statuses.get(metric, 0.0)
        return self.figures.quantiles["perplexity"].get(metric)

    def with_exact(self, quantiles: ExactQuantiles | None) -> "Part":
        """The same with exact quantiles in place of those of the same name."""
        return self.model_copy(update={"figures": self.figures.with_quantiles(quantiles or {})})


class Finding(Record):
    """One value that a bound was checked against."""

    group: str | None
    """The group that was checked; None for the whole corpus."""
    state: State
    value: float | None
    baseline: float | None = None
    """The baseline's value, for bounds relative to it."""
    found: str | None = None
    """What was found, in words; None in a night of Winnow 0.1.0."""
    detail: str
    """The same, and the bound."""


class Asked(NamedTuple):
    """One bound of one requirement, or its expression, as a file asks for it."""

    metric: str | None
    by: str | None
    bound: str
    limit: float | None
    expression: str | None

    @property
    def key(self) -> tuple[object, ...]:
        """What it is; a bound's expression follows from the rest, and 0.1.0 recorded none."""
        return (self.expression,) if self.limit is None else self[:4]

    def in_words(self) -> str:
        if self.limit is None:
            return f"fail if {self.expression}"
        return f"{self.metric}{f' by {self.by}' if self.by else ''}, {self.bound} {self.limit:g}"


class Check(Record):
    """One bound of one requirement, or its expression."""

    requirement: int
    """Number of the [[audit.require]] table, from 1."""
    metric: str | None
    """The metric that is bounded; None for an expression, and so is `limit`."""
    by: str | None
    bound: str
    """Name of the bound; fail_if for an expression."""
    limit: float | None
    expression: str | None = None
    """The expression that must not be true; None in a night of Winnow 0.1.0."""
    outcome: Outcome | None = None
    """Outcome of an expression: its figures, and the groups that decided."""
    state: State
    num_failed: int
    """Number of failed groups; 0 or 1 for the whole corpus."""
    num_passed: int
    num_skipped: int
    findings: list[Finding]
    """By group, the first findings that failed or were skipped; for the whole corpus, the only
    one."""

    @property
    def required(self) -> Asked:
        return Asked(self.metric, self.by, self.bound, self.limit, self.expression)


class Baseline(Record):
    """The run that the night is compared with."""

    run: str
    night: str | None
    """Date of the baseline night; None if a run was named."""
    differences: list[str] = Field(default_factory=list)
    """Differences other than the text that change scores, as `key was -> is`; if there are any,
    nothing is compared."""


class Reused(Record):
    """What was reused of an earlier run."""

    run: str
    num_shards: int
    num_rows: int

    def in_words(self) -> str:
        """In words, for people."""
        if not self.num_rows:
            return f"No scores could be reused from {self.run}."
        return (
            f"Reused the scores of {counted(self.num_rows, 'document')} "
            f"({counted(self.num_shards, 'shard')}) from {self.run}."
        )


class Delivery(Record):
    """Whether the webhook was called. Its address is not kept."""

    delivered: bool
    attempts: int
    error: str | None


class NoVerdict(Record):
    """A night that ended with an error, as a webhook is told of it; it is not kept."""

    night: str
    verdict: Literal["error"] = "error"
    reasons: list[str]
    """The error, and what to do about it."""
    corpus: str
    run: str


class Audit(Record):
    """`RUNS/<night>/audit.json`, written last."""

    audit_version: Annotated[int, form_version(AUDIT_VERSION)] = AUDIT_VERSION
    night: str
    """Date of the night, YYYY-MM-DD."""
    verdict: Verdict
    reasons: list[str]
    """Reasons why the night failed."""
    notes: list[str]
    complete: bool
    """False if shards were given up; running the night again retries them."""
    has_unreadable: bool = False
    """True if files could not be read; only a night that is begun anew looks at them again."""
    generated_at: str
    run: str
    run_id: str
    corpus: str
    model: str
    overall: Part
    """Figures of the whole corpus; estimates from weighted rows if a sample was scored."""
    groups: dict[str, dict[str, Part]]
    """Groups by column, the largest groups first."""
    checks: list[Check]
    baseline: Baseline | None
    reuse: Reused | None
    sample: Sampled | None
    webhook: Delivery | None
    by: list[str] | None = None
    """Columns to group by that the file named; None in a night of an earlier version."""
    settings: dict[str, Value] = Field(default_factory=dict)
    """Other settings that the figures depend on, as the file had them; empty in such a night."""
