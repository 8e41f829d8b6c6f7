"""How well scores tell labelled documents from the rest.

Owns the area under the ROC curve and the cut that labels suggest. For somebody who has labels for
a part of a corpus and asks whether perplexity sees what the labels say.

ROC AUC is the probability that a labelled document scores higher than one of the rest, ties
counting half: the Mann-Whitney U statistic over the number of pairs (Hanley and McNeil 1982). It
is exact, and takes some 30 bytes a labelled document.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.errors import ConfigError
from pipeline.reports.figures import QUANTILE_METRICS, batches_of
from pipeline.reports.groups import Grouping, value_of
from pipeline.settings.names import near_name
from pipeline.statistics.columns import column_named
from pipeline.statistics.sketches import (
    Floats,
    Sketch,
    SketchTally,
    bin_values,
    merge_sketches,
    resolution_of,
)

CUT_METRIC = "perplexity"
READ = (*QUANTILE_METRICS, "num_tokens", "num_bytes")
MOST_LABELS = 100
MOST_VALUES_NAMED = 10
MOST_WAITING = 1 << 24
"""Values of a metric that wait to be ranked: 128 MiB."""


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
        value = column_named(self.column).cast(pl.String)
        position = value.cast(pl.Enum(self.values), strict=False).to_physical()
        return (position + 1).fill_null(0).alias("code")


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
    ranked = _ranked(scores, labels, grouping)
    num_codes = len(labels.values) + 1
    resolution = resolution_of(scores)
    tally = SketchTally(resolution)
    duels = {metric: _PairCounts(found) for metric, found in ranked.items()}
    code = grouping.tallied().code * num_codes + labels.code()
    # The rest goes by: of a corpus that is mostly not labelled, little is held.
    for (codes,), rows in batches_of(scores, [code], READ):
        binned = bin_values(rows[CUT_METRIC], resolution)
        tally.add(codes, binned, rows["num_tokens"], rows["num_bytes"])
        is_rest = codes % num_codes == 0
        for metric, own in duels.items():
            own.add(rows[metric][is_rest & ~np.isnan(rows[metric])])
    aucs = {metric: own.areas() for metric, own in duels.items()}
    by_group = {
        (grouping.groups[code // num_codes], code % num_codes): sketch
        for code, sketch in tally.sketches().items()
    }
    counts = [
        sum(sketch.num_documents for (_, code), sketch in by_group.items() if code == index)
        for index in range(len(labels.values) + 1)
    ]

    def separated(name: str, index: int, num_scored: int) -> SeparatedLabel:
        auc = {metric: areas[index] for metric, areas in aucs.items()}
        return SeparatedLabel(value=name, num_scored=num_scored, auc=auc)

    labelled = [
        separated(name, index, counts[index]) for index, name in enumerate(labels.values, start=1)
    ]
    whole = separated(", ".join(labels.values), 0, sum(counts[1:]))
    return Separation(
        column=labels.column, labels=labelled, together=whole, cut=_best_cut(by_group)
    )


def _ranked(scores: pl.LazyFrame, labels: Labels, grouping: Grouping) -> dict[str, list[Floats]]:
    """Metric to the values of each label's documents, ascending."""
    labelled = (
        scores.select(*QUANTILE_METRICS, labels.code())
        .filter(pl.col("code") > 0)
        .collect(engine="streaming")
    )
    by_code = [labelled.filter(pl.col("code") == i + 1) for i in range(len(labels.values))]
    for name, own in zip(labels.values, by_code, strict=True):
        if not own.height:
            known = [text for name in grouping.groups if (text := value_of(name)) is not None]
            near = near_name(name, known)
            some = ", ".join(known[:MOST_VALUES_NAMED]) or "nothing"
            raise ConfigError(
                f"no row has {labels.column} = {name!r}",
                hint=f"did you mean {near!r}?" if near else f"it has {some}",
            )
    return {
        metric: [np.sort(own[metric].drop_nulls().to_numpy()) for own in by_code]
        for metric in QUANTILE_METRICS
    }


class _PairCounts:
    """Each label's documents against all others, which come batch by batch."""

    def __init__(self, ranked: list[Floats]) -> None:
        """`ranked` are the values of each label's documents, ascending."""
        self._ranked = ranked
        self._doubled_wins = [0] * len(ranked)
        self._num_rest = 0
        self._waiting: list[Floats] = []
        self._num_waiting = 0

    def add(self, rest: Floats) -> None:
        """Values of documents without a label."""
        self._waiting.append(rest)
        self._num_waiting += len(rest)
        if self._num_waiting >= MOST_WAITING:
            self._fight()

    def areas(self) -> list[float | None]:
        """ROC AUC of all labels together, then of each."""
        self._fight()
        pairs = [len(found) * self._num_rest for found in self._ranked]
        wins = self._doubled_wins
        return [
            won / (2 * n) if n else None
            for won, n in zip([sum(wins), *wins], [sum(pairs), *pairs], strict=True)
        ]

    def _fight(self) -> None:
        # By Polars, on all cores; many at a time, since labelled documents are looked up in them.
        rest = pl.Series(np.concatenate([np.empty(0), *self._waiting])).sort().to_numpy()
        self._num_rest += len(rest)
        self._waiting, self._num_waiting = [], 0
        for index, found in enumerate(self._ranked):
            self._doubled_wins[index] += _doubled_wins(found, rest)


def _doubled_wins(found: Floats, rest: Floats) -> int:
    """Twice the number of pairs in which the labelled document is higher, ties counting half.

    Both are ascending.
    """
    few, many = (found, rest) if len(found) < len(rest) else (rest, found)
    below, not_above = (int(np.searchsorted(many, few, side).sum()) for side in ("left", "right"))
    doubled = below + not_above
    return doubled if few is found else 2 * len(found) * len(rest) - doubled


def _best_cut(by_group: dict[tuple[str, int], Sketch]) -> Cut | None:
    """The largest Youden J over the ends of all bins; of equal ones the lowest."""
    labelled = [sketch for (_, code), sketch in by_group.items() if code]
    rest = [sketch for (_, code), sketch in by_group.items() if not code]
    if not labelled or not rest:
        return None
    everything = merge_sketches(labelled + rest)
    labelled_kept, rest_kept = (
        side.below(everything.bins + 1) / side.num_documents
        for side in map(merge_sketches, (labelled, rest))
    )
    advantage = rest_kept - labelled_kept
    best = int(advantage.argmax())
    if advantage[best] <= 0:
        return None
    removed = []
    for name in {name for name, _ in by_group}:
        whole = merge_sketches([one for (group, _), one in by_group.items() if group == name])
        above = whole.take(whole.bins > everything.bins[best])
        removed.append(
            Removed(
                value=name,
                num_scored=whole.num_documents,
                documents_removed=above.num_documents,
                num_tokens=int(whole.tokens.sum()),
                tokens_removed=int(above.tokens.sum()),
            )
        )
    return Cut(
        perplexity=float(everything.high[best]),
        youden_j=float(advantage[best]),
        removed=sorted(removed, key=lambda one: (-one.documents_removed, one.value)),
    )
