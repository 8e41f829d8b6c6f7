"""How well scores separate documents that a person judged bad from those judged good.

Owns what a judged document stands for. Judged draws are a simple random sample of each band of
documents that they were drawn from, so each counts for its share of its band (band_documents over
the judged ones of the band), whatever the band was drawn more often for; it holds for any run over
the same texts, since the bands stay those that were drawn from. What a person picked, nobody could
say, or was drawn from other bands does not count.

The areas are those of pairs weighted by the product of both weights, ties counting half. What may
be chance is taken from Kish's (1965) effective numbers, (sum of weights)^2 / sum of squares.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.errors import ConfigError, named
from pipeline.reports.areas import RankedMetric, best_of, chance_of, rank_metrics, verdict_of
from pipeline.reports.best_cut import Cut, Removed, cut_between
from pipeline.reports.separation import JudgedDraws, SeparatedLabel, Separation
from pipeline.runs.judgements import Judgements, Key
from pipeline.runs.store import RunStore
from pipeline.schema import RATIOS
from pipeline.statistics.sketches import Floats

JUDGEMENT = "judgement"
"""What is separated by, in place of a column and its values."""
KEYS = {"file": pl.String(), "row": pl.Int64(), "text_hash": pl.Int64()}
DRAWN = KEYS | {"is_good": pl.Boolean(), "band": pl.Int64(), "documents": pl.Int64()}


@dataclass(frozen=True, slots=True)
class Side:
    """Judged documents that have a metric, by its value."""

    values: Floats
    """Ascending."""
    weights: Floats
    """Documents that each stands for."""
    tokens: Floats
    """Tokens of those."""

    @classmethod
    def of(cls, rows: pl.DataFrame, metric: str) -> "Side":
        """Of [metric, num_tokens, weight]."""
        own = rows.drop_nulls(metric).sort(metric)
        weights = own["weight"].to_numpy()
        return cls(own[metric].to_numpy(), weights, weights * own["num_tokens"].to_numpy())

    @property
    def effective(self) -> float:
        """So many documents of equal weight would tell as much (Kish)."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    def below(self, values: Floats, *, inclusive: bool = False) -> Floats:
        """The share of the documents below each value, or at it."""
        sums: Floats = np.concatenate([[0.0], self.weights.cumsum()]) / self.weights.sum()
        return sums[np.searchsorted(self.values, values, "right" if inclusive else "left")]


def area_between(bad: Side, good: Side) -> float | None:
    """The chance that a bad document has a higher value than a good one, ties counting half."""
    if not (len(bad.values) and len(good.values)):
        return None
    middle = (good.below(bad.values) + good.below(bad.values, inclusive=True)) / 2
    return float((bad.weights * middle).sum() / bad.weights.sum())


def is_judged(separate: str | None, location: str | None) -> bool:
    """Whether judgements are asked for. Raises ConfigError where they are named in vain."""
    if location is not None and separate != JUDGEMENT:
        raise ConfigError(
            f"{named('judgements')} is given, but {named('separate')} is not '{JUDGEMENT}'",
            hint=f"add {named('separate')} {JUDGEMENT}, or leave out {named('judgements')}",
        )
    return separate == JUDGEMENT


