"""`winnow config show`: its options, and nothing else."""

from typing import Annotated

import typer

from jobs.cli.options import Json
from jobs.cli.parsing import Command

config_app = typer.Typer(
    help="Show the settings of a command, and their sources.", no_args_is_help=True
)


# Everything after the command's name belongs to it.
@config_app.command("show", cls=Command, context_settings={"allow_interspersed_args": False})
def show_config(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(help="A command with settings, and its options.")],
    as_json: Json = False,
) -> None:
    """Show every setting of a command as it would take effect, and where each comes from.

    An option beats an environment variable, which beats the file, which beats the default. Only
    the environment and the file are read.

    Example: winnow config show score data/ --config nightly.toml
    """
    from jobs.cli.config import show_settings

    root = context.find_root()
    commands = getattr(root.command, "commands", {})
    raise typer.Exit(show_settings(command, commands, root, as_json=as_json))
