"""What figures are worth in the score rows of a run, as a whole and by group.

Owns binding them to the run's columns, before anything is read, and measuring them. Quantiles are
exact at any size and taken one after the other: each needs its column in memory, 8 bytes per row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from pipeline.errors import ConfigError
from pipeline.reports.expressions import Call, Name, Text, fail
from pipeline.reports.figures import quantile_name
from pipeline.reports.groups import check_dates, label_expr
from pipeline.reports.resamples import Resamples
from pipeline.reports.sampled import STRATUM, WEIGHT, weighed, weight_of
from pipeline.reports.sorting import share_between
from pipeline.reports.terms import BETWEEN, Columns, Schema, columns_of, columns_read, quantile_of
from pipeline.runs.sample import Draw
from pipeline.schema import LARGEST, part_schema
from pipeline.statistics.bootstrap import Bootstrap

GROUP, SIZE = "winnow:group", "winnow:bytes"
Values = dict[str, float | None]
"""Value by the text of a figure; None if the figure has no value."""
Groups = dict[str | None, Values]
"""Values by group of a column, the group with the most bytes first; all rows together have the key
None."""

ExactQuantiles = dict[str, dict[str, float]]


class Missing(NamedTuple):
    """Why a term has no value."""

    kind: str
    """unscored, group, baseline group or baseline column, or a kind of the caller."""
    said: str
    """The reason as a sentence without its full stop."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The score rows of a run, as `weighed` gives them."""

    scores: pl.LazyFrame
    weight: pl.Expr | None = None
    """Expression for the weight of a sampled row; figures are then estimates for the corpus."""
    draw: Draw | None = None
    """How the rows were drawn, if they are a sample."""
    place: int = 0
    """Runs with the same number have the same document at the same file and row."""
    withheld: frozenset[str] = frozenset()
    """Columns whose figures cannot be compared with the other run's."""
    why_withheld: str = ""


def rows_of(scores: pl.LazyFrame, draw: Draw | None, place: int = 0) -> Rows:
    """Score rows as they are read, and what they are a sample of."""
    return Rows(weighed(scores, draw), weight_of(draw), draw, place)


def no_rows(carried: list[pa.Field]) -> Rows:
    """What a run will have that carries these columns, before it has any row."""
    table = pl.from_arrow(part_schema(None, carried).empty_table())
    assert isinstance(table, pl.DataFrame)
    return Rows(table.lazy())


