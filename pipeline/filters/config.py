"""What `winnow filter` can be told: the rules, how they are written, which contradict each other.

Owns the spelling (`perplexity=100`, `10:90`, `2B`) and the checks that need no run. What a rule
does is selection.py's.

    [filter]
    run = "runs/first"
    out = "filtered/"
    max = {perplexity = 500}
    percentile = [10, 90]
    within = "lang"
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.errors import ConfigError
from pipeline.settings.config import load_settings

Bucket = Literal["head", "middle", "tail"]
Prefer = Literal["low", "middle", "high", "random"]
BUCKETS: tuple[Bucket, ...] = ("head", "middle", "tail")
DEFAULT_METRIC = "perplexity"
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmb]?)", re.IGNORECASE)


def parse_count(value: object) -> object:
    """`2B`, `1.5M`, `300k` as a whole number; what is not a text is left as it is."""
    if not isinstance(value, str):
        return value
    match = COUNT.fullmatch(value.strip())
    if match is None:
        raise ValueError(
            f"{value!r} should be a number, with k, M or B for thousands, millions or billions: "
            "300k, 1.5M, 2B"
        )
    return round(float(match[1]) * SUFFIXES[match[2].casefold()])


def parse_bounds(value: object) -> object:
    """[`METRIC=VALUE`, ...] as {metric: value}. The last of a metric counts."""
    if not isinstance(value, list | tuple):
        return value
    bounds = {}
    for item in value:
        name, equals, number = str(item).partition("=")
        try:
            bounds[name.strip()] = float(number)
        except ValueError:
            raise ValueError(f"{item!r} should be METRIC=VALUE, as in perplexity=100") from None
        if not equals:
            raise ValueError(f"{item!r} should be METRIC=VALUE, as in perplexity=100")
    return bounds


def parse_numbers(value: object) -> object:
    """`10:90` or `10,90`, or a list of numbers, as floats."""
    if isinstance(value, str):
        try:
            low, high = (float(part) for part in re.split("[:,]", value))
        except ValueError:
            raise ValueError("should be two numbers, as in 10:90") from None
        return low, high
    return tuple(value) if isinstance(value, list) else value


def parse_names(value: object) -> object:
    """`head,tail`, or a list of names, in the order of BUCKETS."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    known = [name for name in BUCKETS if name in names]
    return tuple(known + [name for name in names if name not in BUCKETS])


