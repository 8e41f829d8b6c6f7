"""Judging documents of a run: which comes next, and what the judgements say of a rule.

Owns which judgements count. Drawn ones of the bands that the run has now do; those that a person
picked, those drawn when the run had other scores, and those of texts that are no longer there do
not, and are counted separately.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from pipeline.errors import ConfigError
from pipeline.explore.bands import Bands, Queues, make_bands
from pipeline.explore.bins import UNSCORED, Bins, value_of
from pipeline.explore.estimate import (
    KEPT,
    REMOVED,
    Aim,
    Counts,
    Proposal,
    Quality,
    Sample,
    estimate,
    propose,
    why_no_interval,
    why_none,
)
from pipeline.explore.rule import Asked, Decision, columns_read
from pipeline.explore.run import ExploredRun
from pipeline.runs.judgements import Judgement, Judgements, Key
from pipeline.statistics.columns import column_named

Scope = Literal["near", "all"]
MOST_CUTS = 200
LOCATED = ["file", "row", "text_hash"]


@dataclass(frozen=True, slots=True)
class Draw:
    """The next document to judge."""

    key: Key
    band: int
    before: Judgement | None
    """The earlier judgement of a document that a person had chosen, or that was drawn by other
    scores."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the judgements say of a rule."""

    metric: str
    """The metric that the bands divide."""
    num_bands: int
    num_drawn: int
    """Number of judgements that the figures are computed from."""
    num_unsure: int
    """Number of drawn documents judged unsure."""
    num_others: int
    """Number of judged documents that a person chose, or that were drawn by other scores."""
    num_elsewhere: int
    """Number of judgements of texts that the run does not have."""
    quality: Quality
    missing: str | None
    """What is missing for the figures or for their intervals; None if nothing."""


