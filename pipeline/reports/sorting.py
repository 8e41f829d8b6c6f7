"""What a score sorts documents by before it sorts by quality: language, source, length.

Owns which properties of documents are looked at and the advice that follows. For each, the share of
the variance of log perplexity (nats per token, every document weighing the same) that lies between
its groups: how that is computed is statistics/variance.py's, guessing scripts is scripts.py's.
"""

import math
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.errors import counted
from pipeline.reports.distributions import LENGTH_BINS_PER_UNIT, length_ends
from pipeline.reports.groups import check_dates, label_of
from pipeline.schema import LARGEST_EXPONENT
from pipeline.settings.fields import option_of
from pipeline.settings.names import listed
from pipeline.statistics.bootstrap import Interval
from pipeline.statistics.columns import column_named
from pipeline.statistics.variance import Moments, between_groups

MATTERS = 0.05
"""Smallest share of the variance that is worth acting on."""
CONSTANT = 0.1
"""A group has nearly constant scores if its standard deviation is below this share of that of all
documents."""
FEWEST_DOCUMENTS = 10
"""Documents that a group needs before its scores are called nearly constant; also the mean group
size that filtering within groups needs."""
MOST_GROUPS, MOST_NAMED = 50, 3
ORIGIN = 3.0
"""Nats per token around which powers are taken: sums of these powers lose fewer digits than around
0."""
POWERS = ("s1", "s2", "s3", "s4")
LANGUAGES = frozenset(["lang", "language", "lang_code", "language_code", "locale", "script"])
"""Names of columns that hold languages."""
Kind = Literal["column", "length", "script"]
DIFFERENCES = "of the differences in log perplexity"


class SortedGroup(BaseModel):
    """The documents of one group, each weighing the same."""

    value: str
    num_scored: int
    perplexity: float
    """exp of the mean log perplexity of the group."""
    spread: float | None
    """Standard deviation of log perplexity, in nats per token; null for a single document."""


class Factor(BaseModel):
    """A property of documents, and how much of the variance of their scores goes with it."""

    name: str
    """A carried column, `length` or `script`."""
    kind: Kind
    num_scored: int
    """Number of scored documents; for scripts, of the sampled documents whose script was
    guessed."""
    num_groups: int
    share: float | None
    """Share of the variance of log perplexity that lies between groups: epsilon squared, from 0 to
    1. Null for a single group, for groups of one document each, and if all scores are equal."""
    interval: Interval | None
    """95% interval of the share; above 0 if the share is more than chance."""
    eta_squared: float | None
    """The share without the correction for the number of groups."""
    groups: list[SortedGroup]
    """The largest groups, ordered from the least to the most surprising."""
    num_constant: int
    """Number of groups of ten documents or more with a spread below a tenth of that of all
    documents: within these groups the score does not rank documents."""
    constant: list[str]
    """The largest of the `num_constant` groups."""

    @property
    def is_certain(self) -> bool:
        """Whether the share is more than chance."""
        return self.interval is not None and self.interval.low > 0

    @property
    def matters(self) -> bool:
        """Whether the share is certain, and large enough to act on."""
        return self.is_certain and (self.share or 0.0) >= MATTERS

    @property
    def can_be_cut_within(self) -> bool:
        """Whether a filter can treat its groups one by one: it is carried, and they are large
        enough."""
        return self.kind == "column" and self.num_scored >= FEWEST_DOCUMENTS * self.num_groups


class SortsBy(BaseModel):
    """What a score sorts by."""

    factors: list[Factor]
    """Factors, that with the largest share first."""
    verdict: str
    """What the shares mean for filtering, in words."""
    command: str | None
    """The command that filters within groups; null if there is no reason to do so."""

    def in_words(self) -> str:
        """The verdict, the groups of constant scores, and what to type."""
        named = [
            f"{listed(one.constant, most=MOST_NAMED)} ({one.name})"
            for one in self.factors
            if one.num_constant
        ]
        said = [self.verdict]
        if named:
            said.append(
                f"Scores are nearly constant, and do not rank documents, in: {'; '.join(named)}."
            )
        if self.command is not None:
            said.append(f"To apply this: {self.command}")
        return " ".join(said)


def sorts_by(scores: pl.LazyFrame, columns: Sequence[str], run: str = "RUN") -> SortsBy:
    """What score rows are sorted by, of these carried columns and length.

    `run` is what the command filters. Raises RunError for dates that have no name.
    """
    check_dates(scores, columns)
    return rank_factors(factors_of(columns, sorting_moments(scores, columns)), run)


def share_between(scores: pl.LazyFrame, column: str) -> float | None:
    """`Factor.share` of one column."""
    query = moments_query(scores, column_named(column).cast(pl.String))
    return factor(column, "column", query.collect(engine="streaming"), label_of).share


def sorting_moments(scores: pl.LazyFrame, columns: Sequence[str]) -> list[pl.DataFrame]:
    """What `factors_of` takes."""
    values = [column_named(column).cast(pl.String) for column in columns]
    band = (pl.col("num_tokens").log() * LENGTH_BINS_PER_UNIT).floor().cast(pl.Int64)
    # One after another: of queries collected together, Polars keeps the columns that they share,
    # at a hundred million rows some gigabytes, in more time than reading them again.
    queries = [moments_query(scores, value) for value in (*values, band)]
    return [query.collect(engine="streaming") for query in queries]


