"""A night from its configuration to its verdict, without Ray: order, resuming, baselines, words."""

import json
import math
import re
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jobs.nights.night import load_night
from jobs.nights.webhook import slack_message
from pipeline.audits.nights import Nights
from pipeline.audits.page import to_page
from pipeline.audits.record import Audit, Delivery, NoVerdict
from pipeline.errors import ConfigError, RunError, WinnowError
from pipeline.rendering import formats
from pipeline.rendering.terminal import print_page
from pipeline.reports.report import build_report
from pipeline.runs.lock import RunLock
from tests.support.audits import Audits, Scorer

MONDAY, TUESDAY, WEDNESDAY = "2026-01-05", "2026-01-06", "2026-01-07"
PERPLEXITY = '[[audit.require]]\nmetric = "corpus_perplexity"\n'
HOOK = '[audit.webhook]\nurl = "http://127.0.0.1:1/secret"\n'


@pytest.fixture
def audits(tmp_path: Path, tiny_model: Path) -> Audits:
    found = Audits(tmp_path, tiny_model)
    for name in ("a", "b"):
        found.write(name, [f"{name} document {i} " + "word " * i for i in range(12)])
    return found


class Told:
    """A webhook that remembers."""

    def __init__(self) -> None:
        self.records: list[Audit | NoVerdict] = []
        self.delivery = Delivery(delivered=True, attempts=1, error=None)

    def __call__(self, webhook, url, record) -> Delivery:
        self.records.append(record)
        return self.delivery

    @property
    def verdicts(self) -> list[str]:
        return [record.verdict for record in self.records]


def test_nights_follow_each_other(audits):
    audits.configure('by = "source"', extra=PERPLEXITY + "max = 1000\nmax_increase = 0.01\n")
    first = audits.night(MONDAY)
    assert (first.verdict, first.reasons, first.baseline) == ("pass", [], None)
    assert "no baseline yet" in first.notes[0]
    assert [check.state for check in first.checks] == ["pass", "skipped"]

    scorer = Scorer()
    second = audits.night(TUESDAY, scorer)
    assert scorer.num_scored == 0, "nothing changed, so everything is reused"
    assert (second.verdict, second.baseline.night) == ("pass", MONDAY)
    assert second.reuse.num_rows == second.overall.figures.num_documents == 24
    assert second.overall == first.overall

    # Texts that the fake engine finds harder or easier: other characters.
    audits.write("c", ["~" * 300] * 12)
    scorer = Scorer()
    third = audits.night(WEDNESDAY, scorer)
    assert scorer.num_scored > 0
    assert third.reuse.num_rows == 24
    scores = pl.read_parquet(audits.runs / WEDNESDAY / "scores" / "*.parquet")
    nll, tokens = scores["nll"].sum(), scores["num_tokens"].sum()
    assert third.overall.figures.corpus_perplexity == pytest.approx(
        2.718281828459045 ** (nll / tokens)
    )

    for name in ("report.html", "comparison.html", "audit.json"):
        assert (audits.runs / WEDNESDAY / name).exists()
    history = pl.read_parquet(audits.runs / "history.parquet")
    assert history.filter(pl.col("by").is_null())["night"].dt.to_string().to_list() == [
        MONDAY,
        TUESDAY,
        WEDNESDAY,
    ]
    assert json.loads((audits.runs / "latest.json").read_text())["night"] == WEDNESDAY
    assert (audits.runs / "latest").resolve() == audits.runs / WEDNESDAY


def test_a_failed_night_is_no_baseline(audits):
    audits.configure(extra=PERPLEXITY + "max = 1000\n")
    audits.night(MONDAY)
    audits.configure(extra=PERPLEXITY + "max = 1.5\n")
    failed = audits.night(TUESDAY)
    assert failed.verdict == "fail"
    [reason] = failed.reasons
    assert reason.startswith("corpus_perplexity is ")
    assert reason.endswith("max 1.5")
    scorer = Scorer()
    third = audits.night(WEDNESDAY, scorer)
    assert third.baseline.night == MONDAY
    # Its scores are as good as any.
    assert scorer.num_scored == 0
    assert third.reuse.run == str(audits.runs / TUESDAY)


