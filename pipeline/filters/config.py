"""The settings of a filter: the rules, and what they are called.

How values are written is spelling.py's, which rules contradict each other contradictions.py's. A
field that is a rule says so by `Decides`; what the rule does is the module's that it names.

    [filter]
    run = "runs/first"
    out = "filtered/"
    max = {perplexity = 500}
    percentile = [10, 90]
    within = "lang"
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.filters.contradictions import check_rules
from pipeline.filters.rule_fields import Decides, always, if_best, if_ranked
from pipeline.filters.spelling import (
    Bucket,
    are_shares,
    parse_bounds,
    parse_count,
    parse_names,
    parse_numbers,
    parse_shares,
)
from pipeline.settings.fields import Shown
from pipeline.settings.loading import load_settings
from pipeline.settings.weights import UNWEIGHTED, Weight

Prefer = Literal["low", "middle", "high", "random"]
DropCopies = Literal["first", "low", "high"]
DEFAULT_METRIC = "perplexity"


Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]
Pair = BeforeValidator(parse_numbers)
Gaussian = BeforeValidator(lambda given: parse_numbers(given, "20,5"))
Form = Shown(form="METRIC=VALUE")
Bounds = Annotated[dict[str, Finite], BeforeValidator(parse_bounds), Form, Decides("bounds")]
Budget = Decides("budget", if_ranked, in_groups=True)
Amount = Annotated[int | None, BeforeValidator(parse_count), Field(ge=1), Budget]


class FilterConfig(BaseModel):
    """The settings of a filter. A document is kept if every rule given keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    run: Annotated[str, Shown(positional=True)] = Field(description="A run directory.")
    corpus: Annotated[str | None, Shown(default="where it was scored")] = Field(
        default=None, description="Current location of the corpus."
    )
    out: str | None = Field(
        default=None, description="The folder to write to; not needed for a dry run."
    )
    rejects: str | None = Field(
        default=None, description="Another folder, for the documents not kept."
    )
    max: Bounds = Field(
        default_factory=dict,
        description="Keep documents whose METRIC is at most VALUE; may be repeated.",
    )
    min: Bounds = Field(
        default_factory=dict,
        description="Keep documents whose METRIC is at least VALUE; may be repeated.",
    )
    where: Annotated[str | None, Shown(form="CONDITION"), Decides("where")] = Field(
        default=None,
        description='Keep documents where this is true, such as \'lang == "en" and num_tokens > '
        "50': columns, comparisons, and, or, not. A null result (missing value) is not true.",
    )
    drop_copies: Annotated[DropCopies | None, Decides("copies", if_best)] = Field(
        default=None,
        description="Among documents with equal texts that the other rules keep, keep only the "
        "first, or the one with the lowest or highest metric.",
    )
    metric: Annotated[str | None, Shown(default="perplexity, or the metric of a second run")] = (
        Field(default=None, description="The metric that the rules below use.")
    )
    percentile: Annotated[
        tuple[Percent, Percent] | None,
        Pair,
        Shown(form="LOW:HIGH"),
        Decides("percentile", always, in_groups=True, by_percentile=True),
    ] = Field(
        default=None, description="Keep documents between two percentiles, ends included: 10:90."
    )
    buckets: Annotated[
        tuple[Bucket, ...] | None,
        BeforeValidator(parse_names),
        Decides("buckets", always, in_groups=True, by_percentile=True),
    ] = Field(default=None, description="Keep and name buckets: head,middle,tail.")
    bucket_percentiles: Annotated[
        tuple[Percent, Percent] | None, Pair, Shown(default="terciles", form="P,P")
    ] = Field(default=None, description="Percentiles at which middle and tail begin.")
    bucket_folders: bool = Field(
        default=False, description="Write one folder per bucket instead of a column."
    )
    cutoffs: Annotated[
        str | None, Shown(form="FILE"), Decides("cutoffs", always, in_groups=True)
    ] = Field(
        default=None,
        description="Read the cut-offs of each group from this file instead of computing them: "
        "the JSON that a dry run printed, or the _filter.json that filter wrote.",
    )
    weight: Annotated[Weight | None, Shown(default=UNWEIGHTED)] = Field(
        default=None, description="Whether percentiles are over documents, tokens or bytes."
    )
    within: str | None = Field(
        default=None, description="A carried column: percentiles, buckets and budget per group."
    )
    sample_toward: Annotated[
        tuple[Finite, Finite] | None, Gaussian, Shown(form="MEAN,SD"), Decides("sample", always)
    ] = Field(
        default=None, description="Sample with probability exp(-z^2/2), z = (metric - MEAN) / SD."
    )
    budget_tokens: Annotated[Amount, Shown(form="TOKENS")] = Field(
        default=None, description="Keep at most this many tokens: 300k, 50M, 2B."
    )
    budget_bytes: Annotated[Amount, Shown(form="BYTES")] = Field(
        default=None, description="Keep at most this many UTF-8 bytes of text."
    )
    prefer: Annotated[Prefer | None, Shown(default="low")] = Field(
        default=None,
        description="What a budget keeps first; middle is nearest the token or byte median.",
    )
    shares: Annotated[
        dict[str, Share] | Literal["proportional"] | None,
        BeforeValidator(parse_shares),
        Shown(form="GROUP=SHARE", default="proportional; undivided with percentiles per group"),
    ] = Field(
        default=None,
        description="How a budget is divided among groups: the word proportional (to their size), "
        "or one GROUP=SHARE for each group: en=2 and de=1 give en twice as much as de.",
    )
    seed: int = Field(default=0, description="Random seed of samples, random order and ties.")
    minus: Annotated[str | None, Shown(form="RUN")] = Field(
        default=None,
        description="A second run of the same corpus, for the metric difference: bits per byte "
        "minus that run's.",
    )
    over: Annotated[str | None, Shown(form="RUN")] = Field(
        default=None,
        description="A second run of the same corpus, for the metric ratio: bits per byte divided "
        "by that run's.",
    )
    unscored: Literal["keep", "drop"] = Field(
        default="drop", description="What to do with documents without a score."
    )
    add_columns: bool = Field(default=False, description="Also write the score columns.")
    partial: bool = Field(
        default=False, description="Use the parts that exist of an incomplete run."
    )
    force: bool = Field(default=False, description="Write the output even if it is empty.")

    @property
    def own_metric(self) -> str | None:
        """The metric that a second run makes."""
        return "difference" if self.minus else "ratio" if self.over else None

    @property
    def chosen_metric(self) -> str:
        return self.metric or self.own_metric or DEFAULT_METRIC

    @property
    def chosen_prefer(self) -> Prefer:
        return self.prefer or "low"

    @property
    def chosen_weight(self) -> Weight:
        return self.weight or UNWEIGHTED

    @property
    def gives_shares(self) -> bool:
        """Whether some percentiles may have been meant as shares."""
        given = filter(None, (self.percentile, self.bucket_percentiles))
        return any(are_shares(*pair) for pair in given)

    @property
    def budget(self) -> tuple[Literal["tokens", "bytes"], int] | None:
        """What it counts, and the most of that which is kept."""
        if self.budget_tokens is not None:
            return "tokens", self.budget_tokens
        return None if self.budget_bytes is None else ("bytes", self.budget_bytes)

    def rules(self) -> dict[str, Decides]:
        """The rules that are asked for, by their fields."""
        return {name: rule for name, rule in RULES.items() if getattr(self, name)}

    @property
    def reads_metric(self) -> bool:
        """Whether a rule looks at `metric`."""
        return any(rule.reads_metric(self) for rule in self.rules().values())

    def metrics(self) -> list[str]:
        """Every metric that a rule looks at."""
        own = [self.chosen_metric] if self.reads_metric else []
        return list(dict.fromkeys([*self.min, *self.max, *own]))


RULES = {
    name: mark
    for name, field in FilterConfig.model_fields.items()
    for mark in field.metadata
    if isinstance(mark, Decides)
}
"""Names of the fields that are rules."""


def load_filter_config(file: Path | None, options: dict[str, Any]) -> FilterConfig:
    """Merge `options` over the file's [filter] table. Raises ConfigError."""
    given = {key: value for key, value in options.items() if not _is_left_out(value)}
    config = load_settings(FilterConfig, "filter", file, given)
    check_rules(config, RULES)
    return config


def _is_left_out(value: object) -> bool:
    """A repeated option that is not given is empty. Compared by type: a Polars expression that is
    given by mistake has no truth."""
    return value is None or (isinstance(value, list | tuple) and not value)
