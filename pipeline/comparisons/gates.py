"""Requirements on the runs of a comparison: each run is compared with its own baseline.

Owns which figures of two tokenizers compare, and where psi comes from.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.comparisons.comparability import Subject
from pipeline.comparisons.comparison import RunFinding, RunShift, Shift
from pipeline.comparisons.shifts import DISTRIBUTIONS
from pipeline.errors import ConfigError
from pipeline.reports.gate import Gate, Psi, PsiValues
from pipeline.reports.requirements import Requirement
from pipeline.reports.term_values import Missing, Rows
from pipeline.schema import METRICS
from pipeline.statistics.bootstrap import Bootstrap

OF_A_TEXT = ("bytes", "code points", "words")
"""Units in which a text has the same size whatever the tokenizer."""
PER_TOKEN = frozenset(
    name
    for name, metric in METRICS.items()
    if METRICS[metric.per or name].unit not in OF_A_TEXT and name != "nll"
)
"""Columns that depend on where a tokenizer cuts a text."""
WHY_WITHHELD = (
    "the runs use different tokenizers: figures per token are not comparable, those per byte are"
)


class Gates:
    """A gate for each run that is compared. Raises ConfigError, naming the run."""

    def __init__(
        self,
        fail_if: Sequence[Requirement],
        subjects: Sequence[Subject],
        rows: Sequence[Rows],
        held_against: Sequence[int | None],
    ) -> None:
        self._gates: dict[int, Gate] = {}
        for i, reference in enumerate(held_against):
            if reference is None:
                continue
            before = rows[reference]
            if subjects[i].tokenizer != subjects[reference].tokenizer:
                before = replace(before, withheld=PER_TOKEN, why_withheld=WHY_WITHHELD)
            try:
                self._gates[i] = Gate(fail_if, rows[i], before)
            except ConfigError as error:
                raise error.at(subjects[i].store.location) from error

    def judge(self, run: int, shift: RunShift, bootstrap: Bootstrap) -> list[RunFinding]:
        """How a run stands to each requirement."""
        gate = self._gates[run]
        findings = gate.findings(gate.judge(psi_values(shift), bootstrap))
        return [RunFinding(run=shift.run, baseline=shift.baseline, **dict(one)) for one in findings]


def psi_values(shift: RunShift) -> PsiValues:
    """Every psi that a comparison has, or why it has none."""
    parts: list[tuple[str | None, str | None, Shift]] = [(None, None, shift.overall)]
    for column, groups in shift.groups.items():
        parts += [(column, group.value, group.shift) for group in groups]
    return {
        (column, group, metric): _psi(own, metric, column and f" with {column} = '{group}'")
        for column, group, own in parts
        for metric in DISTRIBUTIONS
    }


def _psi(shift: Shift, metric: str, where: str | None) -> Psi | Missing:
    if (apart := shift.distances.get(DISTRIBUTIONS[metric])) is not None:
        return Psi(apart.psi.value, apart.psi.by_chance)
    if not shift.num_scored:
        return Missing("unscored", f"no document{where or ''} has a score")
    if not shift.num_scored_baseline:
        return Missing("baseline group", f"no document of the baseline{where or ''} has a score")
    return Missing("withheld", WHY_WITHHELD)
