"""How far apart two distributions are. Pure.

Every function takes sorted arrays of float64, shape [n] and [m], without NaN, and answers about the
samples exactly: nothing is binned that the measure itself does not bin. Works through the merged
values a piece at a time, so a hundred million values need no third array of that size.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from scipy import stats

from pipeline.statistics.quantile import quantiles

Sorted = npt.NDArray[np.float64]

CHUNK = 1 << 20
MOST_EXACT = 1000
"""Values per side up to which the p-value of KS is exact; beyond, the limit distribution is as
good."""
PSI_BINS = 10
PSI_FEWEST = 0.5
"""Number of documents that an empty bin counts as, since the index takes the logarithm of its
share."""
PSI_LEVEL = 0.95


class Psi(BaseModel):
    """A population stability index, and what it would be of two samples that do not differ."""

    value: float
    num_bins: int
    """Number of bins: fewer than ten if many documents share one value."""
    by_chance: float
    """The value that one in twenty pairs of samples of these sizes from one population exceeds."""


class Distances(BaseModel):
    """How a metric's distribution over documents differs from the baseline's."""

    ks_statistic: float
    """Largest difference of the two distribution functions, 0 to 1."""
    paired: bool = False
    """Always false: the distances compare two sets of documents, whichever are in both. The test of
    pairs is `wilcoxon_p_value` of `pairing`."""
    ks_p_value: float
    """Chance of a difference as large between samples of one population. With many documents small
    differences are significant: read the size."""
    wasserstein: float
    """Mean distance that a value moves, in the metric's unit."""
    psi: Psi


def distances(baseline: Sorted, other: Sorted) -> Distances | None:
    """All of them; None where a side is empty."""
    if not len(baseline) or not len(other):
        return None
    ks, moved = _walk(baseline, other)
    return Distances(
        ks_statistic=ks,
        ks_p_value=_ks_p_value(baseline, other, ks),
        wasserstein=moved,
        psi=psi(baseline, other),
    )


def ks_statistic(a: Sorted, b: Sorted) -> float:
    """The two-sample Kolmogorov-Smirnov statistic: sup |F_a - F_b|. Smirnov 1939."""
    return _walk(a, b)[0]


def wasserstein(a: Sorted, b: Sorted) -> float:
    """The 1-Wasserstein (earth mover's) distance: the integral of |F_a - F_b|. Vallender 1974."""
    return _walk(a, b)[1]


def _walk(a: Sorted, b: Sorted) -> tuple[float, float]:
    """One pass over the merged values: the largest gap of F_a and F_b, and the area between."""
    largest, areas = 0.0, []
    last_value, last_gap = None, 0.0
    for values, gaps in _gaps(a, b):
        largest = max(largest, float(gaps.max()))
        if last_value is not None:
            areas.append(last_gap * float(values[0] - last_value))
        areas.append(float(np.dot(gaps[:-1], np.diff(values))))
        last_value, last_gap = values[-1], float(gaps[-1])
    return largest, float(np.sum(areas))


def _gaps(a: Sorted, b: Sorted) -> Iterator[tuple[Sorted, Sorted]]:
    """(values, |F_a - F_b| at them), ascending, in pieces of about CHUNK."""
    cuts = np.unique(np.concatenate([a[::CHUNK], b[::CHUNK]]))
    starts = [np.searchsorted(side, cuts) for side in (a, b)]
    ends = [np.append(start[1:], len(side)) for start, side in zip(starts, (a, b), strict=True)]
    for i in range(len(cuts)):
        piece_a = a[starts[0][i] : ends[0][i]]
        piece_b = b[starts[1][i] : ends[1][i]]
        values = np.concatenate([piece_a, piece_b])
        values.sort(kind="stable")  # merges two sorted pieces in one go
        below_a = starts[0][i] + np.searchsorted(piece_a, values, side="right")
        below_b = starts[1][i] + np.searchsorted(piece_b, values, side="right")
        yield values, np.abs(below_a / len(a) - below_b / len(b))


def _ks_p_value(a: Sorted, b: Sorted, statistic: float) -> float:
    if max(len(a), len(b)) <= MOST_EXACT:
        with warnings.catch_warnings():
            # Where the exact count overflows SciPy takes the limit law itself, and says so.
            warnings.simplefilter("ignore", RuntimeWarning)
            answer: Any = stats.ks_2samp(a, b)
        return float(answer.pvalue)
    effective = round(len(a) * len(b) / (len(a) + len(b)))
    return float(stats.kstwo.sf(statistic, max(1, effective)))


def psi(baseline: Sorted, other: Sorted) -> Psi:
    """The population stability index over the deciles of the baseline.

    sum over bins of (q - p) ln(q / p), p and q being the shares of the baseline and of the other:
    the symmetric divergence of Kullback and Leibler 1951, under its name in Siddiqi 2006, "Credit
    Risk Scorecards" (0.1 a small shift, 0.25 a large one). A bin that is empty on one side counts
    as half a document there; empty on both it is no bin. Of samples that do not differ the index is
    about chi-squared with bins - 1 degrees of freedom, times 1/n + 1/m (Yurdakul and Naranjo 2020).
    """
    edges = np.unique(quantiles(baseline, [i / PSI_BINS for i in range(1, PSI_BINS)]))
    counts = np.stack([_counts(side, edges) for side in (baseline, other)])
    counts = counts[:, counts.any(axis=0)]
    p, q = np.maximum(counts, PSI_FEWEST) / [[len(baseline)], [len(other)]]
    num_bins = counts.shape[1]
    spread = 1 / len(baseline) + 1 / len(other)
    chance = stats.chi2.ppf(PSI_LEVEL, num_bins - 1) * spread if num_bins > 1 else 0.0
    return Psi(
        value=float(np.sum((q - p) * np.log(q / p))), num_bins=num_bins, by_chance=float(chance)
    )


def _counts(values: Sorted, edges: Sorted) -> npt.NDArray[np.int64]:
    """Values per bin; a value on an edge is in the bin below it."""
    below = np.searchsorted(values, edges, side="right")
    return np.diff(below, prepend=0, append=len(values))
