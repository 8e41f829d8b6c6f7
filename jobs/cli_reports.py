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
    baseline: Annotated[
        str | None,
        typer.Option(help="The run that the others are held against.  [default: the first]"),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A column that every run carries, to compare by group; repeat it."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="A folder to write comparison.html, .json and .md into."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also compare runs that are not finished.")
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=100, max=10_000, help="Bootstrap resamples for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare runs: datasets, models, checkpoints in order, or last night with tonight.

    Shifts of figures and quantiles with intervals, KS, PSI and Wasserstein distances, by group and,
    where documents match, document by document. Runs of one model by different rules are refused.
    Across tokenizers perplexities are not comparable: then bits per byte rank the runs.

    Example: winnow compare runs/first runs/second --by source --out comparison
    """
    from jobs.commands_compare import compare_and_print

    raise typer.Exit(
        compare_and_print(
            runs,
            baseline=baseline,
            by=tuple(by or ()),
            out=out,
            partial=partial,
            resamples=resamples,
            seed=seed,
            as_json=as_json,
        )
    )
