"""What `winnow doctor` prints."""

from rich.table import Table
from rich.text import Text

from jobs.cli.runs import print_json
from jobs.console import screen
from jobs.doctor import examine
from pipeline.rendering.escaping import plain
from pipeline.rendering.terminal import print_table

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def examine_and_print(
    model: str | None, address: str | None, store: str | None, *, as_json: bool
) -> int:
    """Every check in a table. The exit code: 1 if there is a problem."""
    checks = list(examine(model=model, address=address, store=store))
    fit = all(check.status != "problem" for check in checks)
    if as_json:
        print_json({"fit": fit, "checks": [check._asdict() for check in checks]})
        return 0 if fit else 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("check", "", "found", "what to do"):
        table.add_column(name, overflow="fold", no_wrap=name == "")
    for check in checks:
        mark = Text(check.status, style=STYLES[check.status])
        table.add_row(plain(check.name), mark, Text(plain(check.found)), Text(plain(check.todo)))
    print_table(table, screen.data())
    return 0 if fit else 1
