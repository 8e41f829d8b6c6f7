"""Two runs over the same documents, document by document.

Owns what the differences of paired documents say; which are pairs is matching.py's. Differences
are in bits per byte, which compares across tokenizers; positive: more surprising than in the
baseline.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel
from scipy import stats

from pipeline.comparisons.matching import Matched, PairedBy
from pipeline.comparisons.samples import Sample
from pipeline.runs.ids import shown_id
from pipeline.statistics.bootstrap import (
    ROW_BITS,
    Blocks,
    Bootstrap,
    Interval,
    Values,
    block_sums,
    interval,
)

METRIC = "bits_per_byte"
NUM_MOVED = 10
CHUNK = 1 << 20
Excerpts = Callable[[pl.DataFrame], dict[tuple[str, int], dict[str, Any]]]
"""A function from score rows to `excerpt`, `is_whole` and `missing` of each, by file and row."""
MOST_EXACT = 1000
"""Differences up to which SciPy's test is used, exact where it can be; beyond, the limit
distribution."""


class Moved(BaseModel):
    """A document and its bits per byte in both runs."""

    file: str
    row: int
    doc_id: str | None
    """The id as text; null if the corpus has none."""
    num_scored_bytes: int
    baseline: float
    value: float
    difference: float
    excerpt: str | None = None
    """The beginning of the text, from the run's corpus. Null if excerpts were not requested, or for
    the reason in `missing`."""
    is_whole: bool = False
    """Whether the excerpt is the whole text."""
    missing: str | None = None
    """Why a requested excerpt could not be read."""


class Pairing(BaseModel):
    """What became of every document that both runs have."""

    num_matched: int
    """Number of documents in both runs, paired by file and row, by id or by text: those with the
    same text, and those whose text was edited."""
    paired_by: PairedBy
    """How the documents with the same text were paired."""
    num_only_in_baseline: int
    num_only_in_run: int
    num_texts_changed: int
    """Number of documents with the same id or place and another text; all numbers below leave them
    out."""
    num_not_scored: int
    """Number of documents with the same text that lack a score in one run or both; all numbers
    below leave them out."""
    num_compared: int
    """Number of documents with the same text and a score in both runs."""
    num_rose: int
    num_fell: int
    num_equal: int
    share_rose: float | None
    mean_difference: float | None
    """Mean over the compared documents, in bits per byte; every document weighs the same."""
    interval: Interval | None
    """95% interval of the mean difference."""
    wilcoxon_p_value: float | None
    """p-value of the signed-rank test (Wilcoxon 1945) that documents are as likely to rise as to
    fall, ties left out. Null if no document moved."""
    rose_most: list[Moved]
    fell_most: list[Moved]


def pair(
    baseline: Sample,
    run: Sample,
    matched: Matched,
    *,
    blocks: Blocks,
    bootstrap: Bootstrap,
    files: list[str],
    run_scores: pl.LazyFrame,
    excerpts: Excerpts | None = None,
) -> Pairing:
    """Statistics of matched documents. `blocks` are of the run's rows; `run_scores` is the run,
    to look up the ids of the few documents that are shown, and `excerpts` finds their beginnings.
    """
    differences = run.metric(METRIC, matched.in_run)
    differences -= baseline.metric(METRIC, matched.in_baseline)
    moved = []
    for sign in (1, -1):
        at = furthest(differences, NUM_MOVED, sign)
        moved.append([_moved(baseline, run, matched, i, files) for i in at])
    described = _described(moved[0] + moved[1], run_scores, excerpts)
    around = _mean_interval(differences, blocks[matched.in_run], bootstrap)
    count = len(differences)
    num_rose = int(np.count_nonzero(differences > 0))
    num_fell = int(np.count_nonzero(differences < 0))
    return Pairing(
        num_matched=matched.num_matched,
        paired_by=matched.paired_by,
        num_only_in_baseline=len(baseline.key) - matched.num_matched,
        num_only_in_run=len(run.key) - matched.num_matched,
        num_texts_changed=matched.num_texts_changed,
        num_not_scored=matched.num_matched - matched.num_texts_changed - count,
        num_compared=count,
        num_rose=num_rose,
        num_fell=num_fell,
        num_equal=count - num_rose - num_fell,
        share_rose=num_rose / count if count else None,
        mean_difference=float(np.mean(differences)) if count else None,
        interval=around,
        wilcoxon_p_value=wilcoxon_p_value(differences),
        rose_most=described[: len(moved[0])],
        fell_most=described[len(moved[0]) :],
    )


def _mean_interval(differences: Values, blocks: Blocks, bootstrap: Bootstrap) -> Interval | None:
    counts = np.ones(len(differences), np.uint8)
    resampled = bootstrap.resample(block_sums(blocks, [counts, differences])[0])
    with np.errstate(invalid="ignore"):
        return interval(resampled[:, 1] / resampled[:, 0], len(differences))


def wilcoxon_p_value(differences: Values) -> float | None:
    """Two-sided. None where every difference is 0."""
    moved = differences[differences != 0]
    if not len(moved):
        return None
    if len(moved) <= MOST_EXACT:
        return float(stats.wilcoxon(moved).pvalue)
    # The normal law with the correction for ties. SciPy's own needs ten arrays of this size.
    rises = np.sort(moved[moved > 0])
    sizes = np.abs(moved, out=moved)
    sizes.sort()
    ranks = 0.0
    for start in range(0, len(rises), CHUNK):
        part = rises[start : start + CHUNK]
        first, last = (np.searchsorted(sizes, part, side=side) for side in ("left", "right"))
        ranks += float(np.sum((first + last + 1) / 2))
    starts = np.flatnonzero(np.append(True, sizes[1:] != sizes[:-1]))
    ties = np.diff(starts, append=len(sizes))
    ties = ties[ties > 1].astype(np.float64)
    n = float(len(sizes))
    variance = n * (n + 1) * (2 * n + 1) / 24 - float(np.sum(ties**3 - ties)) / 48
    z = (ranks - n * (n + 1) / 4) / np.sqrt(variance)
    return float(2 * stats.norm.sf(abs(z)))


def furthest(values: Values, count: int, sign: int) -> list[int]:
    """Positions of the largest values of that sign, the furthest first, ties by position."""
    if len(values) > count:
        at = -count if sign > 0 else count - 1
        least = np.partition(values, at)[at]
        inside = (values >= least) if sign > 0 else (values <= least)
        candidates = np.flatnonzero(inside & (values * sign > 0))
    else:
        candidates = np.flatnonzero(values * sign > 0)
    order = np.lexsort((candidates, -values[candidates] * sign))
    return [int(i) for i in candidates[order][:count]]


def _moved(baseline: Sample, run: Sample, matched: Matched, at: int, files: list[str]) -> Moved:
    there, here = matched.in_baseline[at : at + 1], matched.in_run[at : at + 1]
    before, after = (
        float(sample.metric(METRIC, position)[0])
        for sample, position in ((baseline, there), (run, here))
    )
    key = int(run.key[here[0]])
    return Moved(
        file=files[key >> ROW_BITS],
        row=key & ((1 << ROW_BITS) - 1),
        doc_id=None,
        num_scored_bytes=int(run.num_scored_bytes[here[0]]),
        baseline=before,
        value=after,
        difference=after - before,
    )


def _described(
    documents: list[Moved], scores: pl.LazyFrame, excerpts: Excerpts | None
) -> list[Moved]:
    """The documents with their ids, where the run has any, and the beginnings of their texts."""
    if not documents:
        return documents
    wanted = pl.any_horizontal(
        *((pl.col("file") == one.file) & (pl.col("row") == one.row) for one in documents)
    )
    ids = [shown_id(scores)] if "doc_id" in scores.collect_schema() else []
    rows = scores.filter(wanted).select("file", "row", "text_hash", *ids).collect()
    more = {place: dict[str, Any]() for place in rows.select("file", "row").iter_rows()}
    if ids:
        for file, row, doc_id in rows.select("file", "row", "doc_id").iter_rows():
            more[file, row]["doc_id"] = doc_id
    if excerpts is not None:
        for place, excerpt in excerpts(rows).items():
            more[place] |= excerpt
    return [one.model_copy(update=more[one.file, one.row]) for one in documents]