def test_a_night_that_is_made_up_for_looks_back_alone(audits):
    """Of the nights after it, it takes no scores and is compared with none."""
    for night in (MONDAY, WEDNESDAY):
        audits.night(night)
    found = audits.night(TUESDAY)
    assert (found.baseline.night, Path(found.reuse.run).name) == (MONDAY, MONDAY)
    assert Nights(str(audits.runs)).last_run(WEDNESDAY).endswith(TUESDAY)
    page = (audits.runs / "trend.html").read_text()
    assert f"from {audits.runs}/{MONDAY}." in page, "what the latest night reused"
    audits.write("c", ["one more"])
    first = audits.night("2026-01-02")
    assert (first.baseline, first.reuse) == (None, None)
    assert f"from {audits.runs}/{MONDAY}." in (audits.runs / "trend.html").read_text()


def test_a_decided_night_is_not_done_again(audits):
    audits.configure(extra=PERPLEXITY + "max = 1\n" + HOOK)
    told = Told()
    first = audits.night(MONDAY, send=told)
    files = {path: path.stat().st_mtime_ns for path in audits.runs.rglob("*")}
    scorer = Scorer()
    assert audits.night(MONDAY, scorer, send=told) == first
    assert scorer.num_calls == 0
    assert told.verdicts == ["fail"]
    assert {path: path.stat().st_mtime_ns for path in audits.runs.rglob("*")} == files


def test_shards_that_were_given_up_fail_the_night_and_are_tried_again(audits):
    audits.configure(extra=HOOK)
    told = Told()
    first = audits.night(MONDAY, Scorer(give_up=1), send=told)
    assert (first.verdict, first.complete) == ("fail", False)
    assert "1 of " in first.reasons[0]
    assert "made to" in first.reasons[1]
    scorer = Scorer()
    again = audits.night(MONDAY, scorer, send=told)
    assert (again.verdict, again.complete) == ("pass", True)
    assert scorer.num_scored == 1
    assert told.verdicts == ["fail", "pass"]
    history = pl.read_parquet(audits.runs / "history.parquet")
    assert history["verdict"].to_list() == ["pass"]


def test_stopped_after_scoring_it_goes_on_there(audits):
    def stop(*_):
        raise KeyboardInterrupt

    audits.configure(extra=HOOK)
    with pytest.raises(KeyboardInterrupt):
        audits.night(MONDAY, send=stop)
    assert Nights(str(audits.runs)).record(MONDAY) is None
    # By then the corpus may be tomorrow's.
    audits.write("c", ["new"] * 3)
    scorer, told = Scorer(), Told()
    assert audits.night(MONDAY, scorer, send=told).overall.figures.num_documents == 24
    assert scorer.num_calls == 0
    assert told.verdicts == ["pass"]


class Losing(Scorer):
    """After it, a part is gone that nobody gave up."""

    def __call__(self, config, listener):
        outcome = super().__call__(config, listener)
        (Path(config.out) / "scores/part-00001.parquet").unlink()
        return outcome


def test_a_night_that_lost_a_part_has_no_verdict_until_it_is_scored_anew(audits):
    whole = audits.night(MONDAY)
    with pytest.raises(RunError, match=rf"{TUESDAY}/scores/part-00001\.parquet is missing"):
        audits.night(TUESDAY, Losing())
    assert Nights(str(audits.runs)).record(TUESDAY) is None
    again = audits.night(TUESDAY)
    assert (again.verdict, again.overall) == ("pass", whole.overall)


