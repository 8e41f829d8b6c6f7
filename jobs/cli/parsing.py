"""The command line's own ways, on top of typer's: one class for the group, one for each command.

Owns the options that every command has, completion, and that errors reach ending.py unchanged.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from jobs.console.screen import Color, choose_color

PROGRAM = "winnow"


def _shared_options(
    color: Annotated[
        Color,
        typer.Option(
            envvar="WINNOW_COLOR",
            callback=choose_color,
            expose_value=False,
            help="Colours: auto is on a terminal, unless NO_COLOR is set.",
        ),
    ] = "auto",
) -> None:
    """Holds the options of every command."""


_holder = typer.Typer(add_completion=False)
_holder.command()(_shared_options)


class Command(TyperCommand):
    """A command with the options that all have."""

    def __init__(self, *arguments: Any, params: list[Any] | None = None, **settings: Any) -> None:
        shared = get_command(_holder).params
        super().__init__(*arguments, params=[*(params or []), *shared], **settings)


class Group(TyperGroup):
    """`winnow` itself: errors and signals are left to `run_command`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Without the option that would write into a start-up file of the shell."""
        return [one for one in super().get_params(ctx) if one.name != "install_completion"]

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        """The exit code. Raises what the command does, and typer's errors of usage."""
        if os.environ.get("_WINNOW_COMPLETE"):
            return super().main(args, PROGRAM)
        given = list(sys.argv[1:] if args is None else args)
        try:
            with self.make_context(PROGRAM, given) as context:
                self.invoke(context)
        except typer.Exit as ended:
            return ended.exit_code
        return 0
