"""What `winnow report` does: build it, write its files, print it, judge the run.

Owns the exit code: 1 if a requirement failed.
"""

from jobs import screen
from pipeline.escaping import plain
from pipeline.pages.render import print_report, write_report
from pipeline.pages.wording import values_of, verdict
from pipeline.reports.report import build_report
from pipeline.store import RunStore


def report_and_print(
    run: str,
    *,
    by: tuple[str, ...],
    separate: str | None,
    fail_if: tuple[str, ...],
    text: bool,
    as_json: bool,
) -> int:
    """Write the report's files and print it. The exit code."""
    store = RunStore(run)
    messages = screen.messages()
    with messages.status("Reading scores"):
        report = build_report(store, by=by, separate=separate, fail_if=fail_if, text=text)
        written = write_report(report, store)
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        print_report(report, screen.data())
    messages.print(f"Wrote {written}")
    failed = [finding for finding in report.requirements if finding.failed]
    for finding in failed:
        what = f"{verdict(finding)}: {finding.expression}: {values_of(finding)}"
        messages.print(plain(what), style="bold red")
    return 1 if failed else 0
