"""What an expression may name, and what it is worth in score rows.

Owns the words of the language: figures, of all documents or of a group, of the run itself or of
its baseline. Read in two steps: words before there is any run, columns once there are score rows.

    p95(perplexity)                          a figure of the run
    group(lang, "en", p95(perplexity))       of the documents of a group
    baseline(tokens)                         of the baseline
    increase(tokens), decrease(tokens)       against the baseline's, relative: 5% is 0.05
    low(bits_per_byte), high(...)             an end of its 95% interval, where it has one
    psi(perplexity)                          how far documents moved from the baseline's
    between(lang)                            share of their differences between groups of a column
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import polars as pl

from pipeline.reports.conditions import TRUTHS, condition, kind_of
from pipeline.reports.expressions import (
    Call,
    Comparison,
    Junction,
    Name,
    Negation,
    Text,
    Tree,
    fail,
)
from pipeline.reports.figures import RATIO_FIGURES
from pipeline.reports.resamples import HAVE_INTERVALS
from pipeline.runs.metrics import ratio
from pipeline.schema import METRICS, RATIOS
from pipeline.settings.names import near_name
from pipeline.statistics.columns import column_named
from pipeline.statistics.quantile import quantile_expr, weighted_quantile_expr

COUNTS = ("documents", "tokens", "bytes")
COUNTED = {"tokens": "num_tokens", "bytes": "num_bytes"}
"""Plain figures that are sums of a column."""
PLAIN = (*RATIO_FIGURES, *COUNTS)
"""Figures without an argument, as report.json has them under `overall`."""
QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
NUMBERED = re.compile(r"[pP][\d.]+")
"""What was meant to be a quantile."""
PSI, BETWEEN = "psi", "between"
DISTRIBUTIONS = ("perplexity", "bits_per_byte")
"""Metrics whose distribution psi compares."""
AGAINST = ("baseline", "increase", "decrease")
"""Functions that read the baseline's value of a figure."""
ENDS = ("low", "high")
"""Functions that give one end of a 95% interval."""
WORDS = [*PLAIN, "p95", "mean", "share", BETWEEN, PSI, "group", *AGAINST, *ENDS]
Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True, slots=True)
class Term:
    """A figure: of which documents, and of which run."""

    source: str
    """The term as it was written."""
    start: int
    figure: Call
    against: str | None = None
    """One of AGAINST; None if the term is the run's own value."""
    end: str | None = None
    """One of ENDS; None if the term is the value itself."""
    column: Name | Text | None = None
    group: str | None = None
    """The value of `column` whose documents the term covers; if both are None, all documents."""

    @property
    def needs_baseline(self) -> bool:
        return self.against is not None or self.figure.name == PSI


def read_term(source: str, operand: Text | Name | Call) -> Term:
    """What an operand stands for, as far as words say. Raises ConfigError, with a caret."""
    match operand:
        case Text():
            fail(source, operand.start, "a figure is a number, not a string")
        case Name():
            return read_term(source, Call(operand.value, (), operand.start, operand.value))
    call = operand
    if call.name in AGAINST:
        inner = _inner(source, call, 0, f"{call.name} takes a figure: {call.name}(tokens)")
        if inner.needs_baseline:
            fail(source, inner.start, f"{inner.source} already compares two runs")
        if inner.end is not None and call.name != "baseline":
            fail(source, inner.start, f"write {inner.end}({call.name}(...)) instead")
        return replace(inner, source=call.source, start=call.start, against=call.name)
    if call.name in ENDS:
        said = f"{call.name} takes one of these figures: {', '.join(HAVE_INTERVALS)}"
        inner = _inner(source, call, 0, said)
        if inner.figure.name not in HAVE_INTERVALS or inner.end is not None:
            fail(source, call.start, said)
        return replace(inner, source=call.source, start=call.start, end=call.name)
    if call.name == "group":
        said = 'group takes a column, a value and a figure: group(lang, "en", tokens)'
        inner = _inner(source, call, 2, said)
        column, value = call.arguments[:2]
        if not isinstance(column, Name | Text) or not isinstance(value, Text):
            fail(source, call.start, said)
        if inner.column is not None:
            fail(source, inner.start, "group() cannot be nested")
        return replace(
            inner, source=call.source, start=call.start, column=column, group=value.value
        )
    _check_figure(source, call)
    return Term(call.source, call.start, call)


def _inner(source: str, call: Call, before: int, said: str) -> Term:
    """The figure that is the last argument of a call, after so many others."""
    if len(call.arguments) != before + 1:
        fail(source, call.start, said)
    term = call.arguments[before]
    if not isinstance(term, Name | Call):
        fail(source, call.start, said)
    return read_term(source, term)


