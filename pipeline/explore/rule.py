"""What a person asks of a page, as the rules of `winnow filter`, and what those keep.

Owns that translation, in both directions: what is counted is decided by filters/, and the settings
that are taken away decide the same. Which document is kept is nowhere else asked here.
"""

import json
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import polars as pl

from pipeline.errors import ConfigError, named
from pipeline.explore.bins import UNSCORED, Bins, value_of
from pipeline.explore.condensed import Narrowed, condense, values_of
from pipeline.explore.run import PLACE, ExploredRun
from pipeline.filters.config import FilterConfig, load_filter_config
from pipeline.filters.record import Cutoffs, CutoffTable
from pipeline.filters.rule import group_names
from pipeline.filters.rules.bounds import Bounds
from pipeline.filters.rules.cutoffs import GivenCutoffs
from pipeline.filters.rules.percentile import Percentile
from pipeline.filters.rules.where import Where
from pipeline.filters.selection import Selection
from pipeline.reports.conditions import condition
from pipeline.reports.expressions import parse
from pipeline.reports.groups import OTHERS, label_expr
from pipeline.schema import SCORED
from pipeline.statistics.columns import column_named

Unit = Literal["value", "percentile", "within", "each"]
"""Whether the two ends of a band are values, percentiles, percentiles within each group, or values
for each group."""
Side = Literal["low", "high"]
Band = tuple[float | None, float | None]
"""None where it is open."""
OPEN = {"low": float("-inf"), "high": float("inf")}
NEEDED = (*PLACE, "status", "num_tokens", "num_skipped_tokens", "num_bytes", "text_hash")
"""What a page shows of a document, and what every rule reads."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A band of one metric, or one for each group."""

    metric: str
    by: str | None
    """The column to group documents by."""
    unit: Unit
    low: float | None
    high: float | None
    where: str | None = None
    """A condition on rows; rows for which it is not true are dropped, too."""
    each: tuple[tuple[str, Band], ...] = ()
    """Of the unit `each`: every one of the bins' groups, with its band."""

    def ends(self, side: Side) -> list[float]:
        """The ends on this side, of all bands that are not open there."""
        at = ("low", "high").index(side)
        bands = [band for _, band in self.each] if self.unit == "each" else [(self.low, self.high)]
        return [end for band in bands if (end := band[at]) is not None]

    @property
    def has_rule(self) -> bool:
        """Whether anything is cut off."""
        return self.is_band or self.where is not None

    @property
    def is_band(self) -> bool:
        """Whether it has an end."""
        return bool(self.ends("low") or self.ends("high"))

    @property
    def file(self) -> str | None:
        """What the file of cut-offs is called, if the rule needs one: another rule's is another."""
        if self.unit != "each" or not self.is_band:
            return None
        content = json.dumps([self.metric, self.by, self.each])
        return f"cutoffs-{blake2b(content.encode(), digest_size=4).hexdigest()}.json"

    def settings(self) -> dict[str, Any]:
        """The rule as settings of a filter; nothing without one."""
        found: dict[str, Any] = {} if self.where is None else {"where": self.where}
        if not self.is_band:
            return found
        if self.unit == "value":
            ends = {"min": self.low, "max": self.high}
            bounds = {name: {self.metric: end} for name, end in ends.items() if end is not None}
            return found | bounds
        found["metric"] = self.metric
        if self.unit == "each":
            return found | {"within": self.by, "cutoffs": self.file}
        low = 0.0 if self.low is None else self.low
        high = 100.0 if self.high is None else self.high
        found["percentile"] = (low, high)
        return found | ({"within": self.by} if self.unit == "within" else {})


