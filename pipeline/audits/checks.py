"""The judged requirements of a night, as its checks. Pure.

Owns what is skipped and what fails where a requirement could not be judged: before there is a good
night nothing is compared with one, and a bound is not asked of groups that are new or gone; and
what a file asks that a verdict was not about. Judging is reports/gate.py's.
"""

from collections.abc import Sequence

from pipeline.audits.config import LAST, AuditConfig
from pipeline.audits.record import Asked, Audit, Check, Finding, State
from pipeline.audits.require import FAIL_IF, Require
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import number
from pipeline.reports.requirements import Judged, Requirement
from pipeline.reports.term_values import Missing
from pipeline.reports.terms import COUNTS
from pipeline.reports.wording import values_of
from pipeline.runs.manifest import Value, differences
from pipeline.storage.filesystem import open_root

MOST_FINDINGS = 20
NO_BASELINE = Missing("no baseline", "there is no baseline yet")
NOT_ASKED = frozenset([NO_BASELINE.kind, "group", "baseline group", "baseline column"])
"""Kinds of missing values for which a bound is skipped. An expression is skipped only without a
baseline: if the first night failed for want of one, there would never be one."""


def check_bound(
    index: int, one: Require, bound: str, asked: Requirement, judged: Judged, *, estimated: bool
) -> Check:
    """A bound, in each group or in the whole corpus."""
    (figure,) = {term.figure.source for term in asked.terms.values()}
    parts = judged.parts if one.by else [judged]
    findings = [_finding(one, bound, figure, part, estimated) for part in parts]
    said = {part.reason for part in parts}
    if one.by and len(said) == 1 and None not in said:  # of no group in particular
        findings = [_finding(one, bound, figure, judged, estimated)]
    by_state: dict[State, list[Finding]] = {"fail": [], "skipped": [], "pass": []}
    for finding in findings:
        by_state[finding.state].append(finding)
    # A corpus has thousands of groups that are as they should be: those are counted, not listed.
    listed = [*by_state["fail"], *by_state["skipped"]] if one.by else findings
    return Check(
        requirement=index,
        metric=one.metric,
        by=one.by,
        bound=bound,
        limit=one.bounds[bound],
        expression=asked.source,
        state="fail" if by_state["fail"] else "pass" if by_state["pass"] else "skipped",
        num_failed=len(by_state["fail"]),
        num_passed=len(by_state["pass"]),
        num_skipped=len(by_state["skipped"]),
        findings=listed[:MOST_FINDINGS],
    )


def check_expression(index: int, asked: Requirement, judged: Judged) -> Check:
    """An expression that must not be true."""
    state = _state(judged, {NO_BASELINE.kind})
    found = judged.finding(asked.source)
    how = "is true" if found.judged else "cannot be judged"
    detail = f"{asked.source} {'is not true' if state == 'pass' else how}: {values_of(found)}"
    return Check(
        requirement=index,
        metric=None,
        by=None,
        bound=FAIL_IF,
        limit=None,
        expression=asked.source,
        outcome=found,
        state=state,
        num_failed=int(state == "fail"),
        num_passed=int(state == "pass"),
        num_skipped=int(state == "skipped"),
        findings=[Finding(group=None, state=state, value=None, detail=plain(detail))],
    )


def changes_since(record: Audit, audit: AuditConfig) -> list[str]:
    """What a night is judged by and has changed since this one was decided, in words."""
    then = {check.required.key: check.required for check in record.checks}
    asked = [
        Asked(one.metric, one.by, bound, one.bounds.get(bound), requirement.source)
        for one in audit.require
        for bound, requirement in one.requirements().items()
    ]
    now = {one.key: one for one in asked}
    said = [f"new: {now[key].in_words()}" for key in now if key not in then]
    said += [f"gone: {then[key].in_words()}" for key in then if key not in now]
    was = record.baseline.run if record.baseline and record.baseline.night is None else LAST
    is_now = LAST if audit.baseline == LAST else open_root(audit.baseline).location
    # A night that has become the baseline is not to be compared with itself.
    said += [f"baseline {was} -> {is_now}"] if is_now not in (was, record.run) else []
    grouped = record.by if record.by is not None else list(audit.by)
    return said + differences({"by": grouped}, {"by": list(audit.by)})


def figures_changed_since(record: Audit, settings: dict[str, Value]) -> list[str]:
    """What the figures of a night depend on and has changed since it was decided, in words."""
    asked = {key: settings[key] for key in settings if key in record.settings}
    return differences({key: record.settings[key] for key in asked}, asked)


def _state(part: Judged, skipped: Sequence[str] | set[str] | frozenset[str]) -> State:
    if part.is_true is None:
        kinds = {one.kind for one in part.missing}
        return "skipped" if kinds <= set(skipped) else "fail"
    return "fail" if part.is_true else "pass"


def _finding(one: Require, bound: str, figure: str, part: Judged, estimated: bool) -> Finding:
    value, was = part.values.get(figure), part.values.get(f"baseline({figure})")
    if figure in COUNTS and any(missing.kind == "baseline group" for missing in part.missing):
        was = 0.0
    found = detail = f"{_name(one, part)}: {part.reason}"
    if part.is_true is not None and value is not None:
        chance = part.values.get(f"{figure} by chance")
        found = _words(_name(one, part), value, was, chance, estimated)
        detail = f"{found}{', ' if was is None else '; '}{bound} {one.bounds[bound]:.4g}"
    return Finding(
        group=part.group,
        state=_state(part, NOT_ASKED),
        value=value,
        baseline=was,
        found=plain(found),
        detail=plain(detail),
    )


def _words(
    name: str, value: float, was: float | None, chance: float | None, estimated: bool
) -> str:
    if chance is not None:
        over = " over the sampled rows" if estimated else ""
        return (
            f"the distribution of {name}{over} has a PSI of {value:.3g} against the baseline (up "
            f"to {chance:.2g} may be chance)"
        )
    now = f"{name} {'is estimated at' if estimated else 'is'} {number(value)}"
    if was is None:
        return now
    if not was:
        return f"{now}, and 0 in the baseline"
    return f"{now}, {(value - was) / abs(was):+.2%} from the baseline's {number(was)}"


def _name(one: Require, part: Judged) -> str:
    return f"{one.metric}" if part.group is None else f"{one.metric} of {one.by} {part.group}"
