"""How well scores separate labelled documents from the rest.

Owns the request and reading the two sides. For users who have labels for part of a corpus and ask
whether perplexity reflects them. Areas are areas.py's, the cut is best_cut.py's.

ROC AUC is the probability that a labelled document scores higher than one of the rest, ties
counting half: the Mann-Whitney U statistic over the number of pairs (Hanley and McNeil 1982). It
is exact, and takes some 30 bytes per labelled document and metric. One below 0.5 separates as
well as one above: labelled documents score lower then.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import BaseModel

from pipeline.errors import ConfigError, named
from pipeline.reports.areas import PairCounts, RankedMetric, best_of, rank_metrics, verdict_of
from pipeline.reports.best_cut import Cut, best_cut
from pipeline.reports.figures import QUANTILE_METRICS
from pipeline.reports.groups import Grouping, value_of
from pipeline.reports.tally import batches_of
from pipeline.schema import RATIOS
from pipeline.settings.names import listed, near_name
from pipeline.statistics.columns import column_named
from pipeline.statistics.sketches import (
    Floats,
    SketchTally,
    bin_values,
    resolution_of,
)

SIZES = ("num_tokens", "num_bytes")
FIRST = QUANTILE_METRICS[0]
MOST_LABELS = 100
MOST_VALUES_NAMED = 10


class SeparatedLabel(BaseModel):
    """The documents with one label, against all documents with none of the labels."""

    value: str
    num_scored: int
    auc: dict[str, float | None]
    """ROC AUC by metric: above 0.5, labelled documents score higher than the rest. Null unless
    there are scored documents with and without a label."""


class JudgedDraws(BaseModel):
    """What judgements the figures rest on, and what those stand for."""

    num_good: int
    num_bad: int
    """Drawn at random and judged so: these count, each for its share of its band."""
    metric: str
    """Of the bands that were drawn from."""
    num_bands: int
    """With judged draws."""
    num_documents: int
    """In these bands."""
    num_unsure: int
    """Drawn, and the person could not say."""
    num_others: int
    """Picked by a person, or drawn from other bands."""
    num_elsewhere: int
    """Of texts that the run does not have."""


class Separation(BaseModel):
    """How well metrics separate labelled documents from the rest."""

    column: str
    labels: list[SeparatedLabel]
    together: SeparatedLabel
    ranking: list[RankedMetric] = []
    """Metrics, the best separating one first. Empty unless there are scored documents with and
    without a label."""
    verdict: str = ""
    """A sentence that says whether any metric separates the documents."""
    cut: Cut | None
    """The best cut. Null unless there are scored documents with and without a label, and if no
    bound removes a larger share of the labelled than of the rest."""
    judged: JudgedDraws | None = None
    """Of judgements; the label is then `bad`, the rest what is judged good, and the numbers of the
    cut are estimates."""


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
            f"{named('separate')} {text!r} is not COLUMN=VALUE[,VALUE...]",
            hint="name a carried column and the values to tell from the rest: source=spam,ads",
        )
    if len(names) > MOST_LABELS:
        raise ConfigError(f"{named('separate')} names {len(names)} values; at most {MOST_LABELS}")
    return Labels(column, names)


def separate_labels(
    scores: pl.LazyFrame, labels: Labels, grouping: Grouping, run: str = "RUN"
) -> Separation:
    """Rank labelled documents against the rest; `grouping` is of the labels' column.

    Raises ConfigError where no row has one of the values. `run` is named in the command.
    """
    ranked = _ranked(scores, labels, grouping)
    num_codes = len(labels.values) + 1
    resolution = resolution_of(scores)
    tallies = {metric: SketchTally(resolution) for metric in QUANTILE_METRICS}
    duels = {metric: PairCounts(found) for metric, found in ranked.items()}
    code = grouping.tallied().code * num_codes + labels.code()
    # The rest goes by: of a corpus that is mostly not labelled, little is held.
    for (codes,), rows in batches_of(scores, [code], (*ranked, *SIZES)):
        for metric, tally in tallies.items():
            binned = bin_values(rows[metric], resolution)
            tally.add(codes, binned, rows["num_tokens"], rows["num_bytes"])
        is_rest = codes % num_codes == 0
        for metric, own in duels.items():
            own.add(rows[metric][is_rest & ~np.isnan(rows[metric])])
    aucs = {metric: own.areas() for metric, own in duels.items()}
    by_metric = {
        metric: {
            (grouping.groups[code // num_codes], code % num_codes): sketch
            for code, sketch in tally.sketches().items()
        }
        for metric, tally in tallies.items()
    }
    counts = [
        sum(sketch.num_documents for (_, code), sketch in by_metric[FIRST].items() if code == index)
        for index in range(len(labels.values) + 1)
    ]
    whole_areas = {metric: areas[0] for metric, areas in aucs.items()}
    ranking = rank_metrics(whole_areas, lambda metric: duels[metric].by_chance())
    chosen = best_of(ranking)
    cut = best_cut(by_metric[chosen.metric], chosen, run) if chosen else None

    def separated(name: str, index: int, num_scored: int) -> SeparatedLabel:
        auc = {metric: areas[index] for metric, areas in aucs.items()}
        return SeparatedLabel(value=name, num_scored=num_scored, auc=auc)

    labelled = [
        separated(name, index, counts[index]) for index, name in enumerate(labels.values, start=1)
    ]
    whole = separated(", ".join(labels.values), 0, sum(counts[1:]))
    return Separation(
        column=labels.column,
        labels=labelled,
        together=whole,
        ranking=ranking,
        verdict=verdict_of(chosen),
        cut=cut,
    )


def _ranked(scores: pl.LazyFrame, labels: Labels, grouping: Grouping) -> dict[str, list[Floats]]:
    """Metric to the values of each label's documents, ascending."""
    there = scores.collect_schema()
    metrics = [metric for metric in RATIOS if metric in there]
    labelled = (
        scores.select(*metrics, labels.code())
        .filter(pl.col("code") > 0)
        .collect(engine="streaming")
    )
    by_code = [labelled.filter(pl.col("code") == i + 1) for i in range(len(labels.values))]
    for name, own in zip(labels.values, by_code, strict=True):
        if not own.height:
            known = [text for name in grouping.groups if (text := value_of(name)) is not None]
            near = near_name(name, known)
            some = listed(known, none="nothing", most=MOST_VALUES_NAMED)
            raise ConfigError(
                f"no row has {labels.column} = {name!r}",
                hint=f"did you mean {near!r}?" if near else f"it has {some}",
            )
    return {
        metric: [np.sort(own[metric].drop_nulls().to_numpy()) for own in by_code]
        for metric in metrics
    }
