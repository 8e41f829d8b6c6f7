"""Whether two models rank documents alike, and what one rule keeps of each.

Owns both measures, over the documents that are compared one by one, by bits per byte. Rank
correlation is Spearman's, of mid-ranks. Its interval is the bootstrap's in its linear form (the
infinitesimal jackknife of Efron 1982): what each document adds to the correlation, its effect on
the ranks of all others included, is added up by block and resampled, on Fisher's scale. So it takes
two sorts of the documents and no sort for each resample.
"""

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.comparisons.matching import Matched
from pipeline.comparisons.samples import Sample
from pipeline.filters.rules.percentile import Percentile
from pipeline.statistics.bootstrap import (
    Blocks,
    Bootstrap,
    Interval,
    Mask,
    Values,
    block_sums,
    interval,
)

METRIC = "bits_per_byte"
RULES = ((10, 90), (0, 90))
"""Percentile bands whose documents are compared, as a filter keeps them."""
FEWEST = 3
"""Smallest number of documents for a rank correlation."""


class Overlap(BaseModel):
    """What a filter by percentiles keeps by each of two models."""

    low: float
    high: float
    num_kept_baseline: int
    num_kept: int
    num_kept_by_both: int
    jaccard: float | None
    """Documents kept by both / documents kept by either; null if neither keeps any."""


class Agreement(BaseModel):
    """How two models agree on the compared documents, or on those of a group."""

    num_compared: int
    spearman: float | None
    """Rank correlation, -1 to 1; null for fewer than three documents, and if one model gives all
    the same score."""
    interval: Interval | None
    overlaps: list[Overlap]
    """Overlaps of what each band keeps; within a group, with the cut-offs of all compared
    documents."""


class GroupAgreement(BaseModel):
    """Agreement on the documents that share a value of a column, by the run's."""

    value: str
    agreement: Agreement


class ModelAgreement(BaseModel):
    """Two models over the same texts, in bits per byte."""

    overall: Agreement
    groups: dict[str, list[GroupAgreement]]
    """Groups by column, those that agree least first."""


def agree(
    baseline: Sample,
    run: Sample,
    matched: Matched,
    *,
    blocks: Blocks,
    bootstrap: Bootstrap,
    groups: dict[str, list[str]],
) -> ModelAgreement:
    """How the runs agree on the documents matched. `blocks` are of the run's rows."""
    values = (
        baseline.metric(METRIC, matched.in_baseline),
        run.metric(METRIC, matched.in_run),
    )
    kept = [tuple(_kept(side, low, high) for side in values) for low, high in RULES]
    own = blocks[matched.in_run]

    def of(rows: Mask | slice) -> Agreement:
        before, after = (side[rows] for side in values)
        rho, around = spearman(before, after, own[rows], bootstrap)
        return Agreement(
            num_compared=len(after),
            spearman=rho,
            interval=around,
            overlaps=[
                _overlap(rule, by_baseline[rows], by_run[rows])
                for rule, (by_baseline, by_run) in zip(RULES, kept, strict=True)
            ],
        )

    by_group = {}
    for column, names in groups.items():
        codes = run.groups[column][matched.in_run]
        found = [
            GroupAgreement(value=name, agreement=of(codes == code))
            for code, name in enumerate(names)
        ]
        by_group[column] = sorted(found, key=_by_disagreement)
    return ModelAgreement(overall=of(slice(None)), groups=by_group)


def _by_disagreement(group: GroupAgreement) -> tuple[float, str]:
    rho = group.agreement.spearman
    return (2.0 if rho is None else rho, group.value)


def _kept(values: Values, low: int, high: int) -> Mask:
    """What the rule of a filter keeps."""
    rows = pl.LazyFrame({f"metric:{METRIC}": values}).with_columns(scored=True, documents=1)
    rule = Percentile(METRIC, low, high).find(rows)
    return rule.mark(rows, "kept").collect()["kept"].to_numpy()


def _overlap(rule: tuple[int, int], baseline: Mask, run: Mask) -> Overlap:
    both = int(np.count_nonzero(baseline & run))
    either = int(np.count_nonzero(baseline | run))
    return Overlap(
        low=rule[0],
        high=rule[1],
        num_kept_baseline=int(np.count_nonzero(baseline)),
        num_kept=int(np.count_nonzero(run)),
        num_kept_by_both=both,
        jaccard=both / either if either else None,
    )


def spearman(
    x: Values, y: Values, blocks: Blocks, bootstrap: Bootstrap
) -> tuple[float | None, Interval | None]:
    """Spearman's rank correlation of two columns, shape [n] each, and its interval."""
    if len(x) < FEWEST:
        return None, None
    ranks = [_Ranks(side) for side in (x, y)]
    of_x, of_y = (one.shares - 0.5 for one in ranks)
    spread_x, spread_y = float(of_x @ of_x) / len(x), float(of_y @ of_y) / len(x)
    if not spread_x or not spread_y:
        return None, None
    together = float(of_x @ of_y) / len(x)
    scale = np.sqrt(spread_x * spread_y)
    rho = min(1.0, max(-1.0, together / scale))
    # What a document adds: by its own ranks, and by moving the ranks of those above it.
    added = of_x * of_y
    added += ranks[0].mean_above(of_y)
    added += ranks[1].mean_above(of_x)
    added /= scale
    for one, centred, spread in ((ranks[0], of_x, spread_x), (ranks[1], of_y, spread_y)):
        added -= rho / 2 / spread * (centred**2 + 2 * one.mean_above(centred))
    added -= np.mean(added)
    if 1 - abs(rho) < 1e-12:
        return rho, Interval(low=rho, high=rho)
    ones = np.ones(len(x), np.uint8)
    sums = bootstrap.resample(block_sums(blocks, [ones, added])[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        shifts = sums[:, 1] / sums[:, 0] / (1 - rho**2)
    around = interval(np.tanh(np.arctanh(rho) + shifts), len(x))
    return rho, around


class _Ranks:
    """Values in order, ties together."""

    def __init__(self, values: Values) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        self._starts = starts
        self._sizes = np.diff(starts, append=len(values))
        self.shares = self._spread(starts + self._sizes / 2) / len(values)
        """Mid-ranks from 0.5 on, over the number of values: between 0 and 1, 0.5 on average."""

    def mean_above(self, weights: Values) -> Values:
        """For each value the sum of the weights of larger values, and of half those of equal ones,
        over the number of values."""
        sums = np.add.reduceat(weights[self._order], self._starts)
        above = np.cumsum(sums[::-1])[::-1] - sums / 2
        return self._spread(above) / len(weights)

    def _spread(self, by_tie: Values) -> Values:
        """One number for each set of ties, to each value in its place."""
        found = np.empty(len(self._order))
        found[self._order] = np.repeat(by_tie, self._sizes)
        return found
