"""What `winnow audit` prints: the night's figures, what was checked, and why it failed."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.console import screen
from jobs.console.progress import ProgressListener
from jobs.nights.night import load_night
from pipeline.audits.record import Audit, Check, Part
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import number
from pipeline.rendering.terminal import print_table
from pipeline.reports.wording import quantile_notes, sample_notes, values_of

COLUMNS = ("documents", "tokens", "perplexity", "median", "p95", "bits/byte")
STYLES = {"pass": "green", "fail": "bold red", "skipped": "yellow"}


def audit_and_print(
    file: Path, night: str | None, address: str | None, corpus: str | None, *, as_json: bool
) -> int:
    """Carry the night out and print its verdict. The exit code: 1 if it failed."""
    what = load_night(file, night, address, corpus)
    from jobs.nights.audit import run_night

    with ProgressListener() as listener:
        record, is_new = run_night(what, listener)
    messages = screen.messages()
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        print_audit(record, screen.data())
    for reason in record.reasons:
        messages.print(f"Failed: {plain(reason)}", style="bold red")
    if record.webhook is not None and not record.webhook.delivered:
        said = f"Warning: the webhook was not told: {record.webhook.error}"
        messages.print(plain(said), style="yellow")
    if not is_new:
        said = f"Decided before; delete {record.run}/audit.json to decide again."
        messages.print(said, style="dim")
    else:
        messages.print(f"Wrote {record.run}/audit.json")
    return 0 if record.verdict == "pass" else 1


def print_audit(record: Audit, console: Console) -> None:
    """The figures by group, the checks and the notes."""
    if record.sample is not None:
        for note in sample_notes(record.sample)[:1]:
            console.print(Text(note))
        console.print()
    for column, groups in (record.groups or {"corpus": {}}).items():
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column(Text(plain(column)), overflow="fold")
        for name in COLUMNS:
            table.add_column(name, justify="right", no_wrap=True)
        for name, part in groups.items():
            table.add_row(Text(plain(name)), *_cells(part))
        whole = "all" if record.sample is None else "all (estimated)"
        table.add_row(whole, *_cells(record.overall), style="bold")
        print_table(table, console)
        console.print()
    if record.checks:
        table = Table(box=None, pad_edge=False, show_header=False)
        for check in record.checks:
            state = Text(check.state, style=STYLES[check.state])
            table.add_row(state, Text(plain(_asked(check))), Text(plain(_found(check))))
        print_table(table, console)
        console.print()
    for note in [*record.notes, *quantile_notes(record.overall.figures)]:
        console.print(Text(plain(note), style="yellow"))
    if record.reuse is not None:
        console.print(Text(plain(record.reuse.in_words())), soft_wrap=True)
    against = record.baseline.run if record.baseline else "nothing: it is the first"
    console.print(
        Text(plain(f"Night {record.night}: {record.verdict}, held against {against}.")),
        soft_wrap=True,
    )


def _cells(part: Part) -> list[str]:
    figures = part.figures
    return [
        f"{figures.num_documents:,}",
        f"{figures.num_tokens:,}",
        number(figures.corpus_perplexity),
        number(part.value("p50")),
        number(part.value("p95")),
        number(figures.bits_per_byte),
    ]


def _asked(check: Check) -> str:
    if check.limit is None:
        return f"fail if {check.expression}"
    return f"{check.metric}{f' by {check.by}' if check.by else ''}, {check.bound} {check.limit:g}"


def _found(check: Check) -> str:
    if check.outcome is not None:
        return values_of(check.outcome)
    if check.by is None or check.state == "skipped":
        return "; ".join(finding.detail for finding in check.findings[:1])
    counts = {
        "met": check.num_passed,
        "not met": check.num_failed,
        "not checked": check.num_skipped,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
