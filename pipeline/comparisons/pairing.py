"""Two runs over the same documents, document by document.

Owns matching documents by their locator and text, and what the differences of the matched say.
Differences are in bits per byte, which compares across tokenizers; positive: more surprising than
in the baseline.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel
from scipy import stats

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
MOST_EXACT = 1000
"""Up to this many differences SciPy's test, exact where it can be; beyond, the limit law."""

Rows = npt.NDArray[np.int64]


class Moved(BaseModel):
    """A document and its bits per byte in both runs."""

    file: str
    row: int
    doc_id: str | None
    """As text; null where the corpus has none."""
    num_scored_bytes: int
    baseline: float
    value: float
    difference: float


class Pairing(BaseModel):
    """What became of every document that both runs have."""

    num_matched: int
    """Rows of the same file and number in both runs."""
    num_only_in_baseline: int
    num_only_in_run: int
    num_texts_changed: int
    """Matched rows whose texts differ; they are in nothing that follows."""
    num_compared: int
    """Matched rows of the same text with a score in both runs."""
    num_rose: int
    num_fell: int
    num_equal: int
    share_rose: float | None
    mean_difference: float | None
    """Mean over the compared documents, in bits per byte; every document weighs the same."""
    interval: Interval | None
    """Of the mean difference."""
    wilcoxon_p_value: float | None
    """Signed-rank test of Wilcoxon 1945 that documents are as likely to rise as to fall, equal
    ones left out. Null where none moved."""
    rose_most: list[Moved]
    fell_most: list[Moved]


@dataclass(frozen=True, slots=True)
class Matched:
    """Positions, in both samples, of documents that are the same."""

    in_baseline: Rows
    in_run: Rows
    num_matched: int
    num_texts_changed: int


def match(baseline: Sample, run: Sample) -> Matched:
    """Match rows by locator, and keep those whose texts are the same and scored in both."""
    theirs, ours = [], []
    num_matched = num_changed = 0
    counts = (baseline.scored(), run.scored())
    for start in range(0, len(run.key) if len(baseline.key) else 0, CHUNK):
        keys = run.key[start : start + CHUNK]
        near = np.minimum(np.searchsorted(baseline.key, keys), len(baseline.key) - 1)
        hit = baseline.key[near] == keys
        there, here = near[hit], start + np.flatnonzero(hit)
        same = baseline.text_hash[there] == run.text_hash[here]
        num_matched += len(here)
        num_changed += int(np.count_nonzero(~same))
        kept = same & counts[0][there] & counts[1][here]
        theirs.append(there[kept])
        ours.append(here[kept])
    nothing = [np.empty(0, np.int64)]
    return Matched(
        np.concatenate(theirs or nothing), np.concatenate(ours or nothing), num_matched, num_changed
    )


def pair(
    baseline: Sample,
    run: Sample,
    *,
    blocks: Blocks,
    bootstrap: Bootstrap,
    files: list[str],
    run_scores: pl.LazyFrame,
) -> Pairing:
    """Statistics of matched documents. `blocks` are of the run's rows; `run_scores` is the run,
    to look up the ids of the few documents that are shown."""
    matched = match(baseline, run)
    differences = run.metric(METRIC, matched.in_run)
    differences -= baseline.metric(METRIC, matched.in_baseline)
    moved = []
    for sign in (1, -1):
        at = furthest(differences, NUM_MOVED, sign)
        moved.append([_moved(baseline, run, matched, i, files) for i in at])
    with_ids = _with_ids(moved[0] + moved[1], run_scores)
    around = _mean_interval(differences, blocks[matched.in_run], bootstrap)
    num_matched, num_texts_changed = matched.num_matched, matched.num_texts_changed
    del matched  # two integers a document; the test that comes needs the room
    count = len(differences)
    num_rose = int(np.count_nonzero(differences > 0))
    num_fell = int(np.count_nonzero(differences < 0))
    return Pairing(
        num_matched=num_matched,
        num_only_in_baseline=len(baseline.key) - num_matched,
        num_only_in_run=len(run.key) - num_matched,
        num_texts_changed=num_texts_changed,
        num_compared=count,
        num_rose=num_rose,
        num_fell=num_fell,
        num_equal=count - num_rose - num_fell,
        share_rose=num_rose / count if count else None,
        mean_difference=float(np.mean(differences)) if count else None,
        interval=around,
        wilcoxon_p_value=wilcoxon_p_value(differences),
        rose_most=with_ids[: len(moved[0])],
        fell_most=with_ids[len(moved[0]) :],
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


def _with_ids(documents: list[Moved], scores: pl.LazyFrame) -> list[Moved]:
    """The documents with their ids, where the run has any."""
    if not documents or "doc_id" not in scores.collect_schema():
        return documents
    wanted = pl.any_horizontal(
        *((pl.col("file") == one.file) & (pl.col("row") == one.row) for one in documents)
    )
    found = scores.filter(wanted).select("file", "row", shown_id(scores))
    ids = {(file, row): doc_id for file, row, doc_id in found.collect().iter_rows()}
    return [one.model_copy(update={"doc_id": ids.get((one.file, one.row))}) for one in documents]
