"""From a scored night to its verdict.

Owns what makes a night fail: a requirement that is not met, rows that were given up, and a model or
rules that are not the baseline's. Scores nothing.
"""

from datetime import UTC, datetime

import polars as pl

from pipeline.audits.checks import Measured, check_all
from pipeline.audits.config import LAST, RELATIVE, AuditConfig
from pipeline.audits.figures import group_parts, whole_part
from pipeline.audits.history import MOST_GROUPS
from pipeline.audits.nights import Nights
from pipeline.audits.record import Audit, Baseline, Check, Reused
from pipeline.audits.sample_draw import SampleRecord
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.comparison import Comparison
from pipeline.comparisons.page import write_comparison
from pipeline.errors import RunError
from pipeline.reports.sampled import sampled, weighed
from pipeline.runs.manifest import Manifest, differences
from pipeline.runs.sample import Draw, read_draw
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore

MOST_REASONS = 20
NO_MATTER = frozenset(["min_k_percent", "text_column", "scored_bytes"])
"""Of a fingerprint: what neither the model is nor the rules are, and how bytes of a character that
was cut are counted, which the comparison notes."""


def find_baseline(audit: AuditConfig, nights: Nights, night: str) -> Baseline | None:
    """The run that a night is held against; None where there is no good night yet.

    Raises RunError if a run is named that is not there or not finished.
    """
    if audit.baseline == LAST:
        good = nights.last_good(night)
        return None if good is None else Baseline(run=nights.location(good.night), night=good.night)
    store = RunStore(audit.baseline)
    store.require_manifest()
    if store.success() is None:
        raise RunError(
            f"{store.location}, the baseline in [audit], is not finished",
            hint="finish it, or name another run",
        )
    return Baseline(run=store.location, night=None)


class Judge:
    """Holds one night against its requirements and its baseline."""

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

    def verdict(self, night: str) -> Audit:
        """The record of the night, `webhook` apart; comparison.* is written on the way."""
        store, sample = self.store, self.sample
        manifest, success = store.require_manifest(), store.success()
        self._given_up(manifest, finished=success is not None)
        scores = scan_scores(store, manifest)
        tonight = self._measure(scores, manifest, sample)
        checks = self._check(manifest, tonight, finished=success is not None)
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
            generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=store.location,
            run_id=manifest.run_id,
            corpus=sample.corpus if sample else manifest.corpus,
            model=manifest.model.name,
            overall=tonight.overall,
            groups={
                column: dict(list(parts.items())[:MOST_GROUPS])
                for column, parts in tonight.groups.items()
            },
            checks=checks,
            baseline=self.baseline,
            reuse=reused,
            sample=None if sample is None else sampled(weighed(scores, sample), sample),
            webhook=None,
        )

    def _given_up(self, manifest: Manifest, *, finished: bool) -> None:
        lost = dict(self.sample.unreadable) if self.sample else {}
        for failure in self.store.failures():
            what = failure.get("file") or f"shard {failure.get('shard')}"
            lost.setdefault(what, failure["reason"])
        if not finished:
            left = len(manifest.shards) - len(self.store.done())
            self.reasons.append(
                f"{left:,} of {len(manifest.shards):,} shards were given up; "
                "the same command tries them again"
            )
        said = [f"not scored: {what}: {reason}" for what, reason in lost.items()]
        self.reasons += said[:MOST_REASONS]
        if len(said) > MOST_REASONS:
            self.reasons.append(f"not scored: {len(said) - MOST_REASONS:,} more files or shards")

    def _measure(self, scores: pl.LazyFrame, manifest: Manifest, draw: Draw | None) -> Measured:
        columns = [column for column in self.audit.columns if column in manifest.carried]
        required: dict[str | None, set[str]] = {}
        for one in self.audit.require:
            required.setdefault(one.by, set()).add(one.metric)
        return Measured(
            overall=whole_part(scores, draw, required.get(None, ())),
            groups={
                column: group_parts(scores, column, draw, required.get(column, ()))
                for column in columns
            },
            is_estimated=draw is not None,
        )

    def _check(self, manifest: Manifest, tonight: Measured, *, finished: bool) -> list[Check]:
        """Compare and check; what fails becomes a reason."""
        before, comparison, unlike = None, None, None
        if self.baseline is None:
            self.notes.append("There is no baseline yet: what is relative to one is not checked.")
        else:
            try:
                unlike = self._unlike(self.baseline, manifest)
                comparison = self._compare(self.baseline, finished=finished)
                before = self._measure_baseline(self.baseline)
            except RunError as error:
                unlike = unlike or str(error)
            if unlike is not None:
                self.reasons.append(
                    f"it does not compare with the baseline {self.baseline.run}: {unlike}; "
                    "if that is meant, set baseline in [audit] to a run like tonight's"
                )
        checks = check_all(self.audit.require, tonight, before, comparison, unlike)
        for check in checks:
            if unlike is None or check.bound not in RELATIVE:
                self.reasons += _failures(check)
            if before is not None:
                self.notes += [one.detail for one in check.findings if one.state == "skipped"]
        return checks

    def _unlike(self, baseline: Baseline, tonight: Manifest) -> str | None:
        """What makes the scores differ besides the text."""
        manifest = RunStore(baseline.run).require_manifest()
        old, new = (
            {key: value for key, value in one.fingerprint.items() if key not in NO_MATTER}
            for one in (manifest, tonight)
        )
        found = differences(old, new)
        self.baseline = baseline.model_copy(update={"differences": found})
        if manifest.corpus != tonight.corpus and not _share_files(manifest, tonight):
            self.notes.append(f"The baseline is of other rows: {manifest.corpus}.")
        return "; ".join(found) or None

    def _compare(self, baseline: Baseline, *, finished: bool) -> Comparison:
        store = RunStore(baseline.run)
        carried = store.require_manifest().carried
        by = tuple(column for column in self.audit.columns if column in carried)
        comparison = compare_runs([store, self.store], by=by, partial=not finished)
        write_comparison(comparison, self.store.location)
        return comparison

    def _measure_baseline(self, baseline: Baseline) -> Measured:
        store = RunStore(baseline.run)
        manifest = store.require_manifest()
        return self._measure(scan_scores(store, manifest), manifest, read_draw(store))


def _share_files(one: Manifest, two: Manifest) -> bool:
    """Whether two corpora look like one that was moved, changed as it may be."""
    ours, theirs = (
        {(file.path, file.size_bytes, file.num_rows) for file in run.files} for run in (one, two)
    )
    return bool(ours & theirs)


def _failures(check: Check) -> list[str]:
    said = [one.detail for one in check.findings if one.state == "fail"]
    if (more := check.num_failed - len(said)) > 0:
        said.append(f"and {more:,} more groups by {check.by}")
    return said