class Judging:
    """One person's judgements of a run."""

    def __init__(self, run: ExploredRun, kept: Judgements, bins_of: Callable[[str], Bins]) -> None:
        """`bins_of` a metric: the distribution of all documents, ungrouped."""
        self.run, self.kept, self._bins_of = run, kept, bins_of
        self._queues: dict[str, Queues] = {}
        self._sizes: dict[tuple[Asked, str], Counts] = {}
        self._undo: list[tuple[Key, Judgement | None]] = []

    def bands(self, metric: str) -> Bands:
        """Those that were drawn from so far; before any draw those of the metric."""
        drawn: dict[str, tuple[int, str]] = {}
        for _, one in self.kept.items():
            if one.bands is not None and one.metric in self.run.metrics:
                drawn[one.bands] = (drawn.get(one.bands, (0, ""))[0] + 1, one.metric)
        for identity, (_, own) in sorted(drawn.items(), key=lambda item: -item[1][0]):
            found = self._queue(own).bands
            if found.identity == identity:
                return found
        return self._queue(metric).bands

    def _queue(self, metric: str) -> Queues:
        if metric not in self._queues:
            bands = make_bands(self.run, metric, self._bins_of(metric))
            self._queues[metric] = Queues(self.run, bands)
        return self._queues[metric]

    def next(self, decision: Decision, scope: Scope) -> Draw | None:
        """The next document of the band that is due; None once all are judged."""
        bands = self.bands(decision.asked.metric)
        drawn = self._drawn(bands)
        num_drawn = [
            sum(one.band == band for one in drawn.values()) for band in range(len(bands.documents))
        ]
        due = [i for i, size in enumerate(bands.documents) if num_drawn[i] < size]
        if scope == "near":
            near = self._near(decision, bands)
            due = [band for band in due if band in near]
        if not due:
            return None
        fewest = min(num_drawn[band] for band in due)
        # In no order that a person could get used to; the same after a restart.
        turns = random.Random(f"{bands.identity} {sum(num_drawn)}")
        band = turns.choice([band for band in due if num_drawn[band] == fewest])
        queue = self._queue(bands.metric).of(band, num_drawn[band] + 1)
        key = next(key for row in queue.iter_rows() if (key := Key(*row)) not in drawn)
        return Draw(key, band, self.kept.get(key))

    def judge(self, key: Key, is_good: bool | None, *, drawn_by: str | None) -> None:
        """Save what a person says. `drawn_by` names the metric whose rule was looked at when the
        document was drawn; None for one that the person picked. Raises ConfigError."""
        before = self.kept.get(key)
        judgement = Judgement(is_good)
        if before is not None and before.bands is not None:
            judgement = before._replace(is_good=is_good, judged_at=None)
        if drawn_by is not None:
            judgement = self._as_drawn(key, drawn_by, judgement)
        self.kept.put(key, judgement)
        self._undo.append((key, before))

    def _as_drawn(self, key: Key, metric: str, judgement: Judgement) -> Judgement:
        """Marked as drawn if it is the next of its band: the page alone is not believed."""
        bands = self.bands(metric)
        drawn = self._drawn(bands)
        if key in drawn:
            return judgement
        band = self._band_of(key, bands)
        if band is None:
            return judgement
        place = sum(one.band == band for one in drawn.values())
        queue = self._queue(bands.metric).of(band, place + 1)
        first = next((own for row in queue.iter_rows() if (own := Key(*row)) not in drawn), None)
        if key != first:
            return judgement
        size = bands.documents[band]
        return Judgement(
            judgement.is_good, bands.identity, bands.metric, band, size, draw=place + 1
        )

    def undo(self) -> Key | None:
        """Take the last judgement of this session back: what was said before is said again."""
        if not self._undo:
            return None
        key, before = self._undo[-1]
        self.kept.put(key, before)
        self._undo.pop()
        return key

    def standing(self, decision: Decision) -> Standing:
        """What the judgements say of a rule."""
        bands = self.bands(decision.asked.metric)
        drawn = self._drawn(bands)
        there = self._rows(decision, bands)
        sample = self._sample(self._documents(decision, bands), there, there["keep"])
        num_there = there.height
        missing = why_none(sample) or why_no_interval(sample)
        counted = int(sample.judged.sum())
        return Standing(
            metric=bands.metric,
            num_bands=len(bands.documents),
            num_drawn=counted,
            num_unsure=sum(one.is_good is None for one in drawn.values()),
            num_others=there.filter(~pl.col("is_drawn")).height,
            num_elsewhere=len(self.kept) - num_there,
            quality=estimate(sample),
            missing=missing,
        )

    def propose(
        self, decision: Decision, side: Literal["low", "high"], aim: Aim, share: float
    ) -> tuple[Proposal | None, Proposal | None]:
        """The cut at one end that serves an aim, the other end open: the likely one, and one whose
        interval serves it too. Raises ConfigError where too little is judged."""
        bands = self.bands(decision.asked.metric)
        if bands.metric != decision.asked.metric:
            raise ConfigError(
                f"the judged documents were drawn by {bands.metric}: choose that metric for a "
                "proposal"
            )
        rows = self._rows(decision, bands)
        cells = self._bins_of(bands.metric).cells.filter(pl.col("bin") != UNSCORED).sort("bin")
        middle = cells["documents"].cum_sum() - cells["documents"]
        every = max(1, int(cells["documents"].sum()) // MOST_CUTS)
        # One bin's end in every so many documents; all documents kept comes first.
        ends = (
            cells.with_columns(step=middle // every)
            .group_by("step")
            .agg(pl.col("low").min(), pl.col("high").max())
        )
        edge = "high" if side == "high" else "low"
        cuts = ends[edge].sort(descending=side == "high").to_list()
        place = np.searchsorted(bands.starts, cells["low"].to_numpy(), side="right") - 1
        sizes = cells["documents"].to_numpy()

        def sample_at(cut: float) -> Sample:
            own = cells[edge].to_numpy()
            keep = own <= cut if side == "high" else own >= cut
            documents = np.zeros((len(bands.documents), 2), np.int64)
            np.add.at(documents, (place, keep.astype(int)), sizes)
            value = rows["value"]
            return self._sample(documents, rows, value <= cut if side == "high" else value >= cut)

        lacking = why_none(sample_at(cuts[0])) if cuts else "no document has a value"
        if lacking:
            raise ConfigError(lacking)
        likely, sure = propose(cuts, sample_at, aim, share)
        return _open(likely, cuts[0]), _open(sure, cuts[0])

    def _drawn(self, bands: Bands) -> dict[Key, Judgement]:
        return {key: one for key, one in self.kept.items() if one.bands == bands.identity}

    def _documents(self, decision: Decision, bands: Bands) -> Counts:
        """How many of each band a rule removes and keeps, exactly: one pass, remembered."""
        asked = (decision.asked, bands.identity)
        if asked not in self._sizes:
            rows = self.run.rows()
            both = pl.concat(
                [rows.select(band=bands.band()), decision.kept(rows)], how="horizontal"
            )
            counted = (
                both.drop_nulls("band").group_by("band", "keep").len().collect(engine="streaming")
            )
            found = np.zeros((len(bands.documents), 2), np.int64)
            found[counted["band"], counted["keep"].cast(int)] = counted["len"]
            if len(self._sizes) >= 32:
                del self._sizes[next(iter(self._sizes))]
            self._sizes[asked] = found
        return self._sizes[asked]

    def _near(self, decision: Decision, bands: Bands) -> set[int]:
        """Bands that the rule goes through; where it goes between two, both."""
        documents = self._documents(decision, bands)
        split = {int(band) for band in np.flatnonzero(documents.min(axis=1))}
        removed = documents[:, REMOVED] > 0
        for band in np.flatnonzero(removed[1:] != removed[:-1]):
            if not split & {int(band), int(band) + 1}:
                split |= {int(band), int(band) + 1}
        return split or set(range(len(bands.documents)))

    def _rows(self, decision: Decision, bands: Bands) -> pl.DataFrame:
        """[band, is_good, is_drawn, value, keep] of the judged documents that the run has."""
        said = [(*key, one.is_good, one.bands == bands.identity) for key, one in self.kept.items()]
        names = {"file": pl.String, "row": pl.Int64, "text_hash": pl.Int64}
        judged = pl.DataFrame(
            said, schema={**names, "is_good": pl.Boolean, "is_drawn": pl.Boolean}, orient="row"
        )
        wanted = [*columns_read(self.run, decision.asked), bands.metric, "is_good", "is_drawn"]
        read = map(column_named, dict.fromkeys(wanted))
        near = self.run.at(judged, LOCATED).select(read).collect(engine="streaming")
        kept = decision.kept(near.lazy()).collect()["keep"]
        shown = near.select("is_good", "is_drawn", band=bands.band(), value=value_of(bands.metric))
        return shown.with_columns(kept)

    @staticmethod
    def _sample(documents: Counts, rows: pl.DataFrame, keep: pl.Series) -> Sample:
        judged, good = np.zeros_like(documents), np.zeros_like(documents)
        own = rows.select("band", "is_good", "is_drawn", keep=keep)
        for band, is_good, _, is_kept in own.filter("is_drawn").drop_nulls().iter_rows():
            judged[band, KEPT if is_kept else REMOVED] += 1
            good[band, KEPT if is_kept else REMOVED] += is_good
        return Sample(documents, judged, good)

    def _band_of(self, key: Key, bands: Bands) -> int | None:
        rows = self.run.rows().filter(
            pl.col("file") == key.file,
            pl.col("row") == key.row,
            pl.col("text_hash") == key.text_hash,
        )
        found = rows.select(band=bands.band()).collect(engine="streaming")["band"].to_list()
        return found[0] if found else None


def _open(proposal: Proposal | None, loosest: float) -> Proposal | None:
    """Without a cut where everything is kept."""
    if proposal is None or proposal.cut != loosest:
        return proposal
    return Proposal(None, proposal.quality)
