"""THE quantile: linear interpolation between order statistics, and its weighted form.

Owns what p95 means, for NumPy and for Polars. The quantile q of n values lies at position
q * (n - 1) among them in ascending order, counted from 0: type 7 of Hyndman and Fan 1996, the
default of NumPy, R and Polars' "linear".

Values with weights take the weighted type 7 of Akinshin 2023 (arXiv:2304.07265): the
mean of the weighted inverse distribution function over a window of width 1 / m that begins at
q * (m - 1) / m, where m = (sum w)^2 / sum w^2 is Kish's effective sample size.

- Equal weights give type 7.
- Weights times a constant give the same, so only their proportions matter.
- It rises with q and with every value; the smallest value is at q = 0, the largest at q = 1, where
  weights are equal, and no quantile is ever outside of the two.
- Rows without weight count for nothing, and the order of equal values for nothing.
- It is not the quantile of values repeated as often as their weights say: no estimator has that
  and gives type 7 at equal weights, since repeating every value of [0, 1] moves its p25.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

Real = TypeVar("Real", float, Fraction)
"""Fraction where a place must be exact."""
Floats = npt.NDArray[np.float64]


def position(q: Real, num_values: int) -> Real:
    """Where the quantile lies among so many ascending values, from 0: between two whole places."""
    return q * (num_values - 1)


class Window(NamedTuple):
    """The weights that a weighted quantile is the mean value over, in units of 1 / `scale`, counted
    from the smallest value: whole numbers, so exact. Of n values of weight one, from `position` to
    one weight beyond it."""

    start: int
    end: int
    scale: int


def window(q: Fraction, total: int, squares: int) -> Window:
    """That of the quantile q of values whose weights, and whose squared weights, add up to these:
    of width sum w^2 / sum w, beginning at q of what is left beside it."""
    start = q.numerator * (total * total - squares)
    scale = q.denominator * total
    return Window(start, start + q.denominator * squares, scale)


def quantiles(values: Floats, at: Sequence[float]) -> Floats:
    """Those of an array of at least one value, none of them NaN: shape [len(at)]."""
    return np.asarray(np.quantile(values, np.asarray(at), method="linear"), np.float64)


def quantile_expr(values: pl.Expr, q: float) -> pl.Expr:
    """That of the values that are not null, as an aggregate; null of none."""
    return values.quantile(q, "linear")


def weighted_quantiles(values: Floats, weights: Floats, at: Sequence[float]) -> Floats:
    """`weighted_quantile_expr` of arrays: shape [len(at)]."""
    frame = pl.DataFrame({"value": values, "weight": weights}).sort("value")
    found = [weighted_quantile_expr(pl.col("value"), pl.col("weight"), q) for q in at]
    return np.array([frame.select(one).item() for one in found])


def weighted_quantile_expr(values: pl.Expr, weights: pl.Expr, q: float) -> pl.Expr:
    """That of the values that are not null, as an aggregate; null of none. NaN is not allowed."""
    there = values.is_not_null()
    own = weights.filter(there).sort_by(values.filter(there))
    total, squares = own.sum(), (own * own).sum()
    # The weight up to and including each value, and all of it, in units of one effective value:
    # equal weights give whole numbers, of which nothing spills over the window's ends.
    upto, effective = own.cum_sum() * (total / squares), total * (total / squares)
    inside = (upto - q * (effective - 1)).clip(0, 1)
    share = inside - inside.shift(1, fill_value=0.0)
    found = (values.filter(there).sort() * share).filter(share > 0).sum()
    return pl.when(there.any()).then(found)


def rank_of(num_below: int, num_equal: int, num_values: int) -> float | None:
    """The q whose quantile a value is that is `num_equal` times among `num_values`.

    The middle of them, if there are several; None where all values are alike, for then it is every
    quantile.
    """
    if num_equal == num_values:
        return None
    return (num_below + (num_equal - 1) / 2) / (num_values - 1)
