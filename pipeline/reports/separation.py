"""How well scores tell labelled documents from the rest.

Owns the area under the ROC curve and the cut that labels suggest. For somebody who has labels for
a part of a corpus and asks whether perplexity sees what the labels say.

ROC AUC is the probability that a labelled document scores higher than one of the rest, ties
counting half: the Mann-Whitney U statistic over the number of pairs (Hanley and McNeil 1982). It
is exact, and takes some 20 bytes a document.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.config import near_name
from pipeline.errors import ConfigError
from pipeline.reports.figures import QUANTILE_METRICS
from pipeline.reports.groups import KEY, Grouping, value_of
from pipeline.reports.sketches import Floats, as_sketch, resolution_of, sketch_query

AT_A_TIME = 1 << 22
"""Labelled documents that are ranked at a time."""
CUT_METRIC = "perplexity"
MOST_LABELS = 100
MOST_VALUES_NAMED = 10


class SeparatedLabel(BaseModel):
    """The documents with one label, against all documents with none of the labels."""

    value: str
    num_scored: int
    auc: dict[str, float | None]
    """Metric to ROC AUC. Above 0.5: these score higher than the rest. Null without documents on
    both sides."""


class Removed(BaseModel):
    """What keeping the documents at or below the cut removes of one value of the column."""

    value: str
    num_scored: int
    documents_removed: int
    num_tokens: int
    tokens_removed: int


class Cut(BaseModel):
    """The bound on perplexity at which labelled and other documents are furthest apart."""

    perplexity: float
    youden_j: float
    """Share of labelled documents above the cut, less the share of the others above it
    (Youden 1950)."""
    removed: list[Removed]


class Separation(BaseModel):
    """`winnow report --separate COLUMN=VALUE,VALUE`."""

    column: str
    labels: list[SeparatedLabel]
    together: SeparatedLabel
    cut: Cut | None
    """Null where there is nothing on one side, or labelled documents do not score higher."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A request to separate documents by values of a column."""

    column: str
    values: tuple[str, ...]

    def code(self) -> pl.Expr:
        """0 for the rest, 1 and on for the values."""
        value = pl.col(self.column).cast(pl.String)
        code = pl.lit(0, pl.UInt8)
        for index, name in enumerate(self.values, start=1):
            code = pl.when(value == name).then(pl.lit(index, pl.UInt8)).otherwise(code)
        return code.alias("code")


def parse_labels(text: str) -> Labels:
    """`COLUMN=VALUE[,VALUE...]`. Raises ConfigError."""
    column, equals, values = text.partition("=")
    names = tuple(dict.fromkeys(name for name in values.split(",") if name))
    if not (column and equals and names):
        raise ConfigError(
            f"--separate {text!r} is not COLUMN=VALUE[,VALUE...]",
            hint="name a carried column and the values that should stand out: source=spam,ads",
        )
    if len(names) > MOST_LABELS:
        raise ConfigError(f"--separate names {len(names)} values; at most {MOST_LABELS}")
    return Labels(column, names)


def separate_labels(scores: pl.LazyFrame, labels: Labels, grouping: Grouping) -> Separation:
    """Rank labelled documents against the rest; `grouping` is of the labels' column.

    Raises ConfigError where no row has one of the values.
    """
    _check_values(scores, labels, grouping)
    aucs = {metric: _areas(scores, labels, metric) for metric in QUANTILE_METRICS}
    resolution = resolution_of(scores)
    by_group = sketch_query(scores, CUT_METRIC, resolution, grouping.key(), labels.code()).collect(
        engine="streaming"
    )
    counts = dict(by_group.group_by("code").agg(pl.col("documents").sum()).iter_rows())

    def separated(name: str, index: int, num_scored: int) -> SeparatedLabel:
        auc = {metric: areas[index] for metric, areas in aucs.items()}
        return SeparatedLabel(value=name, num_scored=num_scored, auc=auc)

    labelled = [
        separated(name, index, counts.get(index, 0))
        for index, name in enumerate(labels.values, start=1)
    ]
    whole = separated(", ".join(labels.values), 0, sum(label.num_scored for label in labelled))
    return Separation(
        column=labels.column, labels=labelled, together=whole, cut=_best_cut(by_group, resolution)
    )


def _check_values(scores: pl.LazyFrame, labels: Labels, grouping: Grouping) -> None:
    value = pl.col(labels.column).cast(pl.String)
    there = scores.select(value.eq(name).any().alias(name) for name in labels.values)
    for name, found in there.collect(engine="streaming").row(0, named=True).items():
        if not found:
            known = [text for name in grouping.groups if (text := value_of(name)) is not None]
            near = near_name(name, known)
            some = ", ".join(known[:MOST_VALUES_NAMED]) or "nothing"
            raise ConfigError(
                f"no row has {labels.column} = {name!r}",
                hint=f"did you mean {near!r}?" if near else f"it has {some}",
            )


def _areas(scores: pl.LazyFrame, labels: Labels, metric: str) -> list[float | None]:
    """ROC AUC of all labels together, then of each."""
    values = (
        scores.filter(pl.col(metric).is_not_null())
        .select(pl.col(metric), labels.code())
        .collect(engine="streaming")
    )
    rest = np.sort(values.filter(pl.col("code") == 0)[metric].to_numpy())
    labelled = values.filter(pl.col("code") > 0)
    del values
    pairs, doubled_wins = [0], [0]
    for code in range(1, len(labels.values) + 1):
        found = np.sort(labelled.filter(pl.col("code") == code)[metric].to_numpy())
        pairs.append(len(found) * len(rest))
        starts = range(0, len(found), AT_A_TIME)
        wins = [_doubled_wins(found[start : start + AT_A_TIME], rest) for start in starts]
        doubled_wins.append(sum(wins))
    pairs[0], doubled_wins[0] = sum(pairs), sum(doubled_wins)
    return [wins / (2 * n) if n else None for wins, n in zip(doubled_wins, pairs, strict=True)]


def _doubled_wins(found: Floats, rest: Floats) -> int:
    """Twice the number of pairs in which the labelled document is higher, ties counting half."""
    below, not_above = (np.searchsorted(rest, found, side) for side in ("left", "right"))
    return int(below.sum() + not_above.sum())


def _best_cut(by_group: pl.DataFrame, resolution: int) -> Cut | None:
    """The largest Youden J over the ends of all bins; of equal ones the lowest."""
    everything = as_sketch(by_group, resolution)
    sides = [
        as_sketch(by_group.filter(side), resolution)
        for side in (pl.col("code") > 0, pl.col("code") == 0)
    ]
    if not all(side.num_documents for side in sides):
        return None
    labelled_kept, rest_kept = (
        side.below(everything.bins + 1) / side.num_documents for side in sides
    )
    advantage = rest_kept - labelled_kept
    best = int(advantage.argmax())
    if advantage[best] <= 0:
        return None
    is_removed = pl.col("bin") > int(everything.bins[best])
    counted = by_group.group_by(KEY).agg(
        pl.col("documents", "tokens").sum(),
        pl.col("documents", "tokens").filter(is_removed).sum().name.suffix("_removed"),
    )
    removed = [
        Removed(
            value=row[KEY],
            num_scored=row["documents"],
            documents_removed=row["documents_removed"],
            num_tokens=row["tokens"],
            tokens_removed=row["tokens_removed"],
        )
        for row in counted.iter_rows(named=True)
    ]
    return Cut(
        perplexity=float(everything.high[best]),
        youden_j=float(advantage[best]),
        removed=sorted(removed, key=lambda one: (-one.documents_removed, one.value)),
    )
