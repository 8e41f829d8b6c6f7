"""What a night may be required to be: one [[audit.require]].

Owns the metrics and bounds that there are, and what each bound is as an expression: whoever adds a
bound adds it here. What expressions mean is reports/requirements.py's.
"""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.reports.figures import QUANTILES, RATIO_FIGURES, quantile_name
from pipeline.reports.requirements import Requirement
from pipeline.schema import METRICS as DOCUMENT_METRICS
from pipeline.schema import OWN_COLUMNS, STATUSES
from pipeline.settings.names import near_name

COUNTS = ("num_documents", "num_tokens")
QUANTILE_NAMES = tuple(quantile_name(q) for q in QUANTILES)
FIGURES: dict[str, str] = {
    "num_documents": "documents",
    "num_tokens": "tokens",
    **{name: f"{name}(perplexity)" for name in QUANTILE_NAMES},
    **{name: f'share(status == "{name}")' for name in STATUSES},
}
"""Metrics that have another name in expressions; a status is the share of its documents."""
DISTRIBUTIONS = {
    "corpus_perplexity": "perplexity",
    "document_perplexity": "perplexity",
    **dict.fromkeys(QUANTILE_NAMES, "perplexity"),
    "bits_per_byte": "bits_per_byte",
}
"""The distribution over documents that `max_psi` of a metric compares."""
METRICS = tuple(dict.fromkeys([*DISTRIBUTIONS, *RATIO_FIGURES, *COUNTS, *STATUSES]))
BOUNDS = {
    "min": "{figure} < {limit}",
    "max": "{figure} > {limit}",
    "max_increase": "increase({figure}) > {limit}",
    "max_decrease": "decrease({figure}) > {limit}",
    "max_psi": "psi({distribution}) > {limit}",
}
"""Expression by bound; it is true if the bound is violated."""
FAIL_IF = "fail_if"
PERCENTAGE = re.compile(r"[0-9]+(\.[0-9]+)?%")


class Table(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


def _known_metric(name: object) -> object:
    if isinstance(name, str) and name in DOCUMENT_METRICS and name not in METRICS:
        meant = "corpus_perplexity, p50 or p95" if name == "perplexity" else ""
        meant = meant or f"fail_if = 'mean({name}) > ...', without metric,"
        raise ValueError(f"is a metric of one document; write {meant} for that of many")
    if isinstance(name, str) and name not in METRICS:
        near = near_name(name, list(METRICS))
        raise ValueError(f"no such metric; {f'did you mean {near}?' if near else _known()}")
    return name


def _known() -> str:
    return f"known: {', '.join(METRICS)}"


Number = Annotated[float, Field(allow_inf_nan=False)]


def _no_percentage(value: object) -> object:
    if isinstance(value, str) and PERCENTAGE.fullmatch(value.strip()):
        share = float(value.strip().removesuffix("%")) / 100
        raise ValueError(f"must be a number; did you mean {share:g}?")
    return value


def _can_decrease(value: float) -> float:
    if value >= 1:
        raise ValueError(f"a decrease above 1 is impossible; did you mean {value / 100:g}?")
    return value


Share = Annotated[float, BeforeValidator(_no_percentage), Field(ge=0, allow_inf_nan=False)]
Column = Annotated[str, Field(min_length=1)]


class Require(Table):
    """What must hold of a night: bounds that a metric must keep, or an expression."""

    metric: Annotated[str | None, BeforeValidator(_known_metric)] = None
    """A figure of the run, or a status for the share of documents that have it."""
    by: Column | None = None
    """A carried column: the bounds hold in each of its groups."""
    min: Number | None = None
    """Smallest allowed value."""
    max: Number | None = None
    """Largest allowed value."""
    max_increase: Share | None = None
    """Largest allowed increase over the baseline, relative: 0.05 allows 5%."""
    max_decrease: Annotated[Share, AfterValidator(_can_decrease)] | None = None
    """Largest allowed decrease from the baseline, relative."""
    max_psi: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest population stability index of the documents against the baseline's."""
    fail_if: Column | None = None
    """An expression that must not be true, as of `winnow report`; without a metric."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.fail_if is not None:
            if self.metric or self.by or self.bounds:
                raise ValueError("fail_if cannot be combined with metric, by or bounds")
            return self
        if self.metric is None:
            raise ValueError("has no bound; give metric and a bound, or fail_if")
        if not self.bounds:
            raise ValueError(f"has no bound; give one of {', '.join(BOUNDS)}")
        if self.max_psi is not None and self.metric not in DISTRIBUTIONS:
            raise ValueError(
                f"{self.metric} has no distribution; max_psi needs perplexity or bits_per_byte"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}")
        # A ratio is null where nothing was scored, and fails any bound; these are always there.
        if self.metric in (*COUNTS, *STATUSES) and self.min is not None and self.min <= 0:
            raise ValueError(f"min = {self.min:g} never fails: {self.metric} is never below 0")
        if self.metric in STATUSES and self.max is not None and self.max >= 1:
            raise ValueError(
                f"max = {self.max:g} never fails: {self.metric} is a share of the documents, never "
                f"above 1; did you mean {self.max / 100:g}?"
            )
        return self

    @property
    def bounds(self) -> dict[str, float]:
        """Those that are set."""
        found = {name: getattr(self, name) for name in BOUNDS}
        return {name: value for name, value in found.items() if value is not None}

    def requirements(self) -> dict[str, Requirement]:
        """Bound, or FAIL_IF, to what it requires. Raises ConfigError of an expression."""
        if self.fail_if is not None:
            return {FAIL_IF: Requirement.read(self.fail_if)}
        assert self.metric is not None
        figure = FIGURES.get(self.metric, self.metric)
        distribution = DISTRIBUTIONS.get(self.metric)
        return {
            bound: Requirement.bound(
                BOUNDS[bound].format(figure=figure, distribution=distribution, limit=repr(limit)),
                by=self.by,
            )
            for bound, limit in self.bounds.items()
        }

    def grouped(self) -> list[str]:
        """The carried columns that it groups by."""
        found = (column for own in self.requirements().values() for column in own.grouped())
        return [column for column in dict.fromkeys(found) if column not in OWN_COLUMNS]
