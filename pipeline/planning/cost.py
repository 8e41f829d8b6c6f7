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

from pydantic import BaseModel, ConfigDict, Field

from pipeline.planning.estimate import Quantity
from pipeline.settings.loading import load_settings

SECONDS_AN_HOUR = 3600


class _Table(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class WorkerKind(_Table):
    """What one worker of a kind does and costs."""

    tokens_per_second: float = Field(gt=0, allow_inf_nan=False)
    """Speed of one worker in prompt tokens, prefixes and repeated context included."""
    price_per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Price of one worker."""
    count: int = Field(default=1, ge=1)
    """Number of workers side by side; it divides the hours, not the price."""


class PlanConfig(_Table):
    """The [plan] table."""

    currency: str = ""
    """Currency of the prices."""
    workers: dict[str, WorkerKind] = Field(default_factory=dict)
    """Kinds of workers, by a name of your own."""


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
    """Speed of one worker."""
    spread: float
    """Half the 95% interval of tokens_per_second, relative to it; 0 if the speed was given instead
    of measured."""
    hours: Span
    """Hours from the first shard to the last, with `count` workers."""
    price: Span | None
    currency: str


def load_plan_config(file: Path) -> PlanConfig:
    """The [plan] table of a file. Raises ConfigError, naming the key and its place."""
    return load_settings(PlanConfig, "plan", file)


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