@dataclass(slots=True)
class Side:
    """One of the runs that an expression speaks of: what is wanted of it, and then found."""

    rows: Rows
    schema: Schema
    wanted: dict[str | None, dict[str, tuple[Call, pl.Expr]]] = field(default_factory=dict)
    """Figures to compute by the column to group by; the column None is all rows."""
    missing: dict[str, Missing] = field(default_factory=dict)
    """Why a figure or column has no values, by its name."""
    found: dict[str | None, Groups] = field(default_factory=dict)
    resampled: dict[str | None, Resamples | None] = field(default_factory=dict)
    """Resamples of the figures whose intervals are needed."""

    @classmethod
    def of(cls, rows: Rows) -> "Side":
        kinds = rows.scores.collect_schema()
        own = {name: kind for name, kind in kinds.items() if name not in (WEIGHT, STRATUM)}
        return cls(rows, own)

    def want(self, source: str, figure: Call | None, column: Name | Text | None) -> None:
        """Ask for a figure, or for groups alone. Raises ConfigError where the run has no such
        column, pointing at it in `source`."""
        columns = Columns(source, self.schema, self.rows.weight)
        by = None if column is None else columns.group(column)
        own = self.wanted.setdefault(by, {})
        if figure is None or figure.source in own:
            return
        if figure.name == BETWEEN:  # no aggregate: `measure` finds it
            (name,) = figure.arguments
            assert isinstance(name, Name)
            bound = pl.lit(columns.group(name))
            if by is not None:
                fail(
                    source,
                    figure.start,
                    "between covers all documents and cannot be used for a group",
                )
        else:
            bound = columns.figure(figure)
        if self.rows.withheld & columns_read(figure):
            self.missing[figure.source] = Missing("withheld", self.rows.why_withheld)
        own[figure.source] = figure, bound

    def want_of_baseline(
        self, source: str, figure: Call | None, column: Name | Text | None
    ) -> None:
        """The same of a baseline: what it does not carry cannot be judged, and is no mistake."""
        try:
            self.want(source, None, column)
        except ConfigError:
            said = f"the baseline does not carry {column.value}" if column else ""
            self.missing[column.value if column else ""] = Missing("baseline column", said)
            return
        try:
            self.want(source, figure, column)
        except ConfigError:
            name = figure.source if figure else ""
            said = f"the baseline does not carry the columns of {name}"
            self.missing[name] = Missing("baseline column", said)

    def want_interval(self, column: Name | Text | None) -> None:
        """Ask for the resamples of all documents, or of every group."""
        self.resampled[None if column is None else column.value] = None

    def measure(self, bootstrap: Bootstrap | None) -> None:
        """Find all that is wanted; the bootstrap, if not given, is that of reports."""
        check_dates(self.rows.scores, [column for column in self.wanted if column is not None])
        for column, figures in self.wanted.items():
            exprs = {name: bound.alias(name) for name, (_, bound) in figures.items()}
            quantiles = [name for name, (figure, _) in figures.items() if quantile_of(figure)]
            between = [figure for figure, _ in figures.values() if figure.name == BETWEEN]
            apart = {*quantiles, *(figure.source for figure in between)}
            together = [one for name, one in exprs.items() if name not in apart]
            if column is not None:
                together.append(pl.col("num_bytes").sum().alias(SIZE))
            groups: Groups = {} if column is not None else {None: {}}
            sizes: dict[str | None, float] = {}
            for own in [together, *([exprs[name]] for name in quantiles)]:
                for row in self._rows(column, own):
                    group = row.pop(GROUP, None)
                    sizes.setdefault(group, row.pop(SIZE, 0) or 0)
                    values = {name: _comparable(value) for name, value in row.items()}
                    groups.setdefault(group, {}).update(values)
            for figure in between:
                share = share_between(self.rows.scores, *columns_of(figure))
                groups.setdefault(None, {})[figure.source] = share
            ordered = sorted(groups, key=lambda group: (-sizes.get(group, 0), group or ""))
            self.found[column] = {group: groups[group] for group in ordered}
        for column in self.resampled.keys() & self.wanted.keys():
            self.resampled[column] = Resamples(
                self.rows.scores,
                column,
                bootstrap or Bootstrap(),
                weight=self.rows.weight,
                draw=self.rows.draw,
                place=self.rows.place,
            )

    def _rows(self, column: str | None, own: Sequence[pl.Expr]) -> list[dict[str, Any]]:
        if not own:
            return []
        scores = self.rows.scores
        if column is None:
            frame = scores.select(own)
        else:
            frame = scores.group_by(label_expr(column).alias(GROUP)).agg(own)
        return frame.collect(engine="streaming").to_dicts()

    def exact_quantiles(self, column: str | None = None) -> dict[str | None, ExactQuantiles]:
        """Group to metric to {p95: value}, of the quantiles that were asked for."""
        figures = [figure for figure, _ in self.wanted.get(column, {}).values()]
        found: dict[str | None, ExactQuantiles] = {}
        for group, values in self.found.get(column, {}).items():
            own = found.setdefault(group, {})
            for figure in figures:
                quantile, value = quantile_of(figure), values.get(figure.source)
                if quantile is not None and value is not None:
                    own.setdefault(quantile[0], {})[quantile_name(quantile[1])] = value
        return found


def _comparable(value: float | None) -> float | None:
    """None of nothing, of which there is no ratio; what overflows is the largest."""
    return None if value is None or math.isnan(value) else min(value, LARGEST)
