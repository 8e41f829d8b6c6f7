"""The commands that look at corpora and runs: their options, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import Corpus, Json
from jobs.cli.parsing import SettingsCommand


class PlanCommand(SettingsCommand):
    """`winnow plan`: what it takes of the settings of a run."""

    only = (
        *("corpus", "model", "revision", "offline", "text_column", "id_column", "carry", "limit"),
        *("window_tokens", "context_tokens", "prefix", "long_documents", "min_k_percent", "dtype"),
        *("token_logprobs", "token_ids", "shard_tokens", "reuse"),
    )
    """Settings that shards, tokens and reusable parts depend on."""

    source = ("pipeline.settings.config", "ScoreConfig")


def plan(
    context: typer.Context,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Measure the speed of this machine by scoring for half a minute at each of a few "
            "step sizes, and keep the fastest.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="A TOML file: settings under [score], workers and prices under [plan]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what scoring a corpus would take: files, rows, bytes, shards, tokens, hours and cost.

    It reads only footers, and with --model also a sample of the documents to estimate the tokens.
    With --reuse, tokens, hours and cost cover only what that run has not scored yet.

    Example: winnow plan data/ --model HuggingFaceTB/SmolLM2-135M --calibrate
    """
    from jobs.cli.plan import print_plan

    raise typer.Exit(print_plan(config, context.obj, calibrating=calibrate, as_json=as_json))


def status(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Keep watching until the run ends; the exit code is the run's."
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.5, max=86_400, help="Seconds between updates with --watch.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Show the progress of a run: shards and rows done, its process, and what was given up.

    --watch works on any machine that can read the run, and adds speed and time left. If the output
    is not a terminal it prints one line per change, and with --json one object per update.

    Example: winnow status runs/first --watch
    """
    if watch:
        from jobs.cli.watch import watch_and_print

        raise typer.Exit(watch_and_print(run, interval, as_json=as_json))
    from jobs.cli.runs import print_status

    raise typer.Exit(print_status(run, as_json=as_json))


def gc(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files; remove nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove the unfinished files that killed workers left in a run.

    These files are never read and only take space. Example: winnow gc runs/first --dry-run
    """
    from jobs.cli.runs import remove_and_print

    raise typer.Exit(remove_and_print(run, dry_run=dry_run, as_json=as_json))


def verify(
    run: Annotated[str, typer.Argument(help="A run directory.")],
    corpus: Corpus = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Documents to rescore; 0 checks integrity alone.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Random seed of the sample.")] = 0,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Largest relative error of nll.  [default: by the run's dtype]"),
    ] = None,
    noise_floor: Annotated[
        bool,
        typer.Option("--noise-floor", help="Also score the sample again, each document alone."),
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Run the Python code that comes with the run's model."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that a run is whole and that its scores are correct.

    It checks that every input row is there once and in order, page checksums, fingerprints, totals,
    and that the corpus is unchanged. Then it rescores a sample of documents with a plain float32
    forward pass of transformers and compares.

    Example: winnow verify runs/first --sample 50
    """
    from jobs.cli.runs import verify_and_print

    raise typer.Exit(
        verify_and_print(
            run,
            corpus,
            sample,
            seed,
            tolerance,
            noise_floor,
            trust_remote_code=trust_remote_code,
            as_json=as_json,
        )
    )


def doctor(
    model: Annotated[
        str | None, typer.Option(help="Also check a model, and show the sizes it would get.")
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="Instead, plan for the model on such a GPU, from its config.json alone: "
            "a100-80gb, h100, h200, b200, l4, l40s, rtx4090, ..."
        ),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Also check a Ray cluster.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Also check that a folder or URI can be listed and read.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check whether this machine can score, and say how to fix what is missing.

    With --gpu no GPU is needed, and no weights: whether the model fits, on how many, and the sizes
    of its engine. The exit code is 1 if there is a problem.

    Example: winnow doctor --model HuggingFaceTB/SmolLM2-135M
    """
    from jobs.cli.doctor import examine_and_print

    raise typer.Exit(examine_and_print(model, gpu, address, store, as_json=as_json))