def _check_figure(source: str, call: Call) -> None:
    """Raises ConfigError where there is no such figure, or not with such arguments."""
    first = call.arguments[0] if len(call.arguments) == 1 else None
    if QUANTILE.fullmatch(call.name) or call.name in ("mean", BETWEEN):
        if not isinstance(first, Name):
            fail(source, call.start, f"{call.name} takes a column: {call.name}(perplexity)")
    elif call.name == PSI:
        if not isinstance(first, Name) or first.value not in DISTRIBUTIONS:
            known = " or ".join(f"psi({name})" for name in DISTRIBUTIONS)
            fail(source, call.start, f"psi takes one of two metrics: {known}")
    elif call.name == "share":
        if not isinstance(first, Tree):
            said = 'share takes a condition on rows: share(status == "error")'
            fail(source, call.start, said)
    elif call.name not in PLAIN:
        near = near_name(call.name, WORDS)
        hint = f"did you mean '{near}'?" if near else f"there are {', '.join(WORDS)}"
        if NUMBERED.fullmatch(call.name):
            hint = "quantiles are p0 to p100: p95(perplexity), p99.9(perplexity)"
        if call.name in METRICS:  # a number of each document, of which there are many
            totals = {
                metric: name for name, (metric, kind) in RATIO_FIGURES.items() if kind == "micro"
            }
            totals |= {column: name for name, column in COUNTED.items()}
            meant = [totals[call.name]] if call.name in totals else []
            meant.append(f"p95({call.name})")
            hint = f"{call.name} is a document's: did you mean {' or '.join(meant)}?"
        fail(source, call.start, f"no figure '{call.name}'", hint=hint)
    elif call.arguments:
        fail(source, call.start, f"{call.name} takes no argument")


def quantile_of(figure: Call) -> tuple[str, float] | None:
    """The column and share of a figure that is a quantile."""
    found = QUANTILE.fullmatch(figure.name)
    if found is None:
        return None
    (column,) = figure.arguments
    assert isinstance(column, Name)
    return column.value, float(found[1]) / 100


def columns_of(figure: Call) -> list[str]:
    """The columns that a figure names."""
    found: list[str] = []

    def look(part: object) -> None:
        match part:
            case Name(value=name) if name not in TRUTHS:
                found.append(name)
            case Comparison():
                look(part.left)
            case Junction():
                for one in part.parts:
                    look(one)
            case Negation():
                look(part.part)

    for argument in () if figure.name == PSI else figure.arguments:
        look(argument)
    return found


def columns_read(figure: Call) -> set[str]:
    """The columns that a figure is made of, named or not; of a ratio, the count it is over."""
    if figure.name in RATIO_FIGURES:
        return {str(RATIOS[RATIO_FIGURES[figure.name][0]].per)}
    return {COUNTED.get(figure.name, ""), *columns_of(figure)} - {""}


@dataclass(frozen=True, slots=True)
class Columns:
    """Score rows as figures are made of them: their columns, and what a row counts for."""

    source: str
    """The expression, in which errors point at the mistake."""
    schema: Schema
    weight: pl.Expr | None

    def group(self, column: Name | Text) -> str:
        """A column to group by. Raises ConfigError, as all of these."""
        kind = self._type(column)
        if kind.is_nested() or kind in (pl.Binary, pl.Duration, pl.Time):
            self._fail(column.start, f"cannot group by '{column.value}': its values are {kind}")
        return column.value

    def figure(self, call: Call) -> pl.Expr:
        """A figure, as an aggregate."""
        first = call.arguments[0] if call.arguments else None
        if isinstance(first, Name):
            column = self._number(first)
            quantile = quantile_of(call)
            if quantile is None:
                return self._mean(column)
            if self.weight is None:
                return quantile_expr(column, quantile[1])
            return weighted_quantile_expr(column, self.weight, quantile[1])
        if isinstance(first, Tree):
            return self._mean(self._condition(first))
        if call.name in RATIO_FIGURES:
            return self._average(*RATIO_FIGURES[call.name])
        if call.name == "documents":
            return pl.len() if self.weight is None else self.weight.sum().round()
        total = self._total(column_named(COUNTED[call.name]))
        return total if self.weight is None else total.round()  # a count, be it an estimate

    def _average(self, name: str, kind: str) -> pl.Expr:
        """Of a metric that is a ratio."""
        metric, nll = RATIOS[name], pl.col("nll")
        count = pl.when(nll.is_not_null()).then(column_named(str(metric.per)))
        if kind == "micro":
            return ratio(metric, self._total(nll), self._total(count))
        return ratio(metric, self._mean(pl.when(count > 0).then(nll / count)), pl.lit(1))

    def _total(self, values: pl.Expr) -> pl.Expr:
        return values.sum() if self.weight is None else (values * self.weight).sum()

    def _mean(self, values: pl.Expr) -> pl.Expr:
        if self.weight is None:
            return values.mean()
        return self._total(values) / self.weight.filter(values.is_not_null()).sum()

    def _condition(self, tree: Tree) -> pl.Expr:
        """On rows; a comparison with a missing value is false."""
        return condition(tree, self.source, self.schema, column_named, missing=False)

    def _number(self, name: Name) -> pl.Expr:
        kind = self._type(name)
        if not kind.is_numeric():
            self._fail(name.start, f"column '{name.value}' is {kind}, not a number")
        return column_named(name.value)

    def _type(self, name: Name | Text) -> pl.DataType:
        return kind_of(name, self.source, self.schema)

    def _fail(self, start: int, what: str, *, hint: str | None = None) -> NoReturn:
        fail(self.source, start, what, hint=hint)
