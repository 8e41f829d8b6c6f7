"""Whether a requirement holds: its expression judged on the figures of a run and its baseline.

Owns three-valued logic, what makes a figure missing, and what is said then. Judging for all
documents and for each group is the same code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import named
from pipeline.reports.expressions import (
    SIGNS,
    Anywhere,
    Comparison,
    Junction,
    Name,
    Negation,
    Number,
    Operand,
    Tree,
    fail,
)
from pipeline.reports.groups import OTHERS
from pipeline.reports.requirements import Finding, Judged, Requirement, operands
from pipeline.reports.resamples import change_interval
from pipeline.reports.term_values import Missing, Rows, Side
from pipeline.reports.terms import COUNTS, PSI, Term
from pipeline.schema import LARGEST
from pipeline.settings.names import near_name
from pipeline.statistics.bootstrap import Bootstrap


class Psi(NamedTuple):
    """How far documents moved from the baseline's, and how far chance alone moves them."""

    value: float
    by_chance: float


PsiValues = Mapping[tuple[str | None, str | None, str], Psi | Missing]
"""PSI by (column, group, metric); for all documents, column and group are None."""


class Gate:
    """Requirements, and the runs that they are asked of.

    `baseline` is None where nobody named one, and Missing where the one there is does not do.
    Raises ConfigError where the run has no such column, or nobody named a baseline that is needed.
    """

    def __init__(
        self, requirements: Sequence[Requirement], run: Rows, baseline: Rows | Missing | None
    ) -> None:
        self.requirements = requirements
        self.run = Side.of(run)
        self.why = baseline if isinstance(baseline, Missing) else None
        self.baseline = Side.of(baseline) if isinstance(baseline, Rows) else None
        for one in requirements:
            for term, column in one.asked():
                figure = None if term.figure.name == PSI else term.figure
                self.run.want(one.source, figure, column)
                if term.needs_baseline and baseline is None:
                    said = f"{term.source} needs a baseline, and none is given"
                    fail(one.source, term.start, said, hint=f"give {named('baseline')}")
                if term.end is not None:
                    self.run.want_interval(column)
                if self.baseline is not None and term.end is not None and term.against is not None:
                    self.baseline.want_interval(column)
                if self.baseline is not None and (term.needs_baseline or column is not None):
                    own = figure if term.needs_baseline else None
                    self.baseline.want_of_baseline(one.source, own, column)

    def judge(
        self, psi: PsiValues | None = None, bootstrap: Bootstrap | None = None
    ) -> list[Judged]:
        """How the run stands to each."""
        self.run.measure(bootstrap)
        if self.baseline is not None:
            self.baseline.measure(bootstrap)
        judged = []
        for one in self.requirements:
            whole = Judged()
            whole.is_true = _Case(self, one, psi or {}, whole).evaluate(one.tree)
            judged.append(whole)
        return judged

    def findings(self, judged: Sequence[Judged]) -> list[Finding]:
        """The same, for whoever reads the outcome."""
        pairs = zip(self.requirements, judged, strict=True)
        return [found.finding(one.source) for one, found in pairs]


