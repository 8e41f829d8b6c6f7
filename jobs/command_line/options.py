"""Options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Markdown = Annotated[
    bool, typer.Option("--md", help="Print Markdown to stdout, for a comment or a summary.")
]
ExitZero = Annotated[
    bool, typer.Option("--exit-zero", help="End with exit code 0 whatever the verdict is.")
]
Offline = Annotated[
    bool | None,
    typer.Option("--offline", help="Take a model on the hub from this machine's cache alone."),
]
