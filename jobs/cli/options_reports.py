"""The commands that act on finished scores: their options, and nothing else.

Apart from main.py, which registers them, so that each stays readable. Nothing heavy is imported
before a command runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import Corpus, ExitZero, FailIf, Json, Markdown, chosen_form
from jobs.cli.parsing import SettingsCommand
from pipeline.errors import ConfigError


class ReportCommand(SettingsCommand):
    """`winnow report`: what a document counts for is a setting that filters have too."""

    source = ("pipeline.settings.weights", "Weighted")


def report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run directory.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A carried column to group by; may be repeated.  [default: those with few values]"
        ),
    ] = None,
    separate: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=VALUE[,VALUE...]",
            help="Measure how well scores separate documents with these values from the rest; or, "
            "by 'judgement', those judged bad in winnow explore from the good ones.",
        ),
    ] = None,
    judgements: Annotated[
        str | None,
        typer.Option(
            help="File of --separate judgement.  [default: RUN/judgements.parquet]", metavar="FILE"
        ),
    ] = None,
    fail_if: FailIf = None,
    baseline: Annotated[
        str | None, typer.Option(help="The run that --fail-if compares this one with.")
    ] = None,
    corpus: Corpus = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Leave out excerpts of documents.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Use the parts that exist of an incomplete run.")
    ] = False,
    exit_zero: ExitZero = False,
    as_markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Write RUN/report.html, .json and .md, and print the table by group.

    --fail-if compares figures with numbers like 200, 10k, 2M or 5%, joined by and, or, not. Figures
    are corpus_perplexity, bits_per_byte, word_perplexity and means over documents such as
    document_perplexity; documents, tokens, bytes; p95(COLUMN), mean(COLUMN), share(CONDITION); and
    between(COLUMN), the share of the variance of log perplexity between the groups of a column.
    group(COLUMN, "VALUE", FIGURE) is a figure of one group; any(COLUMN, CONDITION) is true if the
    condition is true of any group. baseline(FIGURE), increase(FIGURE) and decrease(FIGURE) compare
    with --baseline. low(FIGURE) and high(FIGURE) are the ends of a 95% interval, which keep chance
    from failing a run: low(increase(bits_per_byte)) > 2%. What cannot be judged fails.

    Example: winnow report runs/first --by source --fail-if 'any(source, p95(perplexity) > 200)'
    """
    from jobs.cli.report import report_and_print
    from pipeline.settings.loading import load_settings
    from pipeline.settings.weights import Weighted

    code = report_and_print(
        run,
        by=tuple(by or ()),
        separate=separate,
        judgements=judgements,
        fail_if=tuple(fail_if or ()),
        baseline=baseline,
        text=not no_text,
        corpus=corpus,
        partial=partial,
        weight=load_settings(Weighted, "report", None, context.obj).weight,
        form=chosen_form(as_json=as_json, as_markdown=as_markdown),
    )
    raise typer.Exit(0 if exit_zero else code)


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more run directories.")],
    baseline: Annotated[
        str | None,
        typer.Option(help="The run that the others are compared with.  [default: the first]"),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A column that every run carries, to compare by group; may be repeated."),
    ] = None,
    fail_if: FailIf = None,
    out: Annotated[
        str | None,
        typer.Option(help="A folder to write comparison.html, .json and .md into."),
    ] = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Leave out excerpts of documents.")
    ] = False,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Also compare incomplete runs, by the parts that exist."),
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=100, max=10_000, help="Number of bootstrap resamples.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    exit_zero: ExitZero = False,
    as_markdown: Markdown = False,
    as_json: Json = False,
) -> None:
    """Compare runs: datasets, models, checkpoints in order, or last night with tonight.

    It shows changes of figures and quantiles with intervals, and KS, PSI and Wasserstein distances,
    by group and, where documents match, document by document. Runs of one model with different
    scoring settings are refused. Perplexities of different tokenizers are not comparable; bits per
    byte rank such runs. --fail-if takes the expressions of `winnow report --fail-if`, and
    psi(perplexity) and psi(bits_per_byte).

    Example: winnow compare runs/first runs/second --fail-if 'increase(bits_per_byte) > 5%'
    """
    from jobs.cli.compare import compare_and_print

    code = compare_and_print(
        runs,
        baseline=baseline,
        by=tuple(by or ()),
        fail_if=tuple(fail_if or ()),
        out=out,
        text=not no_text,
        partial=partial,
        resamples=resamples,
        seed=seed,
        form=chosen_form(as_json=as_json, as_markdown=as_markdown),
    )
    raise typer.Exit(0 if exit_zero else code)


