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
    separate: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=VALUE[,VALUE...]",
            help="Labelled documents: how well do scores tell them from the rest?",
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="End with exit code 1 if this is true of the run; repeat it."),
    ] = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Show no beginnings of documents.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write RUN/report.html, .json and .md, and print the table by group.

    --fail-if knows corpus_perplexity, bits_per_byte, documents, tokens, bytes, p95(COLUMN),
    mean(COLUMN), share(CONDITION); comparisons, and, or, not; numbers like 10k, 2M, 5%.

    Example: winnow report runs/first --by source --fail-if 'p95(perplexity) > 200'
    """
    from jobs.commands_report import report_and_print

    code = report_and_print(
        run,
        by=tuple(by or ()),
        separate=separate,
        fail_if=tuple(fail_if or ()),
        text=not no_text,
        as_json=as_json,
    )
    raise typer.Exit(code)


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
