"""Hours and money: what an estimate comes to on each kind of worker.

Owns the [plan] table, which stands beside [score] in one file, and the arithmetic:

    [plan]
    currency = "USD"

    [plan.workers.h100]
    tokens_per_second = 60_000     # of one worker: prompts, prefixes and repeated context included
    price_per_hour = 2.9           # of one worker
    count = 8                      # side by side; hours are divided by it, the price is not

Loading models and machines that wait are not in the figures.
"""

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError
from pipeline.planning.estimate import Quantity
from pipeline.settings.config import read_table, refuse_unknown
from pipeline.settings.toml_lines import at_line

SECONDS_AN_HOUR = 3600


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class WorkerKind(_Table):
    """What one worker of a kind does and costs."""

    tokens_per_second: float = Field(gt=0, allow_inf_nan=False)
    price_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    count: int = Field(default=1, ge=1)


class PlanConfig(_Table):
    """The [plan] table."""

    currency: str = ""
    workers: dict[str, WorkerKind] = Field(default_factory=dict)


class Span(BaseModel):
    """A figure and where it lies with 95% confidence."""

    value: float
    low: float
    high: float


class Cost(BaseModel):
    """What the estimate comes to on one kind of worker."""

    worker: str
    count: int
    tokens_per_second: float
    """Of one worker."""
    spread: float
    """Half the 95% interval of tokens_per_second, relative; 0 where it is given, not measured."""
    hours: Span
    """From the first shard to the last, with `count` workers."""
    price: Span | None
    currency: str


def load_plan_config(file: Path) -> PlanConfig:
    """The [plan] table of a file. Raises ConfigError, naming the key and its place."""
    table = read_table(file, "plan")
    refuse_unknown(table, PlanConfig, file, "plan")
    workers = table.get("workers", {})
    if not isinstance(workers, dict) or not all(isinstance(w, dict) for w in workers.values()):
        raise ConfigError(
            f"workers in [plan] of {file} is not a table of tables",
            hint="write [plan.workers.NAME] above the keys of each kind of worker",
        )
    for name, keys in workers.items():
        refuse_unknown(keys, WorkerKind, file, f"plan.workers.{name}")
    try:
        return PlanConfig(**table)
    except ValidationError as error:
        raise _mistake(error, file) from None


def _mistake(error: ValidationError, file: Path) -> ConfigError:
    first = error.errors(include_url=False)[0]
    *tables, key = (str(part) for part in first["loc"])
    table = ".".join(["plan", *tables])
    where = f"[{table}] of {file}"
    if first["type"] == "missing":
        return ConfigError(f"{key} is not set in {where}{at_line(file, table)}")
    rule = first["msg"].removeprefix("Input ").replace("should", "must")
    at = at_line(file, table, key)
    return ConfigError(f"{key} in {where} = {first['input']!r}: {rule}{at}")


def cost_of(
    prompt_tokens: Quantity, name: str, kind: WorkerKind, *, spread: float = 0.0, currency: str = ""
) -> Cost:
    """Hours and price of so many tokens.

    The relative errors of the tokens and of the speed are independent, so their squares add up.
    """
    hours = prompt_tokens.value / kind.tokens_per_second / SECONDS_AN_HOUR

    def between(end: int) -> float:
        off = (end - prompt_tokens.value) / prompt_tokens.value if prompt_tokens.value else 0.0
        return math.hypot(off, spread)

    low, high = 1 - between(prompt_tokens.low), 1 + between(prompt_tokens.high)
    total = Span(value=hours, low=max(0.0, low) * hours, high=high * hours)
    price = None if kind.price_per_hour is None else _times(total, kind.price_per_hour)
    return Cost(
        worker=name,
        count=kind.count,
        tokens_per_second=kind.tokens_per_second,
        spread=spread,
        hours=_times(total, 1 / kind.count),
        price=price,
        currency=currency,
    )


def _times(span: Span, factor: float) -> Span:
    return Span(value=span.value * factor, low=span.low * factor, high=span.high * factor)
