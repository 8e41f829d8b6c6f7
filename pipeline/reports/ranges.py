"""What figures can be at all, and the gates that could never fail for that reason.

Owns the range of each figure, as far as its meaning bounds it whatever the corpus, and refusing a
comparison that is true of no value in it. Knows of no run: only of words.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from pipeline.reports.expressions import (
    SIGNS,
    TOKEN,
    Anywhere,
    Call,
    Comparison,
    Junction,
    Name,
    Negation,
    Number,
    Operand,
    Text,
    Tree,
    fail,
)
from pipeline.reports.terms import BETWEEN, Term, columns_of
from pipeline.schema import METRICS

OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


class Range(NamedTuple):
    """Least and greatest value, both included."""

    low: float = -math.inf
    high: float = math.inf

    def in_words(self) -> str:
        if self.low == -math.inf:
            return f"is at most {self.high:g}"
        if self.high == math.inf:
            return f"is at least {self.low:g}"
        return f"is from {self.low:g} to {self.high:g}"


def range_of(term: Term) -> Range:
    """What a term can be; a resample's figures, and so both ends of an interval, are no others."""
    own = _of_figure(term.figure)
    if term.against not in ("increase", "decrease"):
        return own
    if own.low < 0:  # relative to the size of what was, which may be of either sign
        return Range()
    return Range(low=-1) if term.against == "increase" else Range(high=1)


def _of_figure(figure: Call) -> Range:
    if figure.name == "share":
        return Range(0, 1)
    if figure.name == BETWEEN:  # less what chance gives: below 0 where groups do not differ
        return Range(high=1)
    columns = columns_of(figure)
    if all(column in METRICS and not METRICS[column].is_signed for column in columns):
        return Range(low=0)
    return Range()


def refuse_never_true(source: str, tree: Tree, terms: Mapping[int, Term]) -> None:
    """Raises ConfigError at a comparison that keeps the gate from ever failing by it."""
    _walk(source, tree, terms, negated=False)


def _walk(source: str, tree: Tree, terms: Mapping[int, Term], *, negated: bool) -> None:
    match tree:
        case Comparison():
            _check(source, tree, terms, OPPOSITE[tree.sign] if negated else tree.sign)
        case Junction():
            for part in tree.parts:
                _walk(source, part, terms, negated=negated)
        case Negation():
            _walk(source, tree.part, terms, negated=not negated)
        case Anywhere():
            _walk(source, tree.part, terms, negated=negated)


def _check(source: str, tree: Comparison, terms: Mapping[int, Term], sign: str) -> None:
    left, right = (_range(operand, terms) for operand in (tree.left, tree.right))
    if _possible(left, sign, right):
        return
    words = [_words(source, operand) for operand in (tree.left, tree.right)]
    how = "true" if sign == tree.sign else "false"
    said = f"{words[0]} {tree.sign} {words[1]} is never {how}, and the gate never fails by it"
    figures = [
        f"{name} {of.in_words()}"
        for name, of, operand in zip(words, (left, right), (tree.left, tree.right), strict=True)
        if not isinstance(operand, Number)
    ]
    hint = None
    for operand, name, of in ((tree.right, words[1], left), (tree.left, words[0], right)):
        # Shares and changes are often meant in percent.
        is_share = isinstance(operand, Number) and 1 in (-of.low, of.high)
        if is_share and not name.endswith(tuple("%kMB")):
            hint = f"did you mean {name}%?"
    why = f": {', '.join(figures)}" if figures else ""
    fail(source, tree.left.start, said + why, hint=hint)


def _range(operand: Operand, terms: Mapping[int, Term]) -> Range:
    if isinstance(operand, Number):
        return Range(operand.value, operand.value)
    return range_of(terms[operand.start])


def _possible(left: Range, sign: str, right: Range) -> bool:
    """Whether some value of one and some value of the other compare so."""
    if sign == "==":
        return left.low <= right.high and right.low <= left.high
    if sign == "!=":
        return not left.low == left.high == right.low == right.high
    if sign in ("<", "<="):
        return bool(SIGNS[sign](left.low, right.high))
    return bool(SIGNS[sign](left.high, right.low))


def _words(source: str, operand: Operand) -> str:
    match operand:
        case Number():
            token = TOKEN.match(source, operand.start)
            assert token is not None
            return token["number"]
        case Text() | Name():
            return operand.value
    return operand.source
