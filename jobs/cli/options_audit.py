"""The command that a schedule runs every night: its options, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import ExitZero, Json


def audit(
    config: Annotated[
        Path, typer.Argument(help="A TOML file with [score], [audit] and optionally [schedule].")
    ],
    night: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD",
            help="The night to audit.  [default: today, in the schedule's time zone]",
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(help="Current location of the corpus.  [default: as the file says]"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster.  [default: Ray is started on this machine]",
            envvar=["WINNOW_AUDIT_ADDRESS", "RAY_ADDRESS"],
        ),
    ] = None,
    exit_zero: ExitZero = False,
    as_json: Json = False,
) -> None:
    """Audit a corpus for one night: score, report, compare with the last good night, check.

    The exit code is 0 if every requirement of [[audit.require]] is met, and 1 if one is not or
    something could not be scored; stderr says why. Repeat the command to resume a stopped night;
    a night with a verdict is not run again.

    Example: winnow audit nightly.toml
    """
    from jobs.cli.audit import audit_and_print

    code = audit_and_print(config, night, address, corpus, as_json=as_json)
    raise typer.Exit(0 if exit_zero else code)