def moments_query(scores: pl.LazyFrame, group: pl.Expr) -> pl.LazyFrame:
    """[value, n, s1, ..., s4] of scored documents: sums of powers of log perplexity - ORIGIN."""
    nats, square = pl.col("nll") / pl.col("num_tokens") - ORIGIN, pl.col("s1") * pl.col("s1")
    return (
        scores.filter(pl.col("num_tokens") > 0, pl.col("nll").is_not_null())
        .select(group.alias("value"), nats.alias("s1"))
        .with_columns(s2=square)
        .with_columns(s3=pl.col("s1") * pl.col("s2"), s4=pl.col("s2") * pl.col("s2"))
        .group_by("value")
        .agg(pl.len().alias("n"), pl.col(POWERS).sum())
    )


def factors_of(columns: Sequence[str], moments: Sequence[pl.DataFrame]) -> list[Factor]:
    """The factors of the columns, then that of length, from the results of `sorting_queries`."""
    *of_columns, lengths = moments
    return [
        *(
            factor(name, "column", own, label_of)
            for name, own in zip(columns, of_columns, strict=True)
        ),
        factor("length", "length", lengths, _tokens),
    ]


def _tokens(band: int) -> str:
    low, high = length_ends(band)
    return f"{low:,} to {high:,} tokens" if low < high else counted(low, "token")


def factor(name: str, kind: Kind, frame: pl.DataFrame, label: Callable[[Any], str]) -> Factor:
    """The factor whose groups are in `frame`, a result of `moments_query`; `label` names them."""
    frame = frame.sort("n", "value", descending=[True, False])
    moments = Moments(*(frame[column].to_numpy().astype(np.float64) for column in ("n", *POWERS)))
    found = between_groups(moments)
    spread, mean = moments.deviation(), moments.mean
    everything = moments.whole().deviation()[0] if frame.height else math.nan
    constant = (moments.n >= FEWEST_DOCUMENTS) & (spread < CONSTANT * everything)
    largest = sorted(range(frame.height)[:MOST_GROUPS], key=lambda i: mean[i])
    return Factor(
        name=name,
        kind=kind,
        num_scored=int(moments.n.sum()),
        num_groups=frame.height,
        share=None if found is None else found.share,
        interval=None if found is None else found.interval,
        eta_squared=None if found is None else found.eta_squared,
        groups=[
            SortedGroup(
                value=label(frame["value"][i]),
                num_scored=int(moments.n[i]),
                perplexity=math.exp(min(ORIGIN + mean[i], LARGEST_EXPONENT)),
                spread=None if math.isnan(spread[i]) else float(spread[i]),
            )
            for i in largest
        ],
        num_constant=int(constant.sum()),
        constant=[label(frame["value"][int(i)]) for i in constant.nonzero()[0][:MOST_GROUPS]],
    )


def rank_factors(factors: Sequence[Factor | None], run: str) -> SortsBy:
    """Factors by their shares, with the verdict and the command."""
    ordered = [one for one in factors if one is not None]
    ordered.sort(key=lambda one: 1.0 if one.share is None else -one.share)
    mattering = [one for one in ordered if one.matters]
    within = next((one for one in mattering if one.can_be_cut_within), None)
    command = None
    if within is not None:
        options = [option_of("percentile"), "10:90", option_of("within"), shlex.quote(within.name)]
        filtering = ["winnow filter", shlex.quote(run), *options, option_of("out"), "FILTERED"]
        command = " ".join(filtering)
    said = [_said(one) for one in mattering[:1]]
    if within is not None and within is not mattering[0]:
        said.append(_said(within))
    return SortsBy(factors=ordered, verdict=" ".join(said) or _nothing(ordered), command=command)


def _said(one: Factor) -> str:
    assert one.share is not None
    assert one.interval is not None
    low, high = (f"{100 * end:.0f}%" for end in (one.interval.low, one.interval.high))
    what = f"{100 * one.share:.0f}% {DIFFERENCES} (95% interval {low} to {high})"
    if one.kind == "length":
        bounds = f"{option_of('min')} num_tokens=N and {option_of('max')} num_tokens=N"
        return (
            f"{what} are explained by document length: to filter documents of similar length, add "
            f"{bounds}."
        )
    if one.kind == "script":
        return (
            f"{what} are between scripts, guessed from the letters of a sample of "
            f"{one.num_scored:,} documents: score with a carried column that names the language, "
            "and filter within its groups."
        )
    groups = "languages" if one.name.casefold() in LANGUAGES else f"groups of {one.name}"
    if not one.can_be_cut_within:
        return f"{what} are between {groups}, which have too few documents each to filter within."
    return f"{what} are between {groups}: filter within {one.name}."


def _nothing(ordered: list[Factor]) -> str:
    known = [one for one in ordered if one.share is not None]
    if not known:
        return "There are no two groups of documents whose scores could be compared."
    best = known[0]
    why = "is too small to act on" if best.is_certain else "could be chance"
    return (
        f"No known property of the documents explains their scores: the largest share "
        f"{DIFFERENCES}, {100 * (best.share or 0.0):.1f}% by {best.name}, {why}."
    )
