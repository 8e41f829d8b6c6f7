"""The settings of a nightly audit: the [audit] table, which stands beside [score] in one file.

Owns the settings but for requirements, which are require.py's. Reads no corpus and no run.

    [audit]
    runs = "s3://scores/web"       # one run directory per night below it: runs/2026-11-22
    by = ["source"]
    sample_rows = 100_000
    sample_by = "source"

    [[audit.require]]
    metric = "corpus_perplexity"
    by = "source"
    max_increase = 0.05

    [[audit.require]]
    fail_if = 'any(source, increase(p95(perplexity)) > 10%)'

    [audit.webhook]
    url_env = "AUDIT_WEBHOOK"
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from pipeline.audits.require import FAIL_IF, Column, Require, Table
from pipeline.corpus.columns import names_in
from pipeline.errors import ConfigError
from pipeline.reports.gate import Gate
from pipeline.reports.term_values import Missing, Rows
from pipeline.runs.manifest import Value
from pipeline.schema import METRICS, OWN_COLUMNS
from pipeline.settings.config import ScoreConfig, load_score_config
from pipeline.settings.loading import has_table, load_settings, read_table
from pipeline.settings.names import near_name, near_or_known
from pipeline.storage.locations import refuse_hub

SCORED_BY = (
    "corpus",
    "model",
    "revision",
    "text_column",
    "limit",
    "dtype",
    "prefix",
    "window_tokens",
    "context_tokens",
    "long_documents",
    "min_k_percent",
)
"""Settings in [score] that figures depend on."""
LAST = "last"
"""The default baseline: the last night that passed."""


def _columns(value: object) -> object:
    """A column or a list of them."""
    return (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    )


class Webhook(Table):
    """The webhook that verdicts are posted to. Its URL is a secret: never shown or stored."""

    url: str | None = Field(default=None, repr=False)
    """URL to post to. It is a secret: prefer url_env."""
    url_env: Column | None = None
    """Environment variable that holds the URL."""
    format: Literal["json", "slack"] = "json"
    """Format of the posted message."""
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
                f"url_env in [audit.webhook] names the environment variable {self.url_env}, which "
                "is not set",
                hint="set it to the webhook's URL, or remove [audit.webhook]",
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


class AuditConfig(Table):
    """What a night does after scoring, and which rows it scores."""

    runs: Column
    """The folder of all nights."""
    baseline: Column = LAST
    """A run that every night is compared with, or "last": the last night that was good."""
    by: Annotated[tuple[Column, ...], BeforeValidator(_columns)] = ()
    """Carried columns to group by in the report, comparison and history."""
    sample_rows: Annotated[int, Field(ge=2)] | Literal["all"] = "all"
    """Rows to draw from the corpus and score."""
    sample_by: Column | None = None
    """A carried column: every group gets its share of the sample, and two rows at least."""
    seed: int = Field(default=0, ge=0)
    """Random seed of the sample."""
    reuse: bool = True
    """Reuse what the night before has already scored."""
    require: tuple[Require, ...] = ()
    """Bounds on metrics, and expressions that must not be true."""
    webhook: Webhook | None = None
    """Webhook that verdicts are posted to."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every carried column that anything is grouped by."""
        required = (column for one in self.require for column in one.grouped())
        return tuple(dict.fromkeys((*self.by, *required)))

    @property
    def sampled(self) -> bool:
        return self.sample_rows != "all"


def figures_of(audit: AuditConfig, score: ScoreConfig) -> dict[str, Value]:
    """The settings that the figures of a night depend on, as they are asked for; what is required
    of the figures is not among them."""
    asked = score.model_dump(mode="json", include=set(SCORED_BY))
    drawn = ("sample_rows", "sample_by", "seed") if audit.sampled else ("sample_rows",)
    return asked | {key: getattr(audit, key) for key in drawn}


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
    for number, one in enumerate(config.require, 1):
        with _placed(file, number):
            one.requirements()
    return config


@contextmanager
def _placed(file: Path, number: int) -> Iterator[None]:
    """Say where an expression stands that is wrong."""
    try:
        yield
    except ConfigError as error:
        said = f"fail_if in [[audit.require]] {number} of {file}: {error}"
        raise ConfigError(said, hint=error.hint) from error


def check_expressions(audit: AuditConfig, file: Path, rows: Rows) -> None:
    """Raises ConfigError where an expression names a column that such score rows have not."""
    for number, one in enumerate(audit.require, 1):
        if one.fail_if is not None:
            with _placed(file, number):
                Gate(list(one.requirements().values()), rows, Missing("", ""))


def load_night_config(
    file: Path, audit: AuditConfig, out: str, address: str | None = None, corpus: str | None = None
) -> ScoreConfig:
    """The [score] table, to score a night into `out`. Raises UsageError."""
    table = read_table(file, "score")
    for key, instead in (("out", "runs"), ("reuse", "reuse")):
        if key in table:
            raise ConfigError(
                f"{key} in [score] of {file} is set by the audit itself",
                hint=f"remove {key} from [score]; use {instead} in [audit]",
            )
    if audit.sampled and "limit" in table:
        raise ConfigError(
            f"limit in [score] of {file} contradicts sample_rows in [audit]",
            hint="remove limit: the sample is drawn from all rows",
        )
    config = load_score_config(file, {"out": out, "address": address, "corpus": corpus})
    if "*" not in config.carry:
        # A name with a comma may be several; the corpus says which.
        carry = list(names_in(config.carry, ()))
        for column, where in _named_columns(audit):
            if column not in (*config.carry, *carry):
                raise ConfigError(
                    f"{where} of {file} names column '{column}', and [score] does not carry it",
                    hint=_what_was_meant(column, where, carry),
                )
    return config


def _what_was_meant(column: str, where: str, carry: list[str]) -> str:
    """The hint for a column that [score] does not carry; an expression may mean a metric."""
    metrics = METRICS if where.startswith(FAIL_IF) else ()
    if near := near_name(column, [*carry, *metrics]):
        return f"did you mean '{near}'?"
    return near_or_known(column, carry) if carry else f'add carry = ["{column}"] to [score]'


def grouped_columns(audit: AuditConfig) -> list[tuple[str, str]]:
    """(column, the place that names it) for every carried column to group by."""
    found = [(column, "by in [audit]") for column in audit.by]
    found += [(audit.sample_by, "sample_by in [audit]")] if audit.sample_by else []
    for number, one in enumerate(audit.require, 1):
        found += [(column, _place(one, number)) for column in one.grouped()]
    return found


def _named_columns(audit: AuditConfig) -> list[tuple[str, str]]:
    """The same for every column that must be carried."""
    return grouped_columns(audit) + [
        (column, _place(one, number))
        for number, one in enumerate(audit.require, 1)
        for requirement in one.requirements().values()
        for column in requirement.columns()
        if column not in OWN_COLUMNS
    ]


def _place(one: Require, number: int) -> str:
    return f"{FAIL_IF if one.fail_if else 'by'} in [[audit.require]] {number}"