def test_a_decided_night_that_lost_a_part_is_scored_anew_and_keeps_its_verdict(audits):
    audits.configure(extra=PERPLEXITY + "max_increase = 0.5\n")
    decided = audits.night(MONDAY)
    lost = audits.runs / MONDAY / "scores/part-00001.parquet"
    lost.unlink()
    failed = audits.night(TUESDAY)
    assert failed.verdict == "fail"
    [reason] = failed.reasons
    assert "part-00001.parquet is missing" in reason
    assert f"audit the night {MONDAY} again" in reason
    assert "set baseline" not in reason
    before = (audits.runs / MONDAY / "audit.json").read_bytes()
    with pytest.raises(RunError, match="could be scored again"):
        audits.night(MONDAY, Scorer(give_up=1))
    scorer = Scorer()
    assert audits.night(MONDAY, scorer) == decided
    assert (scorer.num_scored, lost.exists()) == (1, True)
    assert (audits.runs / MONDAY / "audit.json").read_bytes() == before
    (audits.runs / TUESDAY / "audit.json").unlink()
    assert audits.night(TUESDAY).verdict == "pass"


def test_a_baseline_that_lost_its_manifest(audits):
    """What to do is said, and ends it: until then every night fails, compared with this one."""
    audits.configure(extra=PERPLEXITY + "max_increase = 0.5\n")
    audits.night("2026-01-04")
    audits.night(MONDAY)
    (audits.runs / MONDAY / "manifest.json").unlink()
    failed = audits.night(TUESDAY)
    [reason] = failed.reasons
    assert f"; delete {audits.runs / MONDAY}, so that nights are compared with an earlier" in reason
    shutil.rmtree(audits.runs / MONDAY)
    (audits.runs / TUESDAY / "audit.json").unlink()
    again = audits.night(TUESDAY)
    assert (again.verdict, again.baseline.night) == ("pass", "2026-01-04")


def test_a_night_whose_verdict_is_damaged_is_passed_over_and_said(audits):
    audits.night(MONDAY)
    audits.night(TUESDAY)
    (audits.runs / TUESDAY / "audit.json").write_text("{")
    found = audits.night(WEDNESDAY)
    assert (found.baseline.night, found.verdict) == (MONDAY, "pass")
    [note] = [one for one in found.notes if "is passed over" in one]
    assert f"{audits.runs / TUESDAY}/audit.json is damaged" in note
    (audits.runs / TUESDAY / "audit.json").unlink()
    audits.night(TUESDAY)
    assert audits.night("2026-01-08").notes == []


def test_a_torn_file_fails_the_night(audits):
    audits.night(MONDAY)
    (audits.corpus / "c.parquet").write_bytes(b"PAR1 torn")
    record = audits.night(TUESDAY)
    assert record.verdict == "fail"
    assert record.reasons[0].startswith("not scored: c.parquet: not a readable Parquet file")
    folder = audits.runs / TUESDAY
    assert any(f"After repairing it, delete {folder} and audit" in note for note in record.notes)
    audits.write("c", ["repaired"] * 3)
    assert audits.night(TUESDAY).verdict == "fail", "the plan is frozen"
    shutil.rmtree(folder)
    scorer = Scorer()
    again = audits.night(TUESDAY, scorer)
    assert (again.verdict, again.reuse.num_rows) == ("pass", 24)
    assert again.overall.figures.num_documents == 27
    assert not any("repairing" in note for note in again.notes)


def test_another_model_is_a_finding(audits):
    audits.configure(extra=PERPLEXITY + "max_increase = 10\nmax = 1000\n")
    audits.night(MONDAY)
    audits.configure(
        score="context_tokens = 3\n", extra=PERPLEXITY + "max_increase = 10\nmax = 1000\n"
    )
    record = audits.night(TUESDAY)
    assert record.verdict == "fail"
    assert record.baseline.differences == ["context_tokens 1 -> 3"]
    [reason] = record.reasons
    assert "context_tokens 1 -> 3" in reason
    assert {check.bound: check.state for check in record.checks} == {
        "max": "pass",
        "max_increase": "fail",
    }
    # What is meant is said by naming a run.
    audits.configure(
        f'baseline = "{audits.runs / TUESDAY}"',
        score="context_tokens = 3\n",
        extra=PERPLEXITY + "max_increase = 10\n",
    )
    accepted = audits.night(WEDNESDAY)
    assert accepted.verdict == "pass"
    assert accepted.baseline.run == str(audits.runs / TUESDAY)


