"""What `winnow doctor` prints."""

from jobs.cli.runs import print_json
from jobs.console import screen
from jobs.doctor import examine, examine_gpu
from pipeline.engine.devices import device_named
from pipeline.errors import ConfigError, named
from pipeline.rendering.table import Marked, Table, Tone, Whole, Words
from pipeline.rendering.terminal import print_table

TONES: dict[str, Tone] = {"ok": "good", "warning": "warning", "problem": "bad"}


def examine_and_print(
    model: str | None, gpu: str | None, address: str | None, store: str | None, *, as_json: bool
) -> int:
    """Every check in a table. The exit code: 1 if there is a problem. Raises ConfigError."""
    if gpu is not None and model is None:
        raise ConfigError(
            f"{named('gpu')} needs a model to plan for",
            hint=f"add {named('model')}: a folder with a config.json, or a name on the hub",
        )
    if gpu is not None:
        device_named(gpu)  # one that is not known is a mistake in the request, not a finding
    checks = list(
        examine(model=model, address=address, store=store)
        if model is None or gpu is None
        else examine_gpu(model, gpu)
    )
    fit = all(check.status != "problem" for check in checks)
    if as_json:
        print_json({"fit": fit, "checks": [check._asdict() for check in checks]})
        return 0 if fit else 1
    table = Table(
        columns=("check", Whole(""), Words("found"), Words("what to do")),
        rows=[
            (one.name, Marked(one.status, TONES[one.status]), one.found, one.todo) for one in checks
        ],
    )
    print_table(table, screen.data())
    return 0 if fit else 1
