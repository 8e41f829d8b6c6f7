"""How much a rule keeps: what the page says, of everything and of each group of the bins.

Owns where the figures come from: what there is, from the bins; what is kept, from what was decided
when the cut-offs were found, else from one pass over the scores.
"""

from dataclasses import dataclass

import polars as pl

from pipeline.explore.bins import UNSCORED, Bins
from pipeline.explore.rule import Decision
from pipeline.explore.run import ExploredRun
from pipeline.filters.counts import SIZES, add_up
from pipeline.filters.record import Sizes
from pipeline.reports.groups import group_code


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is and what a rule keeps."""

    before: Sizes
    after: Sizes
    groups: list[tuple[list[int], list[int]]]
    """The same of each of the bins' groups, as SIZES; documents without a score row are in none."""
    num_unscored: int
    """Number of documents without a value of the metric."""


def count(run: ExploredRun, decision: Decision, bins: Bins) -> Kept:
    """Exactly. `bins` are of all documents, by the rule's metric and column."""
    kept = decision.counted
    if kept is None:
        by, selection = decision.asked.by, decision.selection
        rows = selection.decide(run.rows(), by).filter("keep")
        group = pl.lit(0, pl.Int64) if by is None else group_code("by", bins.groups)
        kept = add_up(rows, has_groups=by is not None).with_columns(group=group)
    before, after = (_by_group(one, len(bins.groups)) for one in (bins.cells, kept))
    unscored = int(bins.cells.filter(bin=UNSCORED)["documents"].sum())
    unseen = sum(file.num_rows for file in run.manifest.files) - run.num_rows
    return Kept(
        _sum(before, unseen), _sum(after), list(zip(before, after, strict=True)), unscored + unseen
    )


def _by_group(cells: pl.DataFrame, num_groups: int) -> list[list[int]]:
    sums = cells.group_by("group").agg(pl.col(SIZES).sum())
    found = {group: sizes for group, *sizes in sums.iter_rows()}
    return [found.get(group, [0] * len(SIZES)) for group in range(num_groups)]


def _sum(groups: list[list[int]], unseen: int = 0) -> Sizes:
    documents, tokens, size = (sum(column) for column in zip(*groups, strict=True))
    return Sizes(documents=documents + unseen, tokens=tokens, bytes=size)
