"""What a person asks of a page, as the rules of `winnow filter`, and what those keep.

Owns that translation, in both directions: what is counted is decided by filters/, and the settings
that are taken away decide the same. Which document is kept is nowhere else asked here.
"""

from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from pipeline.errors import ConfigError, named
from pipeline.explore.run import ExploredRun
from pipeline.filters.config import FilterConfig, load_filter_config
from pipeline.filters.counts import Counts
from pipeline.filters.record import Sizes
from pipeline.filters.rules.bounds import Bounds
from pipeline.filters.rules.percentile import Percentile
from pipeline.filters.rules.where import Where
from pipeline.filters.selection import Selection
from pipeline.reports.conditions import condition
from pipeline.reports.expressions import parse
from pipeline.reports.groups import OTHERS, label_of
from pipeline.statistics.columns import column_named

Unit = Literal["value", "percentile", "within"]
"""Whether the two ends of a band are values, percentiles, or percentiles within each group."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A band of one metric."""

    metric: str
    by: str | None
    """The column to group documents by."""
    unit: Unit
    low: float | None
    high: float | None
    where: str | None = None
    """A condition on rows; rows for which it is not true are dropped, too."""

    @property
    def has_rule(self) -> bool:
        """Whether anything is cut off."""
        return self.is_band or self.where is not None

    @property
    def is_band(self) -> bool:
        """Whether it has an end."""
        return self.low is not None or self.high is not None

    def settings(self) -> dict[str, Any]:
        """The rule as settings of a filter; nothing without one."""
        found: dict[str, Any] = {} if self.where is None else {"where": self.where}
        if not self.is_band:
            return found
        if self.unit == "value":
            ends = {"min": self.low, "max": self.high}
            bounds = {name: {self.metric: end} for name, end in ends.items() if end is not None}
            return found | bounds
        low = 0.0 if self.low is None else self.low
        high = 100.0 if self.high is None else self.high
        found |= {"metric": self.metric, "percentile": (low, high)}
        return found | ({"within": self.by} if self.unit == "within" else {})


@dataclass(frozen=True, slots=True)
class Decision:
    """A rule, with its cut-offs found."""

    asked: Asked
    selection: Selection

    def kept(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """[keep] of score rows, in their order."""
        return self.selection.decide(rows).select("keep")

    def edge(self, side: Literal["low", "high"]) -> pl.Expr | None:
        """The value at an end of the band, for each row that of its group; None if it is open."""
        given = self.asked.low if side == "low" else self.asked.high
        if given is None:
            return None
        if self.asked.unit == "value":
            return pl.lit(given)
        [found] = (one.cutoffs for one in self.selection.rules if isinstance(one, Percentile))
        assert found is not None
        if self.asked.unit == "percentile":
            return pl.lit(found[side][0] if found.height else None, pl.Float64)
        assert self.asked.by is not None
        group = column_named(self.asked.by)
        return group.replace_strict(found["group"], found[side], default=None)


def decide(run: ExploredRun, asked: Asked) -> Decision:
    """Find the cut-offs: of percentiles two passes over the scores. Raises ConfigError."""
    # Before anything is cut off a document needs a value to be kept.
    open_band = Selection((Bounds(asked.metric),))
    selection = Selection.of(_config(run, asked)) if asked.has_rule else open_band
    return Decision(asked, run.prepared.find(selection))


def _config(run: ExploredRun, asked: Asked) -> FilterConfig:
    own = {"run": run.store.location, "partial": not run.parts.is_complete}
    return load_filter_config(None, own | asked.settings())


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


@dataclass(frozen=True, slots=True)
class Mix:
    """Exactly what there is, and what is kept."""

    before: Sizes
    after: Sizes
    groups: dict[str, tuple[Sizes, Sizes]]
    """Sizes before and after the rule, by group name."""
    unscored: dict[str, int]
    """Documents that no rule could decide, by reason; they are dropped."""


def count_kept(run: ExploredRun, decision: Decision, groups: tuple[str, ...]) -> Mix:
    """What a rule keeps, exactly, in one pass. `groups` are those of the bins."""
    by = decision.asked.by
    counts = run.prepared.count(decision.selection, by=by)
    return Mix(counts.before, counts.after, _by_name(counts, groups, by), counts.unscored)


def _by_name(
    counts: Counts, names: tuple[str, ...], by: str | None
) -> dict[str, tuple[Sizes, Sizes]]:
    if by is None:
        return {}
    found = {name: (_ZERO, _ZERO) for name in names}
    for one in counts.groups():
        label = label_of(one.group)
        name = label if label in found else OTHERS
        before, after = found[name]
        found[name] = (_plus(before, one.before), _plus(after, one.after))
    return found


_ZERO = Sizes(documents=0, tokens=0, bytes=0)


def _plus(one: Sizes, other: Sizes) -> Sizes:
    return Sizes(**{name: size + getattr(other, name) for name, size in one})


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
    return settings | asked.settings()
