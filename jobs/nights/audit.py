"""One night: score, report, compare with the baseline, check the requirements, call the webhook.

Owns the order of these steps, and that a night which was stopped anywhere is resumed from there:
`audit.json` is written last, and a night that has one is not run again. The verdict itself is
pipeline/audits/judging.py's.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.console.signals import resumable
from jobs.nights.night import Night
from jobs.nights.webhook import deliver
from jobs.run.driver import Listener
from jobs.run.score import Outcome, run_score
from pipeline.audits.config import LAST, Webhook, check_expressions, grouped_columns
from pipeline.audits.history import update_history
from pipeline.audits.judging import Judge, find_baseline
from pipeline.audits.nights import Nights
from pipeline.audits.record import Audit, Delivery, NoVerdict
from pipeline.audits.sample_draw import (
    SOURCE_COLUMNS,
    SampleRecord,
    draw_sample,
    sample_of_night,
    sampled_config,
)
from pipeline.audits.trend import write_trend
from pipeline.corpus.columns import choose_columns
from pipeline.corpus.files import read_footers
from pipeline.corpus.several import find_corpus
from pipeline.errors import ConfigError, CorpusError, RunError, UsageError, first_line
from pipeline.reports.groups import check_groupable
from pipeline.reports.output import write_report
from pipeline.reports.report import build_report
from pipeline.reports.term_values import no_rows
from pipeline.runs.lock import RunLock
from pipeline.runs.manifest import Manifest, Value, differences
from pipeline.runs.sample import write_draw
from pipeline.runs.scores import is_complete
from pipeline.runs.store import RunStore
from pipeline.settings.config import ScoreConfig
from pipeline.settings.names import near_or_known

DECIDED_AS_ASKED = frozenset(
    [
        "model",
        "text_column",
        "limit",
        "context_tokens",
        "long_documents",
        "min_k_percent",
        "sample_rows",
        "sample_by",
        "seed",
    ]
)
"""Settings that a run records as they were asked for."""
log = logging.getLogger(__name__)
Score = Callable[[ScoreConfig, Listener], Outcome]
Send = Callable[..., Delivery]


@resumable()
def run_night(
    night: Night, listener: Listener, *, score: Score = run_score, send: Send = deliver
) -> tuple[Audit, bool]:
    """Run a night, or what is left of it; the record, and whether anything was left.

    A night some of whose shards failed is resumed. One that is decided keeps its verdict; parts
    that it has lost since are scored again. Raises WinnowError.
    """
    nights = Nights(night.audit.runs)
    if (done := nights.record(night.name)) is not None and done.complete and not _lost(night):
        return done, False
    with RunLock(nights.root) as lock:
        # The previous holder of the lock may have finished it.
        if (done := nights.record(night.name)) is not None and done.complete:
            _score_lost(night, nights, listener, score)
            return done, False
        with _telling(night, listener, send):
            record = _decide(night, nights, listener, score)
        lock.check()
        with _telling(night, listener, send):
            listener.phase("Writing the history")
            latest = max(record, next(nights.records(), record), key=lambda one: one.night)
            write_trend(nights, update_history(nights, record), night.audit, latest.reuse)
            nights.point_to(record)
        webhook = night.audit.webhook
        if webhook is not None and (webhook.when == "always" or record.verdict == "fail"):
            delivery = _call(webhook, night, record, listener, send)
            record = record.model_copy(update={"webhook": delivery})
        nights.write_record(record)
    return record, True


@contextmanager
def _telling(night: Night, listener: Listener, send: Send) -> Iterator[None]:
    """Tell the webhook of a night that ends without a verdict: else a channel is as quiet as after
    one that passed."""
    try:
        yield
    except Exception as error:
        _tell(night, error, listener, send)
        raise


def _tell(night: Night, error: Exception, listener: Listener, send: Send) -> None:
    if (webhook := night.audit.webhook) is None:
        return
    reasons = [first_line(error)]
    if hint := getattr(error, "hint", None):
        reasons.append(hint)
    corpus = ", ".join(night.score.corpus)
    told = NoVerdict(night=night.name, reasons=reasons, corpus=corpus, run=night.score.out)
    delivery = _call(webhook, night, told, listener, send)
    if not delivery.delivered:
        log.warning("the webhook call failed: %s", delivery.error)


def _call(
    webhook: Webhook, night: Night, record: Audit | NoVerdict, listener: Listener, send: Send
) -> Delivery:
    assert night.webhook_url is not None
    listener.phase("Calling the webhook")
    return send(webhook, night.webhook_url, record)


def _lost(night: Night) -> bool:
    """Whether parts of a decided night are gone."""
    store = RunStore(night.score.out)
    manifest = store.manifest()
    return manifest is not None and not is_complete(store, manifest)


def _score_lost(night: Night, nights: Nights, listener: Listener, score: Score) -> None:
    """Score again what a decided night has lost: the next nights are compared with it."""
    if not _lost(night):
        return
    listener.phase("Scoring the parts that this night has lost")
    sampled = night.audit.sampled
    config = sampled_config(night.score, nights.sample) if sampled else night.score
    with _hint_of(night):
        outcome = score(config, listener)
    if outcome.success is None:
        raise RunError(
            f"not every part that {night.score.out} has lost could be scored again",
            hint="run the same command again",
        )


def _decide(night: Night, nights: Nights, listener: Listener, score: Score) -> Audit:
    """Every step up to the verdict."""
    audit, store = night.audit, RunStore(night.score.out)
    baseline = find_baseline(audit, nights, night.name)
    manifest = store.manifest()
    is_new = manifest is None
    if is_new:
        _check_columns(night)
    if manifest is not None and is_complete(store, manifest):
        _check_settings(night, manifest, nights)
    sample = _sample(night, nights, listener, is_new=is_new)
    judge = Judge(audit, store, baseline, sample)
    if audit.baseline == LAST:
        judge.notes += [
            f"A night before is passed over as a baseline: {why}; delete that file and audit the "
            "night again, which scores nothing."
            for why in nights.damaged(night.name, baseline.night if baseline else None)
        ]
    if ahead := [one for one in nights.names() if one > night.today]:
        judge.notes.append(
            f"Nights in the future, as a wrong clock makes them: {', '.join(ahead)}; delete their "
            f"folders in {nights.root.location}, or they stay the latest."
        )
    if left := nights.undecided(night.name):
        judge.notes.append(
            f"Stopped before a verdict: {', '.join(left)}; "
            f"winnow audit {night.file} --night {left[-1]} goes on there."
        )
    if manifest is None or not is_complete(store, manifest):
        config = night.score if sample is None else sampled_config(night.score, nights.sample)
        reuse = _reusable(night, nights, judge.notes)
        with _hint_of(night):
            score(config.model_copy(update={"reuse": reuse}), listener)
    if sample is not None and store.require_manifest().num_rows != sample.num_drawn:
        raise RunError(
            f"the sample in {nights.sample.location} belongs to another night",
            hint=f"remove {store.location}, and a new sample is drawn for this night",
        )
    if sample is not None:
        write_draw(store, sample)
    listener.phase("Reporting")
    write_report(build_report(store, by=audit.by), store.root)
    listener.phase("Checking the requirements")
    return judge.verdict(night.name, night.settings)


@contextmanager
def _hint_of(night: Night) -> Iterator[None]:
    """Where settings or the corpus are not as when the night was begun, `out` is not the user's to
    change."""
    try:
        yield
    except UsageError as error:
        if "out" not in error.settings:
            raise
        hint = (
            f"delete {night.score.out} to begin this night anew; or leave it: the next night "
            "reuses what it has scored, where files and settings are the same"
        )
        raise type(error)(str(error), hint=hint) from error


def _check_columns(night: Night) -> None:
    """Raises ConfigError where the corpus has no such column to group by or to take figures of."""
    wanted = grouped_columns(night.audit)
    if not wanted and not any(one.fail_if for one in night.audit.require):
        return
    config = night.score
    footers, _ = read_footers(*find_corpus(config.corpus), config.text_column)
    _, _, carried = choose_columns(
        footers, text=config.text_column, id_column=config.id_column, carry=config.carry
    )
    kinds = {field.name: field.type for field in carried}
    for column, where in wanted:
        if column not in kinds:
            raise ConfigError(
                f"{where} of {night.file}: the corpus has no column '{column}'",
                hint=near_or_known(column, list(kinds)),
            )
        try:
            check_groupable(column, kinds[column])
        except RunError as error:
            raise ConfigError(f"{where} of {night.file}: {error}") from error
    check_expressions(night.audit, night.file, no_rows(carried))


def _check_settings(night: Night, manifest: Manifest, nights: Nights) -> None:
    """Scores that are complete are decided as they are: raises RunError where the file by now asks
    for others."""
    audit = night.audit
    then: dict[str, Value] = manifest.fingerprint | manifest.request
    then |= {"model": manifest.model.name, "sample_rows": "all"}
    if set(SOURCE_COLUMNS) <= set(manifest.carried):
        drawn = sample_of_night(RunStore(night.score.out), nights.sample)
        then |= {"sample_rows": drawn.num_drawn, "sample_by": drawn.by, "seed": drawn.seed}
        asked = audit.sample_rows
        if asked != "all" and (drawn.unreadable or min(asked, drawn.num_rows) == drawn.num_drawn):
            then["sample_rows"] = asked
    now = {key: value for key, value in night.settings.items() if key in DECIDED_AS_ASKED}
    if found := differences({key: then.get(key) for key in now}, now):
        raise RunError(
            f"{night.score.out} was scored with other settings: {'; '.join(found)}",
            hint=f"use the same settings as before; or delete {night.score.out}, to score this "
            "night again",
        )


def _sample(
    night: Night, nights: Nights, listener: Listener, *, is_new: bool
) -> SampleRecord | None:
    audit = night.audit
    if audit.sample_rows == "all":
        return None
    if not is_new:
        return sample_of_night(RunStore(night.score.out), nights.sample)
    listener.phase("Drawing the sample")
    sample = draw_sample(
        night.score, nights.sample, rows=audit.sample_rows, by=audit.sample_by, seed=audit.seed
    )
    if night.score.strict and sample.unreadable:
        name, reason = next(iter(sample.unreadable.items()))
        raise CorpusError(
            f"{name}: {reason} ({len(sample.unreadable)} unreadable in all)",
            hint="repair or remove it, or remove strict from [score] to audit the other files",
        )
    return sample


def _reusable(night: Night, nights: Nights, notes: list[str]) -> str | None:
    """The run of the night before, if it can be read."""
    last = nights.last_run(night.name) if night.audit.reuse else None
    if last is not None:
        try:
            RunStore(last).require_manifest()
        except RunError as error:
            notes.append(f"No scores of the night before were reused: {error}.")
            return None
    return last