def test_the_webhook_may_want_failures_alone(audits):
    told = Told()
    audits.configure(extra=HOOK + 'when = "failure"\n')
    audits.night(MONDAY, send=told)
    assert told.verdicts == []
    audits.configure(extra=PERPLEXITY + "max = 1\n" + HOOK + 'when = "failure"\n')
    assert audits.night(TUESDAY, send=told).webhook.delivered
    assert told.verdicts == ["fail"]
    for path in audits.runs.rglob("*"):
        if path.is_file():
            assert b"/secret" not in path.read_bytes(), path


def test_the_webhook_is_told_of_a_night_without_a_verdict(audits, caplog):
    told = Told()
    audits.configure(score='text_column = "body"\n', extra=HOOK + 'when = "failure"\n')
    with pytest.raises(WinnowError) as raised:
        audits.night(MONDAY, send=told)
    [record] = told.records
    assert record.model_dump() == {
        "night": MONDAY,
        "verdict": "error",
        "reasons": [str(raised.value), raised.value.hint],
        "corpus": str(audits.corpus),
        "run": str(audits.runs / MONDAY),
    }
    assert slack_message(record)["text"].startswith(
        f"Winnow audit of {audits.corpus}, night {MONDAY}: ERROR\n\N{BULLET} {raised.value}"
    )
    assert not caplog.records
    told.delivery = Delivery(delivered=False, attempts=3, error="it answered 500")
    with pytest.raises(WinnowError):
        audits.night(MONDAY, send=told)
    assert caplog.messages == ["the webhook call failed: it answered 500"]


def test_the_webhook_is_told_where_the_history_cannot_be_written(audits):
    told = Told()
    audits.configure(extra=HOOK)
    (audits.runs / "history.parquet").mkdir(parents=True)
    with pytest.raises(RunError, match=r"history\.parquet is a folder, not a file"):
        audits.night(MONDAY, send=told)
    (audits.runs / "history.parquet").rmdir()
    assert audits.night(MONDAY, send=told).verdict == "pass"
    assert told.verdicts == ["error", "pass"]


def test_two_at_once(audits):
    with RunLock(Nights(str(audits.runs)).root), pytest.raises(RunError, match="is being written"):
        audits.night(MONDAY)
    assert audits.night(MONDAY).verdict == "pass"


def test_a_sample_is_drawn_once_and_speaks_for_the_corpus(audits):
    audits.configure(
        'by = "source"\nsample_rows = 10\nsample_by = "source"\n',
        extra='[[audit.require]]\nmetric = "num_documents"\nmin = 24\nmax = 24\n',
    )
    first = audits.night(MONDAY)
    assert first.verdict == "pass", first.reasons
    assert (first.sample.num_rows, first.sample.num_drawn) == (24, 10)
    assert first.overall.figures.num_documents == 24
    estimate = first.sample.estimates["corpus_perplexity"]
    assert estimate.value == pytest.approx(first.overall.figures.corpus_perplexity)
    assert estimate.interval.low < estimate.value < estimate.interval.high
    scores = pl.read_parquet(audits.runs / MONDAY / "scores" / "*.parquet")
    assert scores.height == 10
    # Every drawn row is the row of the corpus that it says it is.
    for file, row, doc_id in scores.select("source_file", "source_row", "doc_id").iter_rows():
        assert pq.read_table(audits.corpus / file)["id"][row].as_py() == doc_id
    scorer = Scorer()
    second = audits.night(TUESDAY, scorer)
    assert scorer.num_scored == 0
    assert second.overall == first.overall


