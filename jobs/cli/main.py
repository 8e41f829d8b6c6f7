"""The `winnow` command: `winnow score`, and every other command put together.

stdout is data, stderr progress and errors. How a command ends is console/ending.py's.
"""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from jobs.cli.options import Json
from jobs.cli.options_audit import audit
from jobs.cli.options_cluster import jobs_app, schedule, submit
from jobs.cli.options_config import config_app
from jobs.cli.options_reports import (
    FilterCommand,
    ReportCommand,
    compare,
    explore,
    filter_corpus,
    report,
    show,
)
from jobs.cli.options_runs import PlanCommand, doctor, gc, plan, status, verify
from jobs.cli.parsing import Command, Group, SettingsCommand
from jobs.console.ending import EXIT_CODES, begin_process, run_process

app = typer.Typer(
    name="winnow",
    cls=Group,
    epilog=EXIT_CODES,
    help="Score text corpora with a language model, and act on the scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "WINNOW"},
)


def main() -> NoReturn:
    """The console script."""
    begin_process()
    run_process(app)


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and commit.", show_envvar=False)
    ] = False,
) -> None:
    """Score text corpora with a language model, and act on the scores."""
    if show_version:
        from jobs.console.version import version_line

        print(version_line())
        raise typer.Exit


class ScoreCommand(SettingsCommand):
    """`winnow score`: every setting of a run."""

    source = ("pipeline.settings.config", "ScoreConfig")


@app.command(cls=ScoreCommand)
def score(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with these settings under [score].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score every document of a corpus, or finish an interrupted run.

    Stop it at any moment and run the same command again: finished shards are kept.

    Example: winnow score data/ --out runs/first --model HuggingFaceTB/SmolLM2-135M --carry source
    """
    from jobs.cli.runs import dry_run_score, score_and_print
    from pipeline.settings.config import load_score_config

    settings = load_score_config(config, context.obj)
    if dry_run:
        dry_run_score(settings, as_json=as_json)
        return
    raise typer.Exit(score_and_print(settings, as_json=as_json))


app.command(cls=PlanCommand)(plan)
for command in (status, verify, gc, doctor, show, explore, compare, audit, schedule):
    app.command(cls=Command)(command)
app.command(cls=ReportCommand)(report)
app.command(name="filter", cls=FilterCommand)(filter_corpus)
# Everything after the first word belongs to the command that is submitted.
app.command(cls=Command, context_settings={"allow_interspersed_args": False})(submit)
app.add_typer(jobs_app, name="jobs")
app.add_typer(config_app, name="config")
