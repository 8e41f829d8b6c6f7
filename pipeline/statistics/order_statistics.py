"""Exact quantiles of more values than fit in memory, with weights and by group.

Owns radix selection: one pass counts values by their leading bits, a second one looks only at
those that share the leading bits of an answer. No sort of all values, no approximation; memory is
that of the histogram and of the few values near an answer.
"""

import polars as pl

BINS = 1 << 20
"""Leading bits of a 64-bit key: sign, exponent and 8 bits of the fraction."""
SIGN = 1 << 63
COARSE = "bin"
"""The column of them."""


def sortable_bits(value: pl.Expr) -> pl.Expr:
    """Float64 as UInt64 of the same order. -0.0 equals 0.0; NaN is not allowed."""
    bits = pl.when(value == 0).then(0.0).otherwise(value).reinterpret(dtype=pl.UInt64)
    sign = pl.lit(SIGN, pl.UInt64)
    return pl.when(bits >= sign).then(pl.lit(2**64 - 1, pl.UInt64) - bits).otherwise(bits + sign)


def from_sortable_bits(key: pl.Expr) -> pl.Expr:
    """The Float64 that `sortable_bits` made `key` of."""
    sign = pl.lit(SIGN, pl.UInt64)
    bits = pl.when(key >= sign).then(key - sign).otherwise(pl.lit(2**64 - 1, pl.UInt64) - key)
    return bits.reinterpret(dtype=pl.Float64)


def histogram(rows: pl.LazyFrame, **sums: pl.Expr) -> pl.DataFrame:
    """[group, bin, weight, and other sums] of `rows` [group, key (UInt64), weight (Int64)]: the
    first pass.

    The weights of a group add up to its total, which is what targets are stated against.
    """
    coarse = rows.group_by("group", _coarse()).agg(pl.col("weight").sum(), **sums)
    return coarse.collect(engine="streaming").sort("group", COARSE)


def select(rows: pl.LazyFrame, counted: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """For each target the smallest key up to and including which the weight exceeds it.

    With weights of one, target k is the k-th smallest value, from 0. `targets` is [group, target],
    and so is the answer, with `key`, and `below`, the weight before that key; a target that no
    weight exceeds has no row. `counted` is the histogram of the same rows.
    """
    near = bins_of(counted, targets)
    exact = (
        rows_in(rows, near)
        .with_columns(_coarse())
        .group_by("group", COARSE, "key")
        .agg(pl.col("weight").sum())
        .collect(engine="streaming")
        .sort("group", "key")
    )
    return _first_beyond(exact, "key", near).select("group", "target", "key", "below")


def bins_of(counted: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """[group, target, bin, below]: the leading bits that the key of each target has."""
    return _first_beyond(counted, COARSE, targets.with_columns(below=pl.lit(0, pl.Int64)))


def rows_in(rows: pl.LazyFrame, bins: pl.DataFrame) -> pl.LazyFrame:
    """The rows whose group and leading bits are among `bins` [group, bin]: where these are few,
    they may be held, and asked again instead of all rows."""
    wanted = bins.select("group", COARSE).unique().lazy()
    coarse = rows.with_columns(_coarse())
    return coarse.join(wanted, on=["group", COARSE], how="semi", nulls_equal=True).drop(COARSE)


def _coarse() -> pl.Expr:
    return (pl.col("key") // pl.lit(2**64 // BINS, pl.UInt64)).cast(pl.UInt32).alias(COARSE)


def _first_beyond(cells: pl.DataFrame, name: str, targets: pl.DataFrame) -> pl.DataFrame:
    """The first of the sorted `cells` of its group at which a target is exceeded.

    `below`, in and out, is the weight before the cells, and before the cell found.
    """
    shared = ["group", *({COARSE} & set(targets.columns))]
    weight = pl.col("weight")
    cells = cells.with_columns(upto=weight.cum_sum().over(shared))
    return (
        targets.join(cells, on=shared, nulls_equal=True)
        .filter(pl.col("below") + pl.col("upto") > pl.col("target"))
        .sort(name)
        .group_by("group", "target", maintain_order=True)
        .first()
        .with_columns(below=pl.col("below") + pl.col("upto") - weight)
        .drop("weight", "upto")
    )
