"""Options that several commands share."""

from typing import Annotated, Literal

import typer

from jobs.cli.parsing import EXPRESSION
from pipeline.errors import ConfigError

Form = Literal["table", "json", "markdown"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Markdown = Annotated[
    bool, typer.Option("--md", help="Print Markdown to stdout, for a comment or a summary.")
]
ExitZero = Annotated[
    bool, typer.Option("--exit-zero", help="Exit with code 0 whatever the verdict.")
]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar=EXPRESSION,
        help="Exit with code 1 if this expression is true; may be repeated. The variable holds one "
        "per line.",
    ),
]
Corpus = Annotated[
    str | None,
    typer.Option(help="Current location of the corpus.  [default: where it was scored]"),
]


def chosen_form(*, as_json: bool, as_markdown: bool) -> Form:
    """What goes to stdout. Raises ConfigError."""
    if as_json and as_markdown:
        raise ConfigError("--json and --md contradict each other", hint="give one of them")
    return "json" if as_json else "markdown" if as_markdown else "table"
