"""The settings of a nightly audit: the [audit] table, which stands beside [score] in one file.

Owns the settings and what a requirement may ask for. Reads no corpus and no run.

    [audit]
    runs = "s3://scores/web"       # one run directory per night below it: runs/2026-11-22
    by = ["source"]
    sample_rows = 100_000
    sample_by = "source"

    [[audit.require]]
    metric = "corpus_perplexity"
    by = "source"
    max_increase = 0.05

    [audit.webhook]
    url_env = "AUDIT_WEBHOOK"
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.errors import ConfigError
from pipeline.reports.figures import QUANTILES, RATIO_FIGURES, quantile_name
from pipeline.settings.config import ScoreConfig, load_score_config
from pipeline.settings.loading import has_table, load_settings, read_table
from pipeline.settings.names import near_name, near_or_known
from pipeline.storage.locations import refuse_hub

LAST = "last"
"""The baseline of a night, unless a run is named: the last night that was good."""
COUNTS = ("num_documents", "num_tokens")
STATUSES = ("ok", "truncated", "skipped", "empty", "null", "error")
"""A status as a metric is the share of documents that have it."""
QUANTILE_NAMES = tuple(quantile_name(q) for q in QUANTILES)
DISTRIBUTIONS = {
    "corpus_perplexity": "log_perplexity",
    "document_perplexity": "log_perplexity",
    **dict.fromkeys(QUANTILE_NAMES, "log_perplexity"),
    "bits_per_byte": "bits_per_byte",
}
"""Metric to the distribution over documents that its `max_psi` is about."""
METRICS = tuple(dict.fromkeys([*DISTRIBUTIONS, *RATIO_FIGURES, *COUNTS, *STATUSES]))
BOUNDS = ("min", "max", "max_increase", "max_decrease", "max_psi")
RELATIVE = ("max_increase", "max_decrease", "max_psi")
"""Bounds that need a baseline."""


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


def _known_metric(name: object) -> object:
    if isinstance(name, str) and name not in METRICS:
        near = near_name(name, list(METRICS))
        raise ValueError(f"no such metric; {f'did you mean {near}?' if near else _known()}")
    return name


def _known() -> str:
    return f"known: {', '.join(METRICS)}"


def _columns(value: object) -> object:
    """A column or a list of them."""
    return (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    )


Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Column = Annotated[str, Field(min_length=1)]


class Requirement(_Table):
    """Bounds that a metric must keep."""

    metric: Annotated[str, BeforeValidator(_known_metric)]
    """A figure of the run, or a status for the share of documents that have it."""
    by: Column | None = None
    """A carried column: the bounds hold in each of its groups."""
    min: Number | None = None
    """Smallest value that is good."""
    max: Number | None = None
    """Largest value that is good."""
    max_increase: Share | None = None
    """Over the baseline, relative: 0.05 allows five percent."""
    max_decrease: Share | None = None
    """Under the baseline, relative."""
    max_psi: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest population stability index of the documents against the baseline's."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.bounds:
            raise ValueError(f"asks for nothing; give one of {', '.join(BOUNDS)}")
        if self.max_psi is not None and self.metric not in DISTRIBUTIONS:
            raise ValueError(f"{self.metric} has no distribution for max_psi")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}")
        return self

    @property
    def bounds(self) -> dict[str, float]:
        """Those that are set."""
        found = {name: getattr(self, name) for name in BOUNDS}
        return {name: value for name, value in found.items() if value is not None}


class Webhook(_Table):
    """Where verdicts are sent. The address is a secret, and is never shown or stored."""

    url: str | None = Field(default=None, repr=False)
    """Where to post; a secret, so better in an environment variable."""
    url_env: Column | None = None
    """The environment variable that holds it."""
    format: Literal["json", "slack"] = "json"
    """What is posted."""
    when: Literal["always", "failure"] = "always"
    """Which verdicts are posted."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("needs one of url_env and url")
        if self.url is not None and not _is_web(self.url):
            raise ValueError("url must begin with http:// or https:// and name a host")
        return self

    def address(self, environment: Mapping[str, str] = os.environ) -> str:
        """Where to post. Raises ConfigError if the environment does not say."""
        if self.url is not None:
            return self.url
        assert self.url_env is not None
        url = environment.get(self.url_env, "").strip()
        if not url:
            raise ConfigError(
                f"the environment variable {self.url_env} is not set, the url_env of "
                "[audit.webhook]",
                hint="set it to the webhook's URL, or take [audit.webhook] out",
            )
        if not _is_web(url):
            raise ConfigError(
                f"the environment variable {self.url_env} holds no http:// or https:// URL"
            )
        return url


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(
        parts.scheme in ("http", "https") and named and url.isprintable() and " " not in url
    )