def separate_judged(scores: pl.LazyFrame, store: RunStore, location: str | None) -> Separation:
    """Rank what was judged bad against what was judged good. `location` is of the file of
    judgements; without one it is the run's own.

    Raises ConfigError where no draws of the run's texts are judged either way.
    """
    kept = Judgements(store.root) if location is None else Judgements.at(location)
    if not len(kept) and not kept.is_there:
        raise ConfigError(
            f"there is no file {kept.location}",
            hint="judge documents drawn at random on the page of winnow explore, which makes it; "
            f"or give the file that has judgements with {named('judgements')}",
        )
    rows, judged = _drawn(scores, kept)
    for name, number in (("good", judged.num_good), ("bad", judged.num_bad)):
        if not number:
            raise ConfigError(
                f"{kept.location} has no document that was drawn at random and judged {name}",
                hint="judge documents drawn at random on the page of winnow explore, or give "
                f"another file with {named('judgements')}",
            )
    pairs = {
        metric: tuple(Side.of(rows.filter(is_good=is_good), metric) for is_good in (False, True))
        for metric in RATIOS
        if metric in rows.columns
    }
    areas = {metric: area_between(bad, good) for metric, (bad, good) in pairs.items()}
    ranking = rank_metrics(
        areas, lambda metric: chance_of(*(side.effective for side in pairs[metric]))
    )
    label = SeparatedLabel(value="bad", num_scored=judged.num_bad, auc=areas)
    cut = None
    chosen = best_of(ranking)
    if chosen is not None:
        bad, good = pairs[chosen.metric]
        cut = _cut(bad, good, chosen, store.location)
    return Separation(
        column=JUDGEMENT,
        labels=[label],
        together=label,
        ranking=ranking,
        verdict=verdict_of(chosen),
        cut=cut,
        judged=judged,
    )


def _drawn(scores: pl.LazyFrame, kept: Judgements) -> tuple[pl.DataFrame, JudgedDraws]:
    """The judged draws that the run has, with the weight of each, and what else there is."""
    drawn = Counter(one.bands for _, one in kept.items() if one.bands is not None)
    bands = drawn.most_common(1)[0][0] if drawn else ""
    own = {key: one for key, one in kept.items() if one.bands == bands}
    told = [(*key, one.is_good, one.band, one.band_documents) for key, one in kept.items()]
    said = pl.DataFrame(told, schema=DRAWN, orient="row").lazy()
    there = scores.collect_schema()
    near = (
        scores.filter(pl.col("file").is_in([key.file for key, _ in kept.items()]))
        .select(*KEYS, "num_tokens", *(metric for metric in RATIOS if metric in there))
        .join(said, on=list(KEYS), how="inner")
        .collect(engine="streaming")
    )
    is_own = [Key(*key) in own for key in near.select(*KEYS).iter_rows()]
    rows = near.filter(pl.Series(is_own, dtype=pl.Boolean)).drop_nulls("is_good")
    # Each band's documents, divided among those of it that count.
    rows = rows.with_columns(weight=pl.col("documents") / pl.len().over("band"))
    sizes = dict(rows.select("band", "documents").iter_rows())
    num_good = int(rows["is_good"].sum())
    return rows, JudgedDraws(
        num_good=num_good,
        num_bad=rows.height - num_good,
        metric=next(iter(own.values())).metric or "" if own else "",
        num_bands=len(sizes),
        num_documents=sum(sizes.values()),
        num_unsure=sum(one.is_good is None for one in own.values()),
        num_others=len(kept) - len(own),
        num_elsewhere=len(kept) - near.height,
    )


def _cut(bad: Side, good: Side, chosen: RankedMetric, run: str) -> Cut | None:
    values = np.unique(np.concatenate([bad.values, good.values]))
    below = np.append(bad.below(values), 1.0), np.append(good.below(values), 1.0)

    def removed(first: int, end: int) -> list[Removed]:
        kept = values[first], values[end - 1]
        return [_removed("bad", bad, *kept), _removed("good", good, *kept)]

    noise = sum(1 / (4 * side.effective) for side in (bad, good))
    return cut_between((values, values), below, noise, removed, chosen, run)


def _removed(name: str, side: Side, low: float, high: float) -> Removed:
    """About, of all documents that the judged ones stand for."""
    gone = (side.values < low) | (side.values > high)
    return Removed(
        value=name,
        num_scored=round(side.weights.sum()),
        documents_removed=round(side.weights[gone].sum()),
        num_tokens=round(side.tokens.sum()),
        tokens_removed=round(side.tokens[gone].sum()),
    )
