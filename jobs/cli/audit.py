"""What `winnow audit` prints: the night's figures, what was checked, and why it failed."""

from pathlib import Path

from jobs.console import screen
from jobs.console.progress import ProgressListener
from jobs.nights.night import load_night
from pipeline.audits.checks import changes_since, figures_changed_since
from pipeline.audits.page import to_page
from pipeline.audits.record import Audit
from pipeline.rendering.escaping import plain
from pipeline.rendering.terminal import print_page
from pipeline.runs.store import AUDIT


def audit_and_print(
    file: Path, night: str | None, address: str | None, corpus: str | None, *, as_json: bool
) -> int:
    """Run the night and print its verdict. The exit code: 1 if it failed."""
    what = load_night(file, night, address, corpus)
    from jobs.nights.audit import run_night

    with ProgressListener() as listener:
        record, is_new = run_night(what, listener)
    messages = screen.messages()
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        print_page(to_page(record), screen.data())
    for reason in record.reasons:
        messages.print(f"Failed: {plain(reason)}", style="bold red")
    if record.webhook is not None and not record.webhook.delivered:
        said = f"Warning: the webhook call failed: {record.webhook.error}"
        messages.print(plain(said), style="yellow")
    verdict = f"{what.score.out}/{AUDIT}"
    if is_new:
        messages.print(f"Wrote {verdict}")
        return _exit_code(record)
    changes = changes_since(record, what.audit)
    scored = figures_changed_since(record, what.settings)
    if changes or scored:
        changed = "; ".join(changes + scored)
        said = f"Warning: {file} has changed since this night was decided: {changed}"
        messages.print(plain(said), style="yellow")
        anew = bool(scored) or record.has_unreadable
        how = "score and decide it again" if anew else "decide it again without scoring"
        delete = what.score.out if anew else verdict
        then = f"winnow audit {file} --night {record.night}"
        messages.print(f"Hint: to {how}: delete {delete}, then {then}")
    elif record.has_unreadable:  # a note says what to do about it
        messages.print("This night is already decided.", style="dim")
    else:
        messages.print(
            f"This night is already decided; delete {verdict} to decide it again.", style="dim"
        )
    return _exit_code(record)


def _exit_code(record: Audit) -> int:
    return 0 if record.verdict == "pass" else 1