@dataclass(frozen=True, slots=True)
class Decision:
    """A rule, with its cut-offs found."""

    asked: Asked
    selection: Selection
    counted: pl.DataFrame | None = None
    """What it keeps of each of the bins' groups [group, SIZES], where it is known already."""

    def kept(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """[keep] of score rows, in their order."""
        return self.selection.decide(rows).select("keep")

    def edge(self, side: Side, group: str | None = None) -> pl.Expr | None:
        """The value at an end of the band, for each row that of its group; None if it is open, of
        the rows of `group` alone if one is named."""
        asked = self.asked
        if group is not None and asked.unit == "each":
            asked = replace(asked, each=tuple(one for one in asked.each if one[0] == group))
        given = asked.ends(side)
        if not given:
            return None
        if asked.unit == "value":
            return pl.lit(given[0])
        [found] = (
            one.cutoffs
            for one in self.selection.rules
            if isinstance(one, Percentile | GivenCutoffs)
        )
        assert found is not None
        ends = found[side].fill_null(OPEN[side])
        if asked.unit == "percentile":
            return pl.lit(ends[0] if found.height else None, pl.Float64)
        assert asked.by is not None
        return column_named(asked.by).replace_strict(found["group"], ends, default=None)

    @property
    def table(self) -> CutoffTable | None:
        """The cut-offs of each group, where they are the group's own."""
        return next(
            (one.table for one in self.selection.rules if isinstance(one, GivenCutoffs)), None
        )


def decide(
    run: ExploredRun, asked: Asked, bins: Bins | None = None, narrowed: Bins | None = None
) -> Decision:
    """Find the cut-offs, and count what they keep. With the bins, by the metric and the column of
    groups, of all documents and of those for which the condition holds, if there is one, in the
    documents near the ends alone if possible; without, of percentiles two passes over the scores.
    Raises ConfigError."""
    if not asked.has_rule:
        # Before anything is cut off a document needs a value to be kept.
        selection = Selection((Bounds(asked.metric),))
    elif asked.file is None:
        selection = Selection.of(_config(run, asked))
    else:
        beside = replace(asked, each=())
        rules = Selection.of(_config(run, beside)).rules if beside.has_rule else ()
        selection = Selection((*rules, GivenCutoffs(_table(run, asked, bins))))
    run.prepared.check(selection.rules)
    band = next((rule for rule in selection.rules if not isinstance(rule, Where)), None)
    if bins is not None and band is not None:
        narrowing = Narrowing.of(run, asked.where)
        few = Narrowed(narrowed, narrowing.holds) if narrowing and narrowed else None
        found = condense(run, band, asked.metric, asked.by, bins, few)
        if found is not None:
            rules = tuple(found.rule if one is band else one for one in selection.rules)
            kept = None if narrowing and not few else found.kept
            return Decision(asked, replace(selection, rules=rules), kept)
    return Decision(asked, run.prepared.find(selection))


def _table(run: ExploredRun, asked: Asked, bins: Bins | None) -> CutoffTable:
    """Every group of the run, with its band: those that the bins do not tell apart share one."""
    assert asked.by is not None
    values = None if bins is None else values_of(run, asked.by, bins)
    if bins is None or values is None:
        has_value = value_of(asked.metric).is_not_null()
        rows = run.rows().filter(pl.col("status").is_in(SCORED), has_value)
        found = rows.select(group=column_named(asked.by)).unique().collect(engine="streaming")
    else:
        there = bins.cells.filter(pl.col("bin") != UNSCORED)["group"].unique()
        found = pl.DataFrame({"group": values.gather(there)})
    labels = found.sort("group").select("group", label=label_expr("group"))
    bands = dict(asked.each)
    cutoffs = {}
    for name, label in zip(group_names(labels["group"]), labels["label"], strict=True):
        low, high = bands[label] if label in bands else bands[OTHERS]
        cutoffs[name] = Cutoffs(group=name, low=low, high=high)
    within = {"within": asked.by}
    return CutoffTable(
        metric=asked.metric,
        rules=within,
        fingerprint=run.manifest.fingerprint,
        cutoffs=tuple(cutoffs.values()),
    )


def _config(run: ExploredRun, asked: Asked) -> FilterConfig:
    own = {"run": run.store.location, "partial": not run.parts.is_complete}
    return load_filter_config(None, own | _second_run(run, asked) | asked.settings())


def _second_run(run: ExploredRun, asked: Asked) -> dict[str, Any]:
    """The settings that name it, if the rule looks at what it makes; a filter takes one."""
    if run.other is None or not run.prepared.own_metrics:
        return {}
    read = [
        *([asked.metric] if asked.is_band else []),
        *(Where(asked.where).names if asked.where else ()),
    ]
    given = {"minus": "difference", "over": "ratio"}
    return {name: run.other.store.location for name, made in given.items() if made in read}


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A condition on rows, ready to be asked."""

    columns: list[str]
    holds: pl.Expr

    @classmethod
    def of(cls, run: ExploredRun, where: str | None) -> "Narrowing | None":
        """What `where` asks for. Raises ConfigError, pointing at what cannot be read."""
        if where is None:
            return None
        rule = Where(where)
        run.prepared.check((rule,))
        kinds = run.rows().collect_schema()
        return cls(rule.names, condition(parse(where), where, kinds, column_named))


def columns_read(run: ExploredRun, asked: Asked) -> list[str]:
    """What a rule reads of a document, and its group."""
    narrowing = Narrowing.of(run, asked.where)
    names = [asked.metric, asked.by, *(narrowing.columns if narrowing is not None else ())]
    return list(dict.fromkeys([*NEEDED, *(name for name in names if name is not None)]))


def exported(run: ExploredRun, asked: Asked) -> dict[str, Any]:
    """All settings of the filter that keeps just what was counted. Raises ConfigError."""
    if not asked.has_rule:
        raise ConfigError(
            f"the rule keeps every document: neither {named('min')} nor {named('max')} is set"
        )
    config = _config(run, asked)  # refuses what filter would
    settings: dict[str, Any] = {"run": config.run, "out": None}
    if run.corpus_moved_to is not None:
        settings["corpus"] = run.corpus_moved_to
    if config.partial:
        settings["partial"] = True
    return settings | _second_run(run, asked) | asked.settings()
