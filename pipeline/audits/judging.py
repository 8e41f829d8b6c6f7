"""From a scored night to its verdict.

Owns what makes a night fail: a requirement that is not met, rows that were given up, and a model or
rules that are not the baseline's. Scores nothing.
"""

import contextlib
from datetime import UTC, datetime

import polars as pl

from pipeline.audits.checks import NO_BASELINE, check_bound, check_expression
from pipeline.audits.config import LAST, AuditConfig
from pipeline.audits.figures import group_parts, whole_part
from pipeline.audits.history import MOST_GROUPS
from pipeline.audits.nights import Nights
from pipeline.audits.record import Audit, Baseline, Check, Part, Reused
from pipeline.audits.sample_draw import SampleRecord
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.comparison import Comparison
from pipeline.comparisons.gates import psi_values
from pipeline.comparisons.page import write_comparison
from pipeline.errors import RunError, WinnowError, counted, named
from pipeline.reports.baseline import run_rows, scored_unlike
from pipeline.reports.gate import Gate
from pipeline.reports.sampled import sampled, weighed
from pipeline.reports.term_values import Missing, Rows, Side, rows_of
from pipeline.runs.manifest import Manifest, Value
from pipeline.runs.sample import read_draw
from pipeline.runs.scores import is_complete, scan_scores
from pipeline.runs.store import AUDIT, RESUME, RunStore

MOST_REASONS = 20


def find_baseline(audit: AuditConfig, nights: Nights, night: str) -> Baseline | None:
    """The run that a night is compared with; None where there is no good night yet.

    Raises RunError if a run is named that is not there or not finished.
    """
    if audit.baseline == LAST:
        good = nights.last_good(night)
        return None if good is None else Baseline(run=nights.location(good.night), night=good.night)
    try:
        store = RunStore(audit.baseline)
        store.require_manifest()
        if store.success() is None:
            raise RunError(
                f"{store.location} is not finished",
                hint="finish that run, or name another in [audit]",
            )
    except WinnowError as error:
        raise error.at(f"{named('baseline')} in [audit]") from error
    return Baseline(run=store.location, night=None)


