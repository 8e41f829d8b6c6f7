"""How the command line differs from typer: one class for the group, one for each command.

Owns the options that every command has, that none of them is given twice, when a command's settings
are imported, completion, and that errors reach ending.py unchanged.
"""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from jobs.console.ending import spelling
from jobs.console.screen import Color, choose_color
from pipeline.errors import ConfigError, UsageError

PROGRAM = "winnow"
EXPRESSION = "EXPRESSION"
"""Form of an option whose values have blanks in them: its environment variable holds one per line,
where those of other repeatable options are split at blanks."""


def _shared_options(
    color: Annotated[
        Color,
        typer.Option(
            envvar="WINNOW_COLOR",
            callback=choose_color,
            expose_value=False,
            help="When to print colours: auto is on a terminal, unless NO_COLOR is set.",
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
        for one in params or []:
            if one.metavar == EXPRESSION:
                one.split_envvar_value = _lines

    def make_parser(self, ctx: Any) -> Any:
        """A parser that refuses an option that would silently override itself."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> tuple[dict[str, Any], list[str], list[Any]]:
            values, rest, order = parse(args)
            if not ctx.resilient_parsing:
                _refuse_repeated(order)
            return values, rest, order

        parser.parse_args = parse_args
        return parser

    def get_short_help_str(self, limit: int = 0) -> str:
        """The whole first sentence: the list of commands breaks lines, not sentences."""
        return super().get_short_help_str(1000)

    def invoke(self, ctx: Any) -> Any:
        """Call the function; its errors name options."""
        with spelling(self):
            return super().invoke(ctx)


def _lines(variable: str) -> list[str]:
    return [line for line in variable.splitlines() if line.strip()]


def _refuse_repeated(given: Sequence[Any]) -> None:
    """Raises ConfigError for an option that is among those given more often than it has values."""
    for one, times in Counter(filter(_has_one_value, given)).items():
        if times > 1:
            raise ConfigError(
                f"{max(one.opts, key=len)} is given {_times(times)}", hint="give it once"
            )


def _has_one_value(parameter: Any) -> bool:
    """Whether the last of several would count. A flag may be repeated: nothing is lost by it."""
    is_option = parameter.param_type_name == "option"
    return is_option and not (parameter.multiple or parameter.is_flag or parameter.count)


def _times(number: int) -> str:
    return "twice" if number == 2 else f"{number} times"


class SettingsCommand(Command):
    """A command whose options are the fields of a model, imported when they are first asked for.

    The function that it calls finds what was given of them in `context.obj`.
    """

    source: tuple[str, str]
    """Module and name of the settings model."""
    only: tuple[str, ...] = ()
    """Fields of the model that are options; all of them if none is named."""
    _params: list[Any]
    _settings: list[Any] | None

    def model(self) -> Any:
        """What is set."""
        module, name = self.source
        return getattr(import_module(module), name)

    @property
    def params(self) -> list[Any]:
        """An option, or the argument, for each field; then the command's own."""
        if self._settings is None:
            from jobs.cli.setting_options import make_options

            self._settings = make_options(self.model(), str(self.name), self.only)
            self._params[:0] = self._settings
        return self._params

    @params.setter
    def params(self, own: list[Any]) -> None:
        self._params, self._settings = own, None

    def invoke(self, ctx: Any) -> Any:
        """Call the function, which has no parameter for any setting."""
        given = {one.name: ctx.params.pop(one.name) for one in self._settings or ()}
        ctx.obj = {name: None if value in ((), []) else value for name, value in given.items()}
        return super().invoke(ctx)


class Group(TyperGroup):
    """`winnow` itself: errors and signals are left to `run_command`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Without the option that would write into a start-up file of the shell."""
        return [one for one in super().get_params(ctx) if one.name != "install_completion"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """An option before its command is told where it goes."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            option = getattr(error, "option_name", None)
            command = next((word for word in given if word in self.commands), None)
            if option is None or command is None or getattr(error, "possibilities", None):
                raise
            hint = f"options follow their command: {PROGRAM} {command} {option}"
            raise UsageError(f"{PROGRAM} itself has no option {option}", hint=hint) from None

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