def test_a_sampled_night_that_is_decided_anew_keeps_its_own_weights(audits):
    """Whatever later nights have drawn since, of as many rows; earlier versions did not keep it."""
    audits.configure('by = "source"\nsample_rows = 10\nsample_by = "source"\n')
    (audits.corpus / "torn.parquet").write_bytes(b"PAR1 torn")
    first = audits.night(MONDAY)
    audits.write("c", ["~" * 50] * 40, ["web"] * 40)
    second = audits.night(TUESDAY)
    assert first.sample.num_drawn == second.sample.num_drawn
    (audits.runs / MONDAY / "audit.json").unlink()
    again = audits.night(MONDAY)
    assert again.sample == first.sample
    assert again.overall.figures.num_documents == 24
    assert again.reasons == first.reasons

    (audits.runs / MONDAY / "audit.json").unlink()
    kept = audits.runs / MONDAY / "sample.json"
    own = json.loads(kept.read_text())
    kept.write_text(json.dumps({k: own[k] for k in own if k not in ("corpus", "unreadable")}))
    with pytest.raises(RunError, match="belongs to another night"):
        audits.night(MONDAY)


def test_a_sample_and_every_row_are_of_one_corpus(audits):
    audits.configure("sample_rows = 10")
    audits.night(MONDAY)
    audits.configure()
    assert audits.night(TUESDAY).notes == [
        "The baseline scored a sample, and this night every row."
    ]
    audits.configure("sample_rows = 10")
    assert audits.night(WEDNESDAY).notes == [
        "The baseline scored every row, and this night a sample."
    ]


MISTAKES = {
    "by in the audit": ('by = "sorce"', "", "by in [audit]", "did you mean 'source'?"),
    "sample_by": (
        'sample_rows = 9\nsample_by = "lang"',
        "",
        "sample_by in [audit]",
        "known: source",
    ),
    "too few rows": (
        'sample_rows = 3\nsample_by = "source"',
        "",
        "sample_rows = 3 is too few",
        "at least 4",
    ),
    "baseline": ('baseline = "lats"', "", "baseline in [audit]: /", "give the output folder"),
}


