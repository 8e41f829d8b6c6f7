"""How much of what documents differ in lies between groups of them, from five sums a group.

Owns the share and its interval. The share is epsilon squared (Kelley 1935): 1 - mean square within
groups / mean square of all. Eta squared, the share without that correction, grows with the number
of groups whatever they are; epsilon squared is 0 on average where labels say nothing, were nearly
every document a group of its own. The interval is the bootstrap's over documents in its linear
form (the infinitesimal jackknife of Efron 1982), from the first four moments of each group, and
what chance adds by the F distribution where nothing lies between groups.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from pipeline.statistics.bootstrap import CONFIDENCE, Interval

Floats = npt.NDArray[np.float64]
NO_DIFFERENCE = 1e-12
"""Of a variance over a squared mean: what rounding makes of values that are all alike."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Counts and sums of powers by group, shape [num_groups] each; no group is empty."""

    n: Floats
    s1: Floats
    s2: Floats
    s3: Floats
    s4: Floats

    @property
    def mean(self) -> Floats:
        return self.s1 / self.n

    @property
    def squares(self) -> Floats:
        """Sum of squared distances from the group's mean."""
        return np.maximum(self.s2 - self.n * self.mean**2, 0.0)

    def whole(self) -> "Moments":
        """All groups as one."""
        sums = (self.n, self.s1, self.s2, self.s3, self.s4)
        return Moments(*(np.atleast_1d(one.sum()) for one in sums))

    def deviation(self) -> Floats:
        """Standard deviation within each group; NaN of one document."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.n > 1, np.sqrt(self.squares / (self.n - 1)), np.nan)


@dataclass(frozen=True, slots=True)
class Between:
    """The share of the variance that lies between groups."""

    share: float
    """Epsilon squared, from 0 on."""
    interval: Interval
    eta_squared: float


def between_groups(moments: Moments) -> Between | None:
    """None of one group, of groups of one document each, and where nothing differs."""
    n, mean, k = moments.n, moments.mean, len(moments.n)
    total = float(n.sum())
    if k < 2 or total <= k:
        return None
    middle = float(moments.s1.sum()) / total
    apart = mean - middle
    within, between = float(moments.squares.sum()), float((n * apart**2).sum())
    variance = (within + between) / total
    if variance <= NO_DIFFERENCE * (1 + middle**2):
        return None
    eta = between / (within + between)
    left, correction = 1 - eta, (total - 1) / (total - k)
    share = 1 - correction * left
    second = moments.squares / n
    third = moments.s3 / n - 3 * mean * moments.s2 / n + 2 * mean**3
    fourth = (moments.s4 - 4 * mean * moments.s3 + 6 * mean**2 * moments.s2) / n - 3 * mean**4
    # The mean square of what a document adds, (1 - eta) (y - mean of all)^2 - (y - its group's)^2.
    added = eta**2 * fourth - 4 * eta * left * apart * third + left**2 * apart**4
    added += (4 * left**2 - 2 * eta * left) * apart**2 * second
    linear = max(0.0, float((n * added).sum())) / total / variance**2 / total
    chance = 2 * (k - 1) / (total - k) / (total + 1) * (1 - max(0.0, share)) ** 2
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * math.sqrt(correction**2 * linear + chance)
    low, high = (min(1.0, max(0.0, end)) for end in (share - half, share + half))
    return Between(max(0.0, share), Interval(low=low, high=high), eta)
