"""Options made from settings: the name, type, help and environment variables of each field.

Owns how a field looks on the command line. Nothing is checked here that the model checks.
"""

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from typer.main import get_command

from jobs.cli.parsing import PROGRAM
from pipeline.settings.fields import Setting, option_of, settings_of


def make_options(model: type[BaseModel], command: str, only: Sequence[str] = ()) -> list[Any]:
    """The parameters of a command: one per field, or per field that is named. All default to None,
    so that what was given can be told from what was not.
    """
    fields = [one for one in settings_of(model) if not only or one.name in only]

    def settings() -> None:
        """Has the parameters."""

    parameters = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=None, annotation=_typed(one, command))
        for one in fields
    ]
    settings.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    holder = typer.Typer(add_completion=False)
    holder.command()(settings)
    return get_command(holder).params


def _typed(setting: Setting, command: str) -> Any:
    kind: Any = list[str] if setting.repeated else setting.kind
    if setting.shown.positional:
        return Annotated[kind | None, typer.Argument(help=setting.help)]
    own = f"{PROGRAM}_{command}_{setting.name}".upper()
    option = typer.Option(
        *_names(setting),
        help=setting.help,
        metavar=setting.shown.form
        or (f"<{'|'.join(setting.choices)}>" if setting.choices else None),
        autocompletion=_completion(setting.choices) if setting.choices else None,
        envvar=[own, setting.shown.variable] if setting.shown.variable else None,
    )
    return Annotated[kind | None, option]


def _names(setting: Setting) -> list[str]:
    option = option_of(setting.name)
    if setting.kind is bool and setting.default:
        return [f"{option}/{option_of(f'no_{setting.name}')}"]
    return [option]


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [one for one in choices if one.startswith(incomplete)]

    return complete