@pytest.mark.parametrize(("audit", "score", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_before_any_work(audits, audit, score, message, hint):
    audits.configure(audit, score=score)
    scorer = Scorer()
    with pytest.raises((ConfigError, RunError)) as raised:
        audits.night(MONDAY, scorer)
    assert message in str(raised.value)
    assert hint in raised.value.hint
    assert raised.value.exit_code == 2
    assert scorer.num_calls == 0
    assert not (audits.runs / MONDAY).exists()


def test_a_baseline_that_is_not_finished(audits):
    audits.night(MONDAY)
    (audits.runs / MONDAY / "_SUCCESS").unlink()
    audits.configure(f'baseline = "{audits.runs / MONDAY}"')
    said = re.escape(f"baseline in [audit]: {audits.runs / MONDAY} is not finished")
    with pytest.raises(RunError, match=said):
        audits.night(TUESDAY)


def test_a_column_that_cannot_be_grouped_by(audits):
    audits.file.write_text(
        audits.file.read_text().replace('["source"]', '["*"]') + 'by = ["txt"]\n'
    )
    scorer = Scorer()
    with pytest.raises(ConfigError, match=r"by in \[audit\] of .*: the corpus has no column 'txt'"):
        audits.night(MONDAY, scorer)
    assert scorer.num_calls == 0


@pytest.mark.parametrize("night", ["yesterday", "2026-1-5", "2026-02-30", "20260105"])
def test_a_night_is_a_date(audits, night):
    with pytest.raises(ConfigError, match="is not a date"):
        load_night(audits.file, night)


def test_a_night_to_come(audits):
    with pytest.raises(ConfigError, match="is in the future"):
        load_night(audits.file, "2999-01-01")


def test_nights_of_a_clock_that_was_wrong_are_said(audits):
    """They would be the latest for years."""
    audits.night(MONDAY)
    shutil.copytree(audits.runs / MONDAY, audits.runs / "2999-01-01")
    [note] = [one for one in audits.night(TUESDAY).notes if "in the future" in one]
    assert f": 2999-01-01; delete their folders in {audits.runs}, or" in note
    verdict = json.loads((audits.runs / MONDAY / "audit.json").read_text())
    verdict["night"] = "2999-01-01"
    (audits.runs / "2999-01-01/audit.json").write_text(json.dumps(verdict))
    (audits.runs / "latest.json").write_text(
        json.dumps({"night": "2999-01-01", "run": "x", "verdict": "pass"})
    )
    audits.night(WEDNESDAY)
    assert json.loads((audits.runs / "latest.json").read_text())["night"] == "2999-01-01"
    shutil.rmtree(audits.runs / "2999-01-01")
    shutil.rmtree(audits.runs / MONDAY)  # no longer wanted
    assert not any("in the future" in one for one in audits.night("2026-01-08").notes)
    assert json.loads((audits.runs / "latest.json").read_text())["night"] == "2026-01-08"
    nights = pl.read_parquet(audits.runs / "history.parquet")["night"].unique().sort()
    assert nights.to_list() == [date(2026, 1, day) for day in (5, 6, 7, 8)]


def test_the_schedule_names_the_time_zone(audits, monkeypatch):
    text = audits.file.read_text()
    names = set()
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart
        audits.file.write_text(text + f'[schedule]\ncron = "0 3 * * *"\ntime_zone = "{zone}"\n')
        names.add(load_night(audits.file, None).name)
    assert len(names) == 2


def test_a_sampled_night_has_one_corpus_perplexity(audits, capsys):
    """Drawn out of proportion, so that what is not weighted shows: two rows of the rare stratum."""
    audits.write("c", ["~" * 200] * 6 + ["the of the of"] * 60, ["rare"] * 6 + ["web"] * 60)
    audits.configure('by = "source"\n', extra=PERPLEXITY + "max = 1e6\n")
    every = audits.night(MONDAY)
    audits.configure(
        'by = "source"\nsample_rows = 14\nsample_by = "source"\nreuse = false\n',
        extra=PERPLEXITY + "max = 1\nmax_increase = 0.5\nmax_psi = 9\n",
    )
    record = audits.night(TUESDAY)
    night = audits.runs / TUESDAY
    estimate = record.sample.estimates["corpus_perplexity"]
    scores = pl.read_parquet(night / "scores" / "*.parquet")
    of_the_rows = math.exp(scores["nll"].sum() / scores["num_tokens"].sum())
    assert abs(of_the_rows / estimate.value - 1) > 0.01, "or this test shows nothing"
    true = every.overall.figures.corpus_perplexity
    assert estimate.interval.low < true < estimate.interval.high

    report = json.loads((night / "report.json").read_text())
    comparison = json.loads((night / "comparison.json").read_text())
    compared = next(run for run in comparison["runs"] if run["sample"])
    shift = comparison["shifts"][0]["overall"]["changes"]["perplexity"]
    history = pl.read_parquet(audits.runs / "history.parquet")
    own = history.filter((pl.col("night") == date(2026, 1, 6)) & pl.col("by").is_null())
    check = record.checks[0].findings[0]
    for value in (
        record.overall.figures.corpus_perplexity,
        report["overall"]["corpus_perplexity"],
        report["sample"]["estimates"]["corpus_perplexity"]["value"],
        compared["figures"]["corpus_perplexity"],
        shift["value"],
        own["corpus_perplexity"].item(),
        check.value,
    ):
        assert value == pytest.approx(estimate.value, rel=1e-12)
    assert shift["baseline"] == pytest.approx(true)
    assert shift["interval"]["low"] <= shift["difference"] <= shift["interval"]["high"]
    assert compared["intervals"]["perplexity"] == estimate.interval.model_dump()
    groups = {one["value"]: one["figures"] for one in report["groups"]["source"]}
    for name, part in record.groups["source"].items():
        figures = part.figures.model_dump()
        intervals = figures.pop("intervals")
        reported = groups[name].pop("intervals")
        assert groups[name] == figures
        assert reported.keys() == intervals.keys()
        # Products of matrices differ in their last digit from one process to the next.
        for key, interval in intervals.items():
            assert reported[key] == pytest.approx(interval, rel=1e-12)
    quantiles = compared["figures"]["quantiles"]["perplexity"]
    assert quantiles["p50"] == pytest.approx(compared["percentiles"]["perplexity"][50])
    assert quantiles["p50"] == pytest.approx(report["overall"]["quantiles"]["perplexity"]["p50"])

    # In words, wherever it is shown, and never the other number.
    print_page(to_page(record), Console(width=120))
    shown = {"terminal": capsys.readouterr().out, "audit.json": (night / "audit.json").read_text()}
    for name in ("report.html", "report.md", "comparison.html", "comparison.md"):
        shown[name] = (night / name).read_text()
    shown["trend.html"] = (audits.runs / "trend.html").read_text()
    value, _ = formats.estimate(estimate.value, estimate.interval)
    wrong, _ = formats.estimate(of_the_rows, estimate.interval)
    for name, text in shown.items():
        assert "estimated" in text, name
        assert value in text or name == "audit.json", name
        assert re.search(rf"(?<![\d.]){re.escape(wrong)}(?!\d)", text) is None, name
    for name in ("terminal", "report.html", "report.md", "trend.html"):
        assert "estimated, 95% interval" in shown[name].replace("\n", " "), name
    assert "estimated at" in record.reasons[0]
    # What `winnow report` makes of the night later is the same, and so is what it judges.
    again = build_report(str(night), fail_if=f"corpus_perplexity > {estimate.value + 1e-9}")
    assert again.overall.model_dump() == report["overall"]
    assert not again.requirements[0].failed


def test_a_night_of_the_first_version_is_still_a_sample(audits):
    """It noted its draw down in audit.json alone."""
    audits.configure('sample_rows = 10\nsample_by = "source"\n')
    audits.night(MONDAY)
    night = audits.runs / MONDAY
    before = build_report(str(night), text=False).overall
    (night / "sample.json").unlink()
    assert build_report(str(night), text=False).overall == before
    (night / "audit.json").write_text('{"sample": {"by"')
    with pytest.raises(RunError, match=r"audit\.json is damaged"):
        build_report(str(night))


def test_quantiles_that_are_required_are_exact(audits, monkeypatch):
    """However coarse the sketch; and the figures of the night say the same."""
    monkeypatch.setattr("pipeline.statistics.sketches.FINE_ROWS", 0)
    monkeypatch.setattr("pipeline.statistics.sketches.COARSE", 1)
    requirement = '[[audit.require]]\nmetric = "p75"\nmax = 1\n'
    audits.configure(
        'by = "source"\n', extra=requirement + requirement.replace("max", 'by = "source"\nmax')
    )
    record = audits.night(MONDAY)
    scores = pl.read_parquet(audits.runs / MONDAY / "scores" / "*.parquet")
    exact = np.quantile(scores["perplexity"].drop_nulls(), 0.75)
    assert record.checks[0].findings[0].value == pytest.approx(exact, rel=1e-12)
    assert record.overall.figures.quantiles["perplexity"]["p75"] == pytest.approx(exact, rel=1e-12)
    for finding in record.checks[1].findings:
        own = scores.filter(pl.col("source") == finding.group)["perplexity"].drop_nulls()
        assert finding.value == pytest.approx(np.quantile(own, 0.75), rel=1e-12)
    assert record.overall.figures.quantile_error > 1
    note = "Quantiles come from histograms"
    assert note in (audits.runs / MONDAY / "report.md").read_text()