class Judge:
    """Checks one night against its requirements and its baseline."""

    def __init__(
        self,
        audit: AuditConfig,
        store: RunStore,
        baseline: Baseline | None,
        sample: SampleRecord | None,
    ) -> None:
        self.audit = audit
        self.store = store
        self.baseline = baseline
        self.sample = sample
        self.reasons: list[str] = []
        self.notes: list[str] = []

    def verdict(self, night: str, settings: dict[str, Value]) -> Audit:
        """The record of the night, `webhook` apart; comparison.* is written on the way."""
        store, sample = self.store, self.sample
        manifest, success = store.require_manifest(), store.success()
        has_unreadable = self._given_up(manifest, finished=success is not None)
        scores = scan_scores(store, manifest)
        tonight = rows_of(scores, sample)
        checks, exact = self._check(manifest, tonight, finished=success is not None)
        overall, groups = self._measure(scores, manifest, exact)
        reused = None
        if manifest.reuse is not None and success is not None:
            reused = Reused(
                run=manifest.reuse.run,
                num_shards=success.num_shards_reused,
                num_rows=success.num_rows_reused,
            )
        return Audit(
            night=night,
            verdict="fail" if self.reasons else "pass",
            reasons=self.reasons,
            notes=self.notes,
            complete=success is not None,
            has_unreadable=has_unreadable,
            generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=store.location,
            run_id=manifest.run_id,
            corpus=sample.corpus if sample else manifest.corpus,
            model=manifest.model.name,
            overall=overall,
            groups=groups,
            checks=checks,
            baseline=self.baseline,
            reuse=reused,
            sample=None if sample is None else sampled(weighed(scores, sample), sample),
            webhook=None,
            by=list(self.audit.by),
            settings=settings,
        )

    def _given_up(self, manifest: Manifest, *, finished: bool) -> bool:
        """What has no score becomes a reason. Whether that is for want of a readable file."""
        lost = dict(self.sample.unreadable) if self.sample else {}
        for failure in self.store.failures():
            what = failure.get("file") or f"shard {failure.get('shard')}"
            lost.setdefault(what, failure["reason"])
        unreadable = set(lost) & {
            *manifest.unreadable,
            *(self.sample.unreadable if self.sample else ()),
        }
        if not finished:
            left = len(manifest.shards) - len(self.store.done())
            said = f"{left:,} of {len(manifest.shards):,} shards were given up"
            # One thing to do: beginning the night anew retries them as well.
            self.reasons.append(
                said if unreadable else f"{said}; run the same command again to retry them"
            )
        if unreadable:
            self.notes.append(
                "This night does not look at an unreadable file again. After repairing it, delete "
                f"{self.store.location} and audit this night again: it reuses the night before."
            )
        not_scored = [f"not scored: {what}: {reason}" for what, reason in lost.items()]
        self.reasons += not_scored[:MOST_REASONS]
        if (more := len(not_scored) - MOST_REASONS) > 0:
            self.reasons.append(f"not scored: {more:,} more files or shards")
        return bool(unreadable)

    def _measure(
        self, scores: pl.LazyFrame, manifest: Manifest, required: Side
    ) -> tuple[Part, dict[str, dict[str, Part]]]:
        """The figures of the record; quantiles that were required are exact."""
        groups = {}
        for column in self.audit.columns:
            if column in manifest.carried:
                parts = list(group_parts(scores, column, self.sample).items())[:MOST_GROUPS]
                exact = required.exact_quantiles(column)
                groups[column] = {name: one.with_exact(exact.get(name)) for name, one in parts}
        overall = whole_part(scores, self.sample)
        return overall.with_exact(required.exact_quantiles().get(None)), groups

    def _check(
        self, manifest: Manifest, tonight: Rows, *, finished: bool
    ) -> tuple[list[Check], Side]:
        """Compare and check; what fails becomes a reason. Also what was measured for it."""
        before: Rows | Missing = NO_BASELINE
        comparison, unlike = None, None
        if self.baseline is None:
            self.notes.append(
                "There is no baseline yet: requirements relative to a baseline are not checked."
            )
        else:
            if self.baseline.run == self.store.location:
                self.notes.append(
                    "The baseline in [audit] is this night itself: nothing can differ from it."
                )
            instead = "if the change is intended, set baseline in [audit] to a run with the same "
            instead += "settings"
            try:
                unlike = self._unlike(self.baseline, manifest)
                comparison = self._compare(self.baseline, finished=finished)
                before = run_rows(RunStore(self.baseline.run))
            except RunError as error:
                if unlike is None:
                    unlike, instead = str(error), self._heal(self.baseline) or instead
            if unlike is not None:
                before = Missing("unlike", unlike)
                self.reasons.append(
                    f"this night is not comparable with the baseline {self.baseline.run}: "
                    f"{unlike}; {instead}"
                )
        asked = [
            (index, one, bound, requirement)
            for index, one in enumerate(self.audit.require, 1)
            for bound, requirement in one.requirements().items()
        ]
        gate = Gate([requirement for *_, requirement in asked], tonight, before)
        psi = psi_values(comparison.shifts[0]) if comparison else None
        estimated = tonight.weight is not None
        checks = []
        for (index, one, bound, requirement), found in zip(asked, gate.judge(psi), strict=True):
            if one.fail_if is not None:
                check = check_expression(index, requirement, found)
            else:
                check = check_bound(index, one, bound, requirement, found, estimated=estimated)
            checks.append(check)
            if found.reason is None or found.reason != unlike:  # which is a reason already
                self.reasons += _failures(check)
            if isinstance(before, Rows):
                self.notes += [one.detail for one in check.findings if one.state == "skipped"]
        return checks, gate.run

    def _unlike(self, baseline: Baseline, tonight: Manifest) -> str | None:
        """What makes the scores differ besides the text."""
        store = RunStore(baseline.run)
        manifest = store.require_manifest()
        found = scored_unlike(manifest, tonight)
        self.baseline = baseline.model_copy(update={"differences": found})
        if (read_draw(store) is None) != (self.sample is None):
            # Whose files are others, of the same corpus or not.
            ours, theirs = ("a sample", "every row") if self.sample else ("every row", "a sample")
            self.notes.append(f"The baseline scored {theirs}, and this night {ours}.")
        elif manifest.corpus != tonight.corpus and not _share_files(manifest, tonight):
            self.notes.append(f"The baseline scored another corpus: {manifest.corpus}.")
        return "; ".join(found) or None

    def _heal(self, baseline: Baseline) -> str | None:
        """What to do about a baseline that has lost parts, or its manifest."""
        store = RunStore(baseline.run)
        try:
            manifest = store.require_manifest()
        except RunError:
            return baseline.night and (
                f"delete {baseline.run}, so that nights are compared with an earlier one; then "
                f"delete {AUDIT} of this night and repeat it"
            )
        with contextlib.suppress(RunError):
            if not is_complete(store, manifest):
                return (
                    RESUME
                    if baseline.night is None
                    else (
                        f"audit the night {baseline.night} again, which scores what is missing and "
                        f"keeps its verdict; then delete {AUDIT} of this night and repeat it"
                    )
                )
        return None

    def _compare(self, baseline: Baseline, *, finished: bool) -> Comparison:
        store = RunStore(baseline.run)
        carried = store.require_manifest().carried
        by = tuple(column for column in self.audit.columns if column in carried)
        comparison = compare_runs([store, self.store], by=by, partial=not finished)
        write_comparison(comparison, self.store.location)
        return comparison


def _share_files(one: Manifest, two: Manifest) -> bool:
    """Whether two corpora look like one corpus that was moved, even if it changed."""
    ours, theirs = (
        {(file.path, file.size_bytes, file.num_rows) for file in run.files} for run in (one, two)
    )
    return bool(ours & theirs)


def _failures(check: Check) -> list[str]:
    said = [one.detail for one in check.findings if one.state == "fail"]
    if (more := check.num_failed - len(said)) > 0:
        said.append(f"and {counted(more, 'more group')} by {check.by}")
    return said