Finite = Annotated[float, Field(allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]
Pair = BeforeValidator(parse_numbers)


class FilterConfig(BaseModel):
    """Everything `winnow filter` can be told. A document is kept if every rule given keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    run: str
    corpus: str | None = None
    """Where the corpus lies now, if it was moved since it was scored."""
    out: str | None = None
    """The folder to write; only a dry run can do without."""
    rejects: str | None = None
    """Another folder, for the documents that are not kept."""
    max: Annotated[dict[str, Finite], BeforeValidator(parse_bounds)] = Field(default_factory=dict)
    """Largest value that is kept, by metric."""
    min: Annotated[dict[str, Finite], BeforeValidator(parse_bounds)] = Field(default_factory=dict)
    """Smallest value that is kept, by metric."""
    metric: str | None = None
    """What percentiles, buckets, preference and sampling look at; by default perplexity, or the
    difference or ratio that is asked for."""
    percentile: Annotated[tuple[Percent, Percent] | None, Pair] = None
    """Lower and upper percentile of the band that is kept, bounds included."""
    buckets: Annotated[tuple[Bucket, ...] | None, BeforeValidator(parse_names)] = None
    bucket_percentiles: Annotated[tuple[Percent, Percent] | None, Pair] = None
    """Where middle and tail begin; by default at the terciles."""
    bucket_folders: bool = False
    """Write each bucket into a folder of its name instead of naming it in a column."""
    within: str | None = None
    """A carried column: percentiles and buckets are taken inside each of its groups."""
    sample_toward: Annotated[tuple[Finite, Finite] | None, Pair] = None
    """Mean and standard deviation of the Gaussian that documents are sampled with."""
    budget_tokens: Annotated[int | None, BeforeValidator(parse_count), Field(ge=1)] = None
    """Most tokens that are kept, taken in the order of `prefer`."""
    budget_bytes: Annotated[int | None, BeforeValidator(parse_count), Field(ge=1)] = None
    """The same in UTF-8 bytes of text."""
    prefer: Prefer | None = None
    """low, middle, high or random; low by default."""
    seed: int = 0
    minus: str | None = None
    """A second run of the same corpus: makes the metric `difference`."""
    over: str | None = None
    """A second run of the same corpus: makes the metric `ratio`."""
    unscored: Literal["keep", "drop"] = "drop"
    """What becomes of documents without a score."""
    add_columns: bool = False
    """Also write the score columns."""
    partial: bool = False
    """Take what there is of a run that lacks parts."""
    force: bool = False
    """Go on even if the rules keep nothing."""

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
    def budget(self) -> tuple[Literal["tokens", "bytes"], int] | None:
        """What it counts, and the most of that which is kept."""
        if self.budget_tokens is not None:
            return "tokens", self.budget_tokens
        return None if self.budget_bytes is None else ("bytes", self.budget_bytes)

    @property
    def reads_metric(self) -> bool:
        """Whether a rule looks at `metric`."""
        ranked = self.budget is not None and self.prefer != "random"
        return ranked or any(
            rule is not None for rule in (self.percentile, self.buckets, self.sample_toward)
        )

    def metrics(self) -> list[str]:
        """Every metric that a rule looks at."""
        own = [self.chosen_metric] if self.reads_metric else []
        return list(dict.fromkeys([*self.min, *self.max, *own]))


def load_filter_config(file: Path | None, options: dict[str, Any]) -> FilterConfig:
    """Merge `options` over the file's [filter] table. Raises ConfigError."""
    given = {key: value for key, value in options.items() if value not in (None, [], ())}
    config = load_settings(FilterConfig, "filter", file, given, {"run": "RUN"})
    _check(config)
    return config


def _check(config: FilterConfig) -> None:
    """Rules that contradict each other, or that nothing would come of. Raises ConfigError."""
    rules = (config.max, config.min, config.percentile, config.buckets, config.sample_toward)
    if not any(rules) and config.budget is None:
        raise ConfigError(
            "no rule says which documents to keep",
            hint="give --max, --min, --percentile, --buckets, --sample-toward or a budget",
        )
    if config.budget_tokens and config.budget_bytes:
        raise ConfigError(
            "--budget-tokens and --budget-bytes are two budgets", hint="give one of them"
        )
    if config.prefer and config.budget is None:
        raise ConfigError(
            "--prefer needs a budget", hint="add --budget-tokens or --budget-bytes, or leave it out"
        )
    if config.minus and config.over:
        raise ConfigError("--minus and --over contradict each other", hint="give one of them")
    own = config.own_metric
    if own and own not in config.metrics():
        raise ConfigError(
            f"no rule looks at the {own} of the two runs",
            hint=f"leave out --metric, or give --min {own}=... or --max {own}=...",
        )
    for first, second in (("metric", config.reads_metric), ("within", _takes_percentiles(config))):
        if getattr(config, first) and not second:
            raise ConfigError(
                f"--{first} is given, but no rule uses it",
                hint="add --percentile or --buckets, or leave it out",
            )
    for option, needed in (
        ("bucket_percentiles", "buckets"),
        ("bucket_folders", "buckets"),
    ):
        if getattr(config, option) and getattr(config, needed) is None:
            shown, wanted = (f"--{name.replace('_', '-')}" for name in (option, needed))
            raise ConfigError(f"{shown} needs {wanted}", hint=f"add {wanted}, or leave it out")
    for name in ("percentile", "bucket_percentiles"):
        low, high = getattr(config, name) or (0, 100)
        if low > high:
            raise ConfigError(f"--{name.replace('_', '-')} {low:g}:{high:g} is upside down")
    if config.sample_toward and config.sample_toward[1] <= 0:
        raise ConfigError("the standard deviation of --sample-toward must be above 0")
    if not (config.buckets is None or config.buckets):
        raise ConfigError("--buckets names no bucket", hint=f"known: {', '.join(BUCKETS)}")
    for metric in config.min.keys() & config.max.keys():
        if config.min[metric] > config.max[metric]:
            raise ConfigError(
                f"no {metric} is both at least {config.min[metric]:g} "
                f"and at most {config.max[metric]:g}"
            )


def _takes_percentiles(config: FilterConfig) -> bool:
    return config.percentile is not None or config.buckets is not None
