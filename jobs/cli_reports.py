"""The commands that act on finished scores: their options, and nothing else.

Apart from cli.py, which registers them, so that each stays readable. Nothing heavy is imported
before a command runs.
"""

from typing import Annotated

import typer

from jobs.options import Json


def report(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A carried column to group by; repeat it.  [default: those with few values]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write RUN/report.html, .json and .md, and print the table by group.

    Example: winnow report runs/first --by source
    """
    from jobs.commands import report_and_print

    raise typer.Exit(report_and_print(run, tuple(by or ()), as_json=as_json))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more run directories.")],
    as_json: Json = False,
) -> None:
    """Put runs side by side, the least surprised first.

    Across tokenizers perplexities are not comparable: then bits per byte rank the runs.

    Example: winnow compare runs/first runs/second
    """
    from jobs.commands import compare_and_print

    raise typer.Exit(compare_and_print(runs, as_json=as_json))