def explore(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    other: Annotated[str | None, typer.Argument(help="A second run, to cut by both.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Carried column to group by.  [default: one with few values]")
    ] = None,
    corpus: Corpus = None,
    judgements: Annotated[
        str | None,
        typer.Option(help="File to save judgements to.  [default: RUN/judgements.parquet]"),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Use the parts that exist of an incomplete run.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 0,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote",
            help="Allow a --host that other machines can reach: anyone with the address can read "
            "the run and its texts, unencrypted.",
        ),
    ] = False,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address without opening a browser.")
    ] = False,
) -> None:
    """Choose the cut-offs of a filter by eye, in a browser page served by this machine.

    Drag a band over the distribution of any metric, or over a scatter of two runs, see what each
    group keeps, read and judge documents, and copy the filter command. Ctrl-C stops it.

    Example: winnow explore runs/first --by source
    """
    from jobs.cli.explore import explore_and_serve

    explore_and_serve(
        run,
        other,
        by=by,
        corpus=corpus,
        judgements=judgements,
        partial=partial,
        host=host,
        port=port,
        allow_remote=allow_remote,
        opens=not no_open,
    )


def show(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    file: Annotated[
        str | None, typer.Argument(help="A file of the run's corpus, as reports name it.")
    ] = None,
    row: Annotated[
        int | None, typer.Argument(min=0, help="The row in FILE, counted from 0.")
    ] = None,
    doc_id: Annotated[
        str | None, typer.Option("--id", help="The document's id, instead of file and row.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Also rank the document within its group of this column; may be repeated."
        ),
    ] = None,
    corpus: Corpus = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Use the parts that exist of an incomplete run.")
    ] = False,
    score_tokens: Annotated[
        bool,
        typer.Option(
            "--score-tokens", help="Load the run's model to score its tokens, if need be."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one document: its scores, its rank among the others, and its text.

    On a terminal, tokens are shaded by how surprising each is, if the run has --token-logprobs or
    with --score-tokens.

    Example: winnow show runs/first web/0001.parquet 42 --by source
    """
    from jobs.cli.show import show_and_print

    if [file is None, row is None] != [doc_id is not None] * 2:
        raise ConfigError("show needs one document", hint="give FILE and ROW, or --id")
    raise typer.Exit(
        show_and_print(
            run,
            file,
            row,
            doc_id=doc_id,
            by=tuple(by or ()),
            corpus=corpus,
            partial=partial,
            score_tokens=score_tokens,
            as_json=as_json,
        )
    )


class FilterCommand(SettingsCommand):
    """`winnow filter`: every rule."""

    source = ("pipeline.filters.config", "FilterConfig")


def filter_corpus(
    context: typer.Context,
    by: Annotated[
        str | None,
        typer.Option(
            help="A carried column to break the counts down by.  [default: that of --within, if "
            "it has few values]"
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with these settings under [filter].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be kept; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rewrite the corpus that a run scored, with only the documents that every given rule keeps.

    The output has the corpus's file names, columns, row order and codecs, and a _filter.json with
    the cut-offs. Repeat a stopped command to resume it.

    Example: winnow filter runs/first --out filtered/ --percentile 10:90 --within source
    """
    from jobs.cli.filter import filter_and_print
    from pipeline.filters.config import load_filter_config

    settings = load_filter_config(config, context.obj)
    raise typer.Exit(filter_and_print(settings, by, dry_run=dry_run, as_json=as_json))
