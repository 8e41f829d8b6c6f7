"""What `winnow filter` prints: how much the rules keep, of what, and what they could not decide."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.cli.runs import print_json
from jobs.console import screen
from jobs.console.signals import resumable
from pipeline.errors import ConfigError, counted
from pipeline.filters.config import FilterConfig
from pipeline.filters.counts import NO_VALUE, UNSEEN
from pipeline.filters.filtering import check_outcome, decide
from pipeline.filters.output import FilterWriter
from pipeline.filters.page import to_page
from pipeline.filters.record import FilterRecord
from pipeline.rendering.escaping import plain
from pipeline.rendering.terminal import print_page

REASONS = {NO_VALUE: "without a value of the metric", UNSEEN: "not scored yet"}
"""What people are told where a status does not say it."""


def filter_and_print(config: FilterConfig, by: str | None, *, dry_run: bool, as_json: bool) -> int:
    """Decide, write unless it is a dry run, and print the outcome.

    The exit code: 1 if the run lacks documents of the corpus.
    """
    if config.out is None and not dry_run:
        raise ConfigError(
            "out is not set", hint="give --out, or see what the rules would keep with --dry-run"
        )
    messages = screen.messages()
    with messages.status("Reading the scores"):
        request = decide(config, by=by, may_be_empty=dry_run)
    record = request.record()
    if not dry_run:
        assert config.out is not None
        with resumable(), _progress(messages) as bar:
            task = bar.add_task("", total=None)
            record = FilterWriter(request, config.out).write(
                lambda done, total: bar.update(task, completed=done, total=total)
            )
    if as_json:
        check_outcome(config, request.counts)
        print_json({"out": None if dry_run else config.out, **record.model_dump()})
    else:
        print_page(to_page(record), screen.data())
        check_outcome(config, request.counts)  # a dry run shows first why nothing is kept
    _print_notes(config, record, messages, dry_run=dry_run)
    return 1 if record.unreadable or record.partial else 0


def _progress(messages: Console) -> Progress:
    return Progress(
        TextColumn("Writing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents,"),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    )


def _print_notes(
    config: FilterConfig, record: FilterRecord, messages: Console, *, dry_run: bool
) -> None:
    if record.keeps_everything:
        messages.print("The rules keep every scored document.")
    if record.unscored:
        reasons = ", ".join(
            f"{count:,} {REASONS.get(reason, reason)}" for reason, count in record.unscored.items()
        )
        fate = "kept" if record.kept_unscored else "dropped"
        total = sum(record.unscored.values())
        some = f"{record.kept_unscored:,} of " if 0 < record.kept_unscored < total else ""
        whole = counted(total, "document without a score is", "documents without a score are")
        messages.print(f"{some}{whole} {fate}: {reasons}")
    for name, reason in record.unreadable.items():
        messages.print(
            f"Neither kept nor rejected: {plain(name)}: {plain(reason)}",
            style="yellow",
        )
    if record.partial:
        messages.print("The run is not complete: the output is marked as partial.", style="yellow")
    if dry_run:
        messages.print("Dry run: nothing was written.")
    else:
        rejects = f" and {config.rejects}" if config.rejects else ""
        messages.print(f"Wrote {config.out}{rejects}")
