"""The requirements of a night, checked. Pure.

Owns what each bound means, and what is said where it cannot be checked: a bound relative to a
baseline is skipped without one, and fails where the night was not scored as its baseline was.
"""

from dataclasses import dataclass

from pipeline.audits.config import COUNTS, DISTRIBUTIONS, RELATIVE, Requirement
from pipeline.audits.record import Check, Finding, Part, State
from pipeline.comparisons.comparison import Comparison, Shift
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import number
from pipeline.reports.groups import OTHERS

MOST_FINDINGS = 20
Groups = dict[str | None, Part]


@dataclass(frozen=True, slots=True)
class Measured:
    """A run as requirements see it."""

    overall: Part
    groups: dict[str, dict[str, Part]]
    """Column to group."""
    is_estimated: bool = False
    """From a sample of the rows."""

    def parts(self, by: str | None) -> Groups:
        """What a requirement looks at; the whole corpus is None."""
        return {None: self.overall} if by is None else dict(self.groups[by].items())


def check_all(
    requirements: tuple[Requirement, ...],
    tonight: Measured,
    baseline: Measured | None,
    comparison: Comparison | None,
    unlike: str | None = None,
) -> list[Check]:
    """Every bound of every requirement.

    `baseline` is None if there is none yet; `unlike` says why the one there is does not compare.
    """
    checks = []
    for index, one in enumerate(requirements, 1):
        for bound, limit in one.bounds.items():
            if bound in RELATIVE and unlike is not None:
                findings = [Finding(group=None, state="fail", value=None, detail=unlike)]
            elif bound in RELATIVE and baseline is None:
                said = "skipped: no baseline yet"
                findings = [Finding(group=None, state="skipped", value=None, detail=said)]
            elif bound in RELATIVE and baseline and one.by and one.by not in baseline.groups:
                said = f"skipped: the baseline does not carry {one.by}"
                findings = [Finding(group=None, state="skipped", value=None, detail=said)]
            elif bound == "max_psi":
                findings = _psi_findings(one, limit, tonight, comparison)
            else:
                findings = _value_findings(one, bound, limit, tonight, baseline)
            checks.append(_check(index, one, bound, limit, findings))
    return checks


def _check(
    index: int, one: Requirement, bound: str, limit: float, findings: list[Finding]
) -> Check:
    by_state: dict[State, list[Finding]] = {"fail": [], "skipped": [], "pass": []}
    for finding in findings:
        by_state[finding.state].append(finding)
    # A corpus has thousands of groups that are as they should be: those are counted, not listed.
    listed = [*by_state["fail"], *by_state["skipped"]] if one.by else findings
    state: State = "fail" if by_state["fail"] else "pass" if by_state["pass"] else "skipped"
    return Check(
        requirement=index,
        metric=one.metric,
        by=one.by,
        bound=bound,
        limit=limit,
        state=state,
        num_failed=len(by_state["fail"]),
        num_passed=len(by_state["pass"]),
        num_skipped=len(by_state["skipped"]),
        findings=listed[:MOST_FINDINGS],
    )


def _value_findings(
    one: Requirement, bound: str, limit: float, tonight: Measured, baseline: Measured | None
) -> list[Finding]:
    """Of the bounds on a value: absolute, or relative to the baseline's."""
    now = tonight.parts(one.by)
    told_apart = baseline is not None and (one.by is None or one.by in baseline.groups)
    before = baseline.parts(one.by) if baseline is not None and told_apart else {}
    is_ = "is estimated at" if tonight.is_estimated else "is"
    findings = []
    for group in dict.fromkeys([*now, *before]):
        name = _name(one, group)
        state: State
        value = _value(now.get(group), one.metric)
        was = _value(before.get(group), one.metric)
        if group not in now and one.metric not in COUNTS:
            state, said = "skipped", f"{name} has no document tonight"
        elif value is None:
            state, said = "fail", f"{name} cannot be told: nothing in it was scored"
        elif bound == "min":
            state, said = _verdict(value >= limit), f"{name} {is_} {number(value)}, min {limit:g}"
        elif bound == "max":
            state, said = _verdict(value <= limit), f"{name} {is_} {number(value)}, max {limit:g}"
        elif was is None or (group not in before and group is not None):
            state, said = "skipped", f"{name} {is_} {number(value)}; the baseline has none"
        else:
            state, said = _relative(f"{name} {is_}", bound, limit, value, was)
        shown = was if bound in RELATIVE else None
        finding = Finding(group=group, state=state, value=value, baseline=shown, detail=said)
        findings.append(finding)
    return findings


def _relative(
    name_is: str, bound: str, limit: float, value: float, was: float
) -> tuple[State, str]:
    change = value - was if bound == "max_increase" else was - value
    kept = change <= limit * abs(was)
    if was:
        moved = f"{(value - was) / abs(was):+.2%} from the baseline's {number(was)}"
    else:
        moved = "none in the baseline"
    return _verdict(kept), f"{name_is} {number(value)}, {moved}; {bound} {limit:.4g}"


def _psi_findings(
    one: Requirement, limit: float, tonight: Measured, comparison: Comparison | None
) -> list[Finding]:
    """Of the distribution over documents, from the comparison with the baseline."""
    shift = comparison.shifts[0] if comparison is not None and comparison.shifts else None
    if shift is None:
        said = f"{_name(one, None)} cannot be told: there is no comparison with the baseline"
        return [Finding(group=None, state="fail", value=None, detail=said)]
    over = " over the sampled rows" if tonight.is_estimated else ""
    if one.by is None:
        return [_psi_finding(one, None, limit, shift.overall, over)]
    groups = {group.value: group.shift for group in shift.groups[one.by]}
    # The comparison tells the largest groups apart, and the rest together.
    known = [name for name in groups if name in tonight.groups[one.by] or name == OTHERS]
    return [_psi_finding(one, name, limit, groups[name], over) for name in known]


def _psi_finding(
    one: Requirement, group: str | None, limit: float, shift: Shift, over: str
) -> Finding:
    name = _name(one, group)
    apart = shift.distances.get(DISTRIBUTIONS[one.metric])
    if apart is None and not shift.num_scored:
        said = f"the distribution of {name} cannot be told: nothing in it was scored"
        return Finding(group=group, state="fail", value=None, detail=said)
    if apart is None:
        said = f"the distribution of {name}: the baseline has none"
        return Finding(group=group, state="skipped", value=None, detail=said)
    said = (
        f"the distribution of {name}{over} has a PSI of {apart.psi.value:.3g} against the "
        f"baseline, max_psi {limit:g} ({apart.psi.by_chance:.2g} may be chance)"
    )
    state = _verdict(apart.psi.value <= limit)
    return Finding(group=group, state=state, value=apart.psi.value, detail=said)


def _value(part: Part | None, metric: str) -> float | None:
    if part is None:
        return 0.0 if metric in COUNTS else None
    return part.value(metric)


def _name(one: Requirement, group: str | None) -> str:
    return one.metric if one.by is None else f"{one.metric} of {one.by} {plain(group or '')}"


def _verdict(kept: bool) -> State:
    return "pass" if kept else "fail"
