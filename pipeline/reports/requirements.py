"""Requirements on a run: `p95(perplexity) > 200 or share(status == "error") > 1%`.

Owns the figures that an expression may name, and whether it holds for score rows. A figure that
has no value, because nothing was scored, is neither above nor below anything: a condition that
hangs on it counts as failed, since a check that passes where nothing could be measured is none.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import polars as pl
from pydantic import BaseModel

from pipeline.reports.expressions import (
    Call,
    Comparison,
    Junction,
    Name,
    Number,
    Operand,
    Text,
    Tree,
    parse,
)
from pipeline.reports.expressions import fail as point_at
from pipeline.reports.figures import RATIO_FIGURES, quantile_name
from pipeline.runs.metrics import ratio
from pipeline.schema import LARGEST, RATIOS
from pipeline.settings.names import near_name
from pipeline.statistics.columns import as_text, column_named, is_too_wide, outside_calendar
from pipeline.statistics.quantile import quantile_expr, weighted_quantile_expr

SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
PLAIN = (*RATIO_FIGURES, "documents", "tokens", "bytes")
"""Figures without an argument, as report.json has them under `overall`."""
FIGURES = [*PLAIN, "p95", "mean", "share"]
QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
TRUTHS = {"true": True, "false": False}


class Finding(BaseModel):
    """A requirement and how a run stands to it."""

    expression: str
    failed: bool
    """The expression is true of the run, or cannot be judged."""
    judged: bool
    """False: it hangs on a figure that has no value."""
    values: dict[str, float | None]
    """Each figure of the expression, as it is written there, to its value."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """An expression that must not be true, and the figures it is made of."""

    source: str
    tree: Tree
    figures: dict[str, pl.Expr]
    quantiles: dict[str, tuple[str, float]]
    """Those of the figures that are quantiles, to their column and share."""


def parse_requirement(
    source: str, schema: Mapping[str, pl.DataType], weight: pl.Expr | None = None
) -> Requirement:
    """Read an expression on score rows with these columns. Raises ConfigError, with a caret.

    `weight` is what a row of a sample counts for: then figures are of what it was drawn from.
    """
    tree = parse(source)
    resolver = _Resolver(source, schema, weight)
    resolver.collect(tree)
    return Requirement(source, tree, resolver.figures, resolver.quantiles)


def check_requirements(scores: pl.LazyFrame, requirements: list[Requirement]) -> list[Finding]:
    """How a run stands to each. Quantiles are exact and taken one after the other: each needs its
    column in memory, 8 bytes a row."""
    wanted = {name: figure for one in requirements for name, figure in one.figures.items()}
    quantiles = {name for one in requirements for name in one.quantiles}
    together = [figure.alias(name) for name, figure in wanted.items() if name not in quantiles]
    values: dict[str, float | None] = {}
    for figures in [together, *([wanted[name].alias(name)] for name in sorted(quantiles))]:
        if figures:
            row = scores.select(figures).collect(engine="streaming").row(0, named=True)
            values |= {name: _comparable(value) for name, value in row.items()}
    return [_finding(requirement, values) for requirement in requirements]


def exact_quantiles(
    requirements: list[Requirement], findings: list[Finding]
) -> dict[str, dict[str, float]]:
    """Column to {p95: value}, of the quantiles that requirements ask for."""
    found: dict[str, dict[str, float]] = {}
    for requirement, finding in zip(requirements, findings, strict=True):
        for figure, (column, q) in requirement.quantiles.items():
            if (value := finding.values[figure]) is not None:
                found.setdefault(column, {})[quantile_name(q)] = value
    return found


def _comparable(value: float | None) -> float | None:
    """None of nothing, of which there is no ratio; what overflows is the largest."""
    return None if value is None or math.isnan(value) else min(value, LARGEST)


def _finding(requirement: Requirement, values: dict[str, float | None]) -> Finding:
    verdict = _judge(requirement.tree, values)
    return Finding(
        expression=requirement.source,
        failed=verdict is not False,
        judged=verdict is not None,
        values={name: values[name] for name in requirement.figures},
    )


def _judge(tree: Tree, values: dict[str, float | None]) -> bool | None:
    """Kleene's logic: unknown unless the known parts decide."""
    if isinstance(tree, Comparison):
        left, right = (_worth(side, values) for side in (tree.left, tree.right))
        return None if left is None or right is None else bool(SIGNS[tree.sign](left, right))
    if isinstance(tree, Junction):
        verdicts = [_judge(part, values) for part in tree.parts]
        deciding = tree.word == "or"
        return deciding if deciding in verdicts else None if None in verdicts else not deciding
    verdict = _judge(tree.part, values)
    return None if verdict is None else not verdict


def _worth(operand: Operand, values: dict[str, float | None]) -> float | None:
    if isinstance(operand, Number):
        return operand.value
    return values[operand.source if isinstance(operand, Call) else str(operand.value)]