class AuditConfig(_Table):
    """What a night does after scoring, and which rows it scores."""

    runs: Column
    """The folder of all nights."""
    baseline: Column = LAST
    """A run that every night is compared with, or "last": the last night that was good."""
    by: Annotated[tuple[Column, ...], BeforeValidator(_columns)] = ()
    """Carried columns to report, compare and keep a history by."""
    sample_rows: Annotated[int, Field(ge=2)] | Literal["all"] = "all"
    """Rows to draw from the corpus and score."""
    sample_by: Column | None = None
    """A carried column: every group gets its share of the sample, and two rows at least."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the sample."""
    reuse: bool = True
    """Reuse what the night before has already scored."""
    require: tuple[Requirement, ...] = ()
    """Bounds that metrics must keep."""
    webhook: Webhook | None = None
    """Where verdicts are sent."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that anything is grouped by."""
        return tuple(dict.fromkeys((*self.by, *(one.by for one in self.require if one.by))))

    @property
    def sampled(self) -> bool:
        return self.sample_rows != "all"


def load_audit_config(file: Path) -> AuditConfig:
    """The [audit] table. Raises UsageError, naming the table, its number and the key."""
    config = load_settings(AuditConfig, "audit", file)
    if has_table(file, "score") and read_table(file, "score").get("offline") is True:
        refuse_hub(config.runs, config.baseline)
    if config.sample_by and not config.sampled:
        raise ConfigError(
            f"sample_by in [audit] of {file} is set, but sample_rows is not",
            hint="sample_rows = 100_000, or leave out sample_by to score every row",
        )
    return config


def load_night_config(
    file: Path, audit: AuditConfig, out: str, address: str | None = None, corpus: str | None = None
) -> ScoreConfig:
    """The [score] table, to score a night into `out`. Raises UsageError."""
    table = read_table(file, "score")
    for key, instead in (("out", "runs"), ("reuse", "reuse")):
        if key in table:
            raise ConfigError(
                f"{key} in [score] of {file} is set by the audit itself",
                hint=f"take it out; [audit] has {instead}",
            )
    if audit.sampled and "limit" in table:
        raise ConfigError(
            f"limit in [score] of {file} contradicts sample_rows in [audit]",
            hint="take limit out: a sample is drawn from every row",
        )
    config = load_score_config(file, {"out": out, "address": address, "corpus": corpus})
    if "*" not in config.carry:
        for column, where in grouped_columns(audit):
            if column not in config.carry:
                raise ConfigError(
                    f"{where} of {file} = '{column}' is not among the columns carried",
                    hint=f"{near_or_known(column, list(config.carry))}"
                    if config.carry
                    else f'add carry = ["{column}"] to [score]',
                )
    return config


def grouped_columns(audit: AuditConfig) -> list[tuple[str, str]]:
    """(column, the place that names it) for every column that must be carried."""
    found = [(column, "by in [audit]") for column in audit.by]
    found += [(audit.sample_by, "sample_by in [audit]")] if audit.sample_by else []
    for number, one in enumerate(audit.require, 1):
        found += [(one.by, f"by in [[audit.require]] {number}")] if one.by else []
    return found
