"""What `winnow report` does: build it, write its files, print it, judge the run.

Owns the exit code: 1 if a requirement failed.
"""

from jobs.cli.options import Form
from jobs.console import screen
from pipeline.errors import AccessError
from pipeline.rendering.escaping import plain
from pipeline.reports.output import print_report, to_markdown, write_report
from pipeline.reports.report import build_report
from pipeline.reports.wording import outcome
from pipeline.runs.store import RunStore
from pipeline.settings.weights import Weight


def report_and_print(
    run: str,
    *,
    by: tuple[str, ...],
    separate: str | None,
    judgements: str | None,
    fail_if: tuple[str, ...],
    baseline: str | None,
    text: bool,
    corpus: str | None,
    partial: bool,
    weight: Weight,
    form: Form,
) -> int:
    """Write the report's files and print it. The exit code."""
    store = RunStore(run)
    messages = screen.messages()
    with messages.status("Reading scores"):
        report = build_report(
            store,
            by=by,
            separate=separate,
            judgements=judgements,
            fail_if=fail_if,
            baseline=baseline,
            text=text,
            corpus=corpus,
            partial=partial,
            weight=weight,
        )
    # A run that cannot be written to still gets its report printed.
    refused: OSError | AccessError | None = None
    written = None
    try:
        # The report of a decided night is judged by its audit's requirements, and stays.
        if not (fail_if and store.is_decided_night):
            written = write_report(report, store.root)
    except (OSError, AccessError) as error:
        refused = error
    if form == "json":
        print(report.model_dump_json(indent=2))
    elif form == "markdown":
        print(to_markdown(report), end="")
    else:
        print_report(report, screen.data())
    if refused is not None:
        raise refused
    if written is None:
        screen.say(
            f"Not written: the report of the night {store.location} keeps the requirements of its "
            "audit",
            "dim",
        )
    else:
        messages.print(f"Wrote {written}")
    failed = [finding for finding in report.requirements if finding.failed]
    for finding in failed:
        messages.print(plain(outcome(finding)), style="bold red")
    return 1 if failed else 0
