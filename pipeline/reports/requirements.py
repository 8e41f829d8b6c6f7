"""Requirements: `p95(perplexity) > 200 or any(source, increase(tokens) < -5%)`.

Owns the one sense of a gate, whether report, comparison or audit: an expression says what must not
be, and a requirement holds only if that was judged and is false. What cannot be judged, because
nothing was scored, a group is not there or there is no baseline, does not hold: a check that passes
where nothing could be measured is none. The language is expressions.py's and terms.py's, judging
gate.py's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel

from pipeline.reports.expressions import (
    Anywhere,
    Comparison,
    Junction,
    Name,
    Negation,
    Number,
    Operand,
    Text,
    Tree,
    fail,
    parse,
)
from pipeline.reports.ranges import refuse_never_true
from pipeline.reports.term_values import Missing
from pipeline.reports.terms import PSI, Term, columns_of, read_term

MOST_GROUPS = 20
"""Number of groups that a finding lists."""
MOST_REASONS = 3
Column = Name | Text | None


class GroupFinding(BaseModel):
    """How a group stands to the condition of an `any`."""

    column: str
    value: str
    judged: bool
    """True if the condition is true of the group. False if it cannot be judged: see `reason`."""
    values: dict[str, float | None]
    reason: str | None


class Finding(BaseModel):
    """A requirement and how a run stands to it."""

    expression: str
    failed: bool
    """Whether the expression is true of the run, or cannot be judged."""
    judged: bool
    """False if the verdict depends on a figure that has no value."""
    values: dict[str, float | None]
    """Value of each figure in the expression, by the text of the figure."""
    reason: str | None = None
    """Why the expression could not be judged; null if it was."""
    groups: list[GroupFinding] = []
    """For `any`: the first groups for which the condition is true; where the expression could not
    be judged, also those for which the condition could not."""
    num_groups: int = 0
    """For `any`: the number of all such groups."""


@dataclass(slots=True)
class Judged:
    """What was found of a condition, for all documents or for those of a group."""

    column: str | None = None
    group: str | None = None
    is_true: bool | None = None
    """Whether the expression is true; None if it could not be judged."""
    values: dict[str, float | None] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    """Figures without a value, whether or not the verdict depends on them."""
    parts: list["Judged"] = field(default_factory=list)
    """Verdict on every group that an `any` looked at."""

    @property
    def reason(self) -> str | None:
        """Why it was not judged, in words."""
        if self.is_true is not None:
            return None
        said = list(dict.fromkeys(one.said for one in self.missing))
        more = f", and {len(said) - MOST_REASONS:,} more" if len(said) > MOST_REASONS else ""
        return "; ".join(said[:MOST_REASONS]) + more

    def finding(self, expression: str) -> Finding:
        """For whoever reads the outcome."""
        # Once judged, a verdict owes nothing to the groups that could not be.
        kept = (True, None) if self.is_true is None else (True,)
        noted = [part for part in self.parts if part.is_true in kept]
        return Finding(
            expression=expression,
            failed=self.is_true is not False,
            judged=self.is_true is not None,
            values=self.values,
            reason=self.reason,
            groups=[
                GroupFinding(
                    column=str(part.column),
                    value=str(part.group),
                    judged=part.is_true is not None,
                    values=part.values,
                    reason=part.reason,
                )
                for part in noted[:MOST_GROUPS]
            ],
            num_groups=len(noted),
        )


@dataclass(frozen=True, slots=True)
class Requirement:
    """An expression that must not be true, its words understood and its columns not yet looked
    up."""

    source: str
    tree: Tree
    terms: dict[int, Term]
    """Terms of the expression by their start in the source."""
    is_bound: bool = False
    """Whether the requirement also covers groups that only the baseline has."""

    @classmethod
    def read(cls, source: str) -> "Requirement":
        """Read an expression. Raises ConfigError, also where it could never be true."""
        found = cls.bound(source)
        refuse_never_true(source, found.tree, found.terms)
        return found

    @classmethod
    def bound(cls, source: str, by: str | None = None) -> "Requirement":
        """The expression of a bound, which is true where the bound is not kept; `by` asks it of
        every group of a column. Which bounds make sense is the caller's."""
        tree = parse(source)
        terms: dict[int, Term] = {}
        for operand, within in operands(source, tree):
            if not isinstance(operand, Number):
                term = terms[operand.start] = read_term(source, operand)
                if (within or by) and term.column is not None:
                    fail(source, term.start, "group() cannot be nested")
        if by is None:
            return cls(source, tree, terms)
        return cls(f"any({by}, {source})", Anywhere(Text(by, 0), tree), terms, is_bound=True)

    @property
    def needs_baseline(self) -> bool:
        return any(term.needs_baseline for term in self.terms.values())

    @property
    def needs_psi(self) -> bool:
        return any(term.figure.name == PSI for term in self.terms.values())

    def refuse_psi(self, why: str, hint: str) -> None:
        """Raises ConfigError where a term is a psi."""
        for term in self.terms.values():
            if term.figure.name == PSI:
                fail(self.source, term.start, f"{term.source}: {why}", hint=hint)

    def grouped(self) -> list[str]:
        """The columns that it groups by."""
        found = (column for _, column in self.asked() if column is not None)
        return list(dict.fromkeys(column.value for column in found))

    def columns(self) -> list[str]:
        """Every column that it names."""
        own = (one for term in self.terms.values() for one in columns_of(term.figure))
        return list(dict.fromkeys([*self.grouped(), *own]))

    def asked(self) -> Iterator[tuple[Term, Column]]:
        """Each term, and the column whose groups it is of."""
        for operand, within in operands(self.source, self.tree):
            if (term := self.terms.get(operand.start)) is not None:
                yield term, within or term.column


def operands(source: str, tree: Tree, within: Column = None) -> Iterator[tuple[Operand, Column]]:
    """Each operand of a condition, and the column that an `any` around it is of."""
    match tree:
        case Comparison():
            yield tree.left, within
            yield tree.right, within
        case Junction():
            for part in tree.parts:
                yield from operands(source, part, within)
        case Negation():
            yield from operands(source, tree.part, within)
        case Anywhere():
            if within is not None:
                fail(source, tree.column.start, "any() cannot be nested")
            inner = list(operands(source, tree.part, tree.column))
            if all(isinstance(operand, Number) for operand, _ in inner):
                fail(source, tree.column.start, "any takes a condition on figures")
            yield from inner
