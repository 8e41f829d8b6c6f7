"""What `winnow compare` does: call the library, write, print, judge the runs.

Owns the exit code: 1 if a requirement failed.
"""

from rich.markup import escape

from jobs.cli.options import Form
from jobs.console import screen
from pipeline.comparisons.compare import compare_runs
from pipeline.comparisons.page import print_comparison, to_markdown, write_comparison
from pipeline.rendering.escaping import plain
from pipeline.reports.wording import outcome
from pipeline.runs.store import RunStore


def compare_and_print(
    runs: list[str],
    *,
    baseline: str | None,
    by: tuple[str, ...],
    fail_if: tuple[str, ...],
    out: str | None,
    text: bool,
    partial: bool,
    resamples: int,
    seed: int,
    form: Form,
) -> int:
    """Compare, write the files if a folder is named, and print. The exit code."""
    messages = screen.messages()
    with messages.status("Reading the manifests") as status:
        comparison = compare_runs(
            [RunStore(run) for run in runs],
            baseline=baseline,
            by=by,
            text=text,
            fail_if=fail_if,
            partial=partial,
            resamples=resamples,
            seed=seed,
            on_run=lambda name: status.update(f"Reading {escape(plain(name))}"),
        )
    written = None if out is None else write_comparison(comparison, out)
    if form == "json":
        print(comparison.model_dump_json(indent=2))
    elif form == "markdown":
        print(to_markdown(comparison), end="")
    else:
        print_comparison(comparison, screen.data())
    if written is not None:
        messages.print(f"Wrote {written}")
    failed = [finding for finding in comparison.requirements if finding.failed]
    for finding in failed:
        messages.print(plain(f"{finding.run}: {outcome(finding)}"), style="bold red")
    return 1 if failed else 0