@dataclass(frozen=True, slots=True)
class _Resolver:
    """Names to columns and figures."""

    source: str
    schema: Mapping[str, pl.DataType]
    weight: pl.Expr | None
    figures: dict[str, pl.Expr] = field(default_factory=dict)
    quantiles: dict[str, tuple[str, float]] = field(default_factory=dict)

    def collect(self, tree: Tree) -> None:
        """Put every figure of the tree into `figures`, quantiles into `quantiles` too."""
        if isinstance(tree, Comparison):
            for side in (tree.left, tree.right):
                match side:
                    case Text():
                        self.fail(side.start, "a figure is a number, not a text")
                    case Name():
                        self.figures[side.value] = self.figure(
                            Call(side.value, None, side.start, "")
                        )
                    case Call():
                        self.figures[side.source] = self.figure(side)
        elif isinstance(tree, Junction):
            for part in tree.parts:
                self.collect(part)
        else:
            self.collect(tree.part)

    def figure(self, call: Call) -> pl.Expr:
        quantile = QUANTILE.fullmatch(call.name)
        if quantile or call.name == "mean":
            if not isinstance(call.argument, Name):
                self.fail(call.start, f"{call.name} is of a column: {call.name}(perplexity)")
            column = self.number_column(call.argument)
            if quantile is None:
                return self.mean(column)
            q = float(quantile[1]) / 100
            self.quantiles[call.source] = (call.argument.value, q)
            if self.weight is None:
                return quantile_expr(column, q)
            return weighted_quantile_expr(column, self.weight, q)
        if call.name == "share":
            if call.argument is None or isinstance(call.argument, Name):
                self.fail(call.start, 'share is of a condition on rows: share(status == "error")')
            return self.mean(self.rows(call.argument))
        if call.name not in PLAIN:
            near = near_name(call.name, FIGURES)
            hint = f"did you mean '{near}'?" if near else f"there are {', '.join(FIGURES)}"
            self.fail(call.start, f"no figure '{call.name}'", hint=hint)
        if call.argument is not None:
            self.fail(call.start, f"{call.name} takes no argument")
        return self.plain(call.name)

    def plain(self, name: str) -> pl.Expr:
        """A figure without an argument."""
        if name in RATIO_FIGURES:
            return self.average(*RATIO_FIGURES[name])
        plain = {
            "documents": pl.len() if self.weight is None else self.weight.sum(),
            "tokens": self.total(pl.col("num_tokens")),
            "bytes": self.total(pl.col("num_bytes")),
        }
        return plain[name]

    def average(self, name: str, kind: str) -> pl.Expr:
        """Of a metric that is a ratio."""
        metric, nll = RATIOS[name], pl.col("nll")
        count = pl.when(nll.is_not_null()).then(column_named(str(metric.per)))
        if kind == "micro":
            return ratio(metric, self.total(nll), self.total(count))
        return ratio(metric, self.mean(pl.when(count > 0).then(nll / count)), pl.lit(1))

    def total(self, values: pl.Expr) -> pl.Expr:
        return values.sum() if self.weight is None else (values * self.weight).sum()

    def mean(self, values: pl.Expr) -> pl.Expr:
        if self.weight is None:
            return values.mean()
        return self.total(values) / self.weight.filter(values.is_not_null()).sum()

    def rows(self, tree: Tree) -> pl.Expr:
        """A condition on rows; a comparison with a missing value is false."""
        if isinstance(tree, Comparison):
            return self.row_comparison(tree)
        if isinstance(tree, Junction):
            parts = [self.rows(part) for part in tree.parts]
            return pl.all_horizontal(parts) if tree.word == "and" else pl.any_horizontal(parts)
        return ~self.rows(tree.part)

    def row_comparison(self, tree: Comparison) -> pl.Expr:
        column, value = tree.left, tree.right
        if not isinstance(column, Name):
            self.fail(column.start, "a condition on rows begins with a column")
        kind = self.column_type(column)
        compared: pl.Expr
        worth: float | str | bool
        match value:
            case Name(value=name) if name in TRUTHS and kind == pl.Boolean:
                compared, worth = column_named(column.value), TRUTHS[name]
            case Number() if kind.is_numeric():
                compared, worth = column_named(column.value), value.value
            case Text() if _has_text(kind):
                compared, worth = as_text(column_named(column.value), kind), value.value
            case _:
                self.fail(value.start, f"column '{column.value}' is {kind}: not to be compared so")
        comparison: pl.Expr = SIGNS[tree.sign](compared, pl.lit(worth))
        outside = outside_calendar(column_named(column.value), kind)
        if outside is not None:  # before, or after, every date that can be written
            for is_there, side in zip(outside, (-1, 1), strict=True):
                holds = pl.lit(SIGNS[tree.sign](side, 0))
                comparison = pl.when(is_there).then(holds).otherwise(comparison)
        return comparison.fill_null(False)

    def number_column(self, name: Name) -> pl.Expr:
        kind = self.column_type(name)
        if not kind.is_numeric():
            self.fail(name.start, f"column '{name.value}' is {kind}, not a number")
        return column_named(name.value)

    def column_type(self, name: Name) -> pl.DataType:
        if name.value not in self.schema:
            near = near_name(name.value, list(self.schema))
            hint = f"did you mean '{near}'?" if near else f"there are {', '.join(self.schema)}"
            self.fail(name.start, f"no column '{name.value}'", hint=hint)
        kind = self.schema[name.value]
        if is_too_wide(kind):
            self.fail(name.start, f"column '{name.value}' is {kind}: more digits than can be read")
        return kind

    def fail(self, start: int, what: str, *, hint: str | None = None) -> NoReturn:
        point_at(self.source, start, what, hint=hint)


def _has_text(kind: pl.DataType) -> bool:
    """Whether a column's values can be compared with a text."""
    is_other = kind.is_numeric() or kind.is_nested()
    return not is_other and kind not in (pl.Boolean, pl.Duration, pl.Null)