@dataclass(frozen=True, slots=True)
class _Case:
    """A condition, for all documents or for those of a group, as it is judged."""

    gate: Gate
    requirement: Requirement
    psi: PsiValues
    into: Judged

    def evaluate(self, tree: Tree) -> bool | None:
        """Kleene's logic: unknown unless the known parts decide."""
        match tree:
            case Comparison():
                left, right = self.worth(tree.left), self.worth(tree.right)
                return (
                    None if left is None or right is None else bool(SIGNS[tree.sign](left, right))
                )
            case Junction():
                verdicts = [self.evaluate(part) for part in tree.parts]
                return _decide(verdicts, deciding=tree.word == "or")
            case Negation():
                verdict = self.evaluate(tree.part)
                return None if verdict is None else not verdict
            case Anywhere():
                return self.anywhere(tree)

    def anywhere(self, tree: Anywhere) -> bool | None:
        column = tree.column.value
        parts = []
        for group in self.groups(tree):
            part = Judged(column, group)
            case = _Case(self.gate, self.requirement, self.psi, part)
            part.is_true = case.evaluate(tree.part)
            parts.append(part)
        self.into.parts += parts
        for part in parts:
            self.into.missing += part.missing if part.is_true is None else []
        if not parts:
            self.into.missing.append(Missing("group", f"the column {column} has no groups"))
            return None
        return _decide([part.is_true for part in parts], deciding=True)

    def groups(self, tree: Anywhere) -> list[str | None]:
        """Those of the run, then those that the baseline alone has, where they have a value too."""
        column = tree.column.value
        found = (self.requirement.terms.get(one.start) for one, _ in operands("", tree.part))
        terms = [term for term in found if term is not None]
        own = list(self.gate.run.found[column])
        if self.gate.why is None and all(term.figure.name == PSI for term in terms):
            # A comparison has the largest groups one by one, and the rest together.
            told = dict.fromkeys(group for by, group, _ in self.psi if by == column)
            return [group for group in told if group in own or group == OTHERS]
        counts = all(term.figure.name in COUNTS for term in terms)
        if counts or self.requirement.is_bound or any(term.needs_baseline for term in terms):
            own += [group for group in self._before(column) if group not in own]
        return own

    def _before(self, column: str) -> list[str | None]:
        baseline = self.gate.baseline
        return [] if baseline is None else list(baseline.found.get(column, {}))

    def worth(self, operand: Operand) -> float | None:
        """The value of an operand; what is missing is noted down."""
        if isinstance(operand, Number):
            return operand.value
        term = self.requirement.terms[operand.start]
        column = self.into.column if term.column is None else term.column.value
        group = self.into.group if term.column is None else term.group
        if term.figure.name == PSI:
            return self.noted(term.source, self.moved(term, column, group))
        value = self.value(term, column, group)
        if term.end is None or value is None:
            return value
        return self.noted(term.source, self.end(term, column, group))

    def value(self, term: Term, column: str | None, group: str | None) -> float | None:
        """The value of a term, of whose interval it may be an end."""
        figure = term.figure.source
        name = figure if term.column is None else f'group({column}, "{group}", {figure})'
        now = None
        if term.against != "baseline":
            of_run = self.of_run(term, column, group)
            if term.against is None:
                return self.noted(name, of_run)
            if self.gate.why is not None and isinstance(of_run, Missing):
                self.into.values[name] = None  # without a baseline, that is the reason given
            else:
                now = self.noted(name, of_run)
        was = self.noted(f"baseline({name})", self.of_baseline(term, column, group))
        if term.against == "baseline" or now is None or was is None:
            return was if term.against == "baseline" else None
        found = change(now, was, -1 if term.against == "decrease" else 1)
        return self.noted(f"{term.against}({name})" if term.end else term.source, found)

    def end(self, term: Term, column: str | None, group: str | None) -> float | Missing:
        """An end of the 95% interval of a term that has a value."""
        run, baseline = self.gate.run.resampled.get(column), None
        if self.gate.baseline is not None:
            baseline = self.gate.baseline.resampled.get(column)
        figure, found = term.figure.name, None
        if term.against in ("increase", "decrease"):
            if run is not None and baseline is not None:
                now, was = run.drawn(group, figure), baseline.drawn(group, figure)
                found = change_interval(now, was, -1 if term.against == "decrease" else 1)
        elif (side := baseline if term.against else run) is not None:
            found = side.interval(group, figure)
        if found is None:
            of = " of the baseline" if term.against == "baseline" else ""
            where = "" if column is None else f" with {column} = '{group}'"
            said = f"too few documents{of}{where} have a score to compute an interval of {figure}"
            return Missing("unscored", said)
        return found.low if term.end == "low" else found.high

    def noted(self, name: str, found: float | Psi | Missing) -> float | None:
        """Note a value down, or why there is none."""
        if isinstance(found, Missing):
            self.into.missing.append(found)
            self.into.values[name] = None
            return None
        if isinstance(found, Psi):
            self.into.values |= {name: found.value, f"{name} by chance": found.by_chance}
            return found.value
        self.into.values[name] = found
        return found

    def of_run(self, term: Term, column: str | None, group: str | None) -> float | Missing:
        groups = self.gate.run.found[column]
        if group not in groups:
            if term.column is None and term.figure.name in COUNTS:
                return 0.0  # the baseline has such documents, and this run none
            near = near_name(str(group), [str(one) for one in groups])
            hint = f"; did you mean '{near}'?" if near and term.column is not None else ""
            return Missing("group", f"no document has {column} = '{group}'{hint}")
        return _value(groups[group], term, column, group, "")

    def of_baseline(self, term: Term, column: str | None, group: str | None) -> float | Missing:
        side = self.gate.baseline
        if side is None:
            assert self.gate.why is not None
            return self.gate.why
        for name in (column, term.figure.source):
            if name in side.missing:
                return side.missing[name]
        groups = side.found[column]
        if group not in groups:
            said = f"no document of the baseline has {column} = '{group}'"
            return Missing("baseline group", said)
        return _value(groups[group], term, column, group, " of the baseline")

    def moved(self, term: Term, column: str | None, group: str | None) -> Psi | Missing:
        if self.gate.why is not None:
            return self.gate.why
        (metric,) = term.figure.arguments
        assert isinstance(metric, Name)
        nowhere = Missing(
            "psi",
            f"{term.source} has no value: the comparison lacks {column or 'all documents'}",
        )
        return self.psi.get((column, group, metric.value), nowhere)


def change(now: float, was: float, sign: int = 1) -> float:
    """Relative to the size of what was; without bound where that is nothing."""
    if was:
        return sign * (now - was) / abs(was)
    return 0.0 if now == was else sign * LARGEST if now > was else -sign * LARGEST


def _value(
    values: Mapping[str, float | None],
    term: Term,
    column: str | None,
    group: str | None,
    of: str,
) -> float | Missing:
    value = values.get(term.figure.source)
    if value is not None:
        return value
    where = "" if column is None else f" with {column} = '{group}'"
    return Missing("unscored", f"no document{of}{where} has a value for {term.figure.source}")


def _decide(verdicts: list[bool | None], *, deciding: bool) -> bool | None:
    return deciding if deciding in verdicts else None if None in verdicts else not deciding
