"""`sample_toward`: a draw in which each document has a chance of its own.

A document is kept with probability exp(-((x - mean) / sd)^2 / 2), x its metric: the Gaussian of
BERTIN (De la Rosa et al. 2022, arXiv:2207.06814), which multiplies the density of x and does not
replace it. There x is the perplexity, the mean its median. For a Gaussian over log perplexity take
`bits_per_token`, which is its base-2 logarithm.
"""

from dataclasses import dataclass

import polars as pl

from pipeline.filters.config import FilterConfig
from pipeline.filters.rule import Rule, metric_value
from pipeline.statistics.hashing import row_hash, uniform


@dataclass(frozen=True)
class Sample(Rule):
    """A weighted draw; the same documents whatever the shards and their order."""

    metric: str
    mean: float
    deviation: float
    seed: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def mark(self, rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
        value, chance = metric_value(self.metric), uniform(row_hash(self.seed, "sample"))
        kept = chance < (-(((value - self.mean) / self.deviation) ** 2) / 2).exp()
        return rows.with_columns(kept.alias(name))


def make(config: FilterConfig) -> list[Rule]:
    """The draw, if there is one."""
    if config.sample_toward is None:
        return []
    return [Sample(config.chosen_metric, *config.sample_toward, config.seed)]
