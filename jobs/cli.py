"""The `winnow` command: parse, call the library, turn one exception family into an exit code.

Exit codes: 0 done; 1 done with findings or a handled failure; 2 usage or configuration; 130 and
143 stopped by SIGINT and SIGTERM, to be run again. stdout is data, stderr progress and errors.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from jobs.command_line.cli_audit import audit
from jobs.command_line.cli_cluster import jobs_app, schedule, submit
from jobs.command_line.cli_reports import compare, filter_corpus, report
from jobs.command_line.cli_runs import doctor, gc, plan, status, verify
from jobs.command_line.options import Json
from jobs.signals import Terminated, on_sigterm
from pipeline.errors import WinnowError, first_line, missing_extra

app = typer.Typer(
    name="winnow",
    help="Score text corpora with a language model, and act on the scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "WINNOW"},
)


def main() -> NoReturn:
    """The console script."""
    run_command(lambda: app(standalone_mode=True))


def run_command(command: Callable[[], Any]) -> NoReturn:
    """Run something and end the process with its exit code, errors as one line and a hint."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        sys.exit(_unwrapped(command))
    except WinnowError as error:
        if os.environ.get("WINNOW_DEBUG"):
            raise
        errors.print(f"Error: {error}", style="bold red", markup=False)
        if error.hint:
            errors.print(f"Hint: {error.hint}", markup=False)
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("WINNOW_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename is not None:
            errors.print(
                f"Error: {error.filename}: {error.strerror}", style="bold red", markup=False
            )
            errors.print("Hint: mend that and run again; what is finished is kept", markup=False)
            sys.exit(1)
        what = first_line(error)
        errors.print(f"Error: {type(error).__name__}: {what}", style="bold red", markup=False)
        errors.print("Hint: this is a fault in Winnow; WINNOW_DEBUG=1 shows where", markup=False)
        sys.exit(1)
    except Terminated:
        errors.print("Stopped by SIGTERM. Run the same command again to go on.")
        sys.exit(143)
    except KeyboardInterrupt:
        errors.print("Interrupted. Run the same command again to go on.")
        sys.exit(130)


def _unwrapped(command: Callable[[], Any]) -> Any:
    """A signal that arrives inside one of Ray's C functions comes out wrapped in a SystemError.

    A package that a core install does not have is an error of the caller's, not a fault.
    """
    try:
        return command()
    except ModuleNotFoundError as error:
        raise (missing_extra(error) or error) from None
    except SystemError as error:
        if isinstance(error.__cause__, Terminated | KeyboardInterrupt):
            raise error.__cause__ from None
        raise


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", show_envvar=False)
    ] = False,
) -> None:
    """Score text corpora with a language model, and act on the scores."""
    if show_version:
        print(version("winnow-ppl"))
        raise typer.Exit


@app.command()
def score(
    corpus: Annotated[
        str | None, typer.Argument(help="A Parquet file, a folder or a glob.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run directory to write.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A Hugging Face model folder, or a name on the hub.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="The column with the text.  [default: text]")
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Copied to the scores as doc_id.  [default: doc_id or id, if there is one]"
        ),
    ] = None,
    carry: Annotated[
        list[str] | None,
        typer.Option(help='An input column to copy to the scores; repeat it, or "*" for all.'),
    ] = None,
    window_tokens: Annotated[
        int | None,
        typer.Option(
            help="Longest prompt, prefix and context included.  [default: 2048, or what fits]"
        ),
    ] = None,
    context_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens that each later window repeats as context.  [default: 1]"),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(help="What the first token is scored against: auto, bos, eos, none."),
    ] = None,
    long_documents: Annotated[
        str | None, typer.Option(help="window, truncate or skip.  [default: window]")
    ] = None,
    min_k_percent: Annotated[
        float | None,
        typer.Option(help="Least likely tokens that min_k_logprob is the mean of.  [default: 20]"),
    ] = None,
    token_logprobs: Annotated[
        bool | None,
        typer.Option("--token-logprobs", help="Also write each token's log-probability, as lists."),
    ] = None,
    token_ids: Annotated[
        bool | None,
        typer.Option("--token-ids", help="Also write the scored tokens' ids, as lists."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="auto, bfloat16, float16 or float32.  [default: auto]")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Engines to run, or MIN:MAX as machines come and go.  [default: one a GPU, "
            "else one a machine]"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Score only the first rows.")] = None,
    shard_tokens: Annotated[
        int | None, typer.Option(help="Estimated tokens a shard.  [default: minutes of work]")
    ] = None,
    scoring: Annotated[
        str | None,
        typer.Option(
            help="fused (inside the worker), prompt_logprobs (vLLM's public path) or auto."
        ),
    ] = None,
    tensor_parallel_size: Annotated[
        int | None, typer.Option(help="GPUs of one machine that share the model.  [default: 1]")
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option(
            help="Tokens an engine takes per step.  [default: from vocabulary and memory]"
        ),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="Tries before a shard is given up.  [default: 3]")
    ] = None,
    wait_minutes: Annotated[
        float | None,
        typer.Option(help="Longest wait for an engine to come up or get on.  [default: 60]"),
    ] = None,
    reuse: Annotated[
        str | None,
        typer.Option(help="A run to take parts over from, where nothing that matters changed."),
    ] = None,
    dedup: Annotated[
        bool | None,
        typer.Option(
            "--dedup/--no-dedup",
            help="Score exact copies inside a shard once; the rows are the same.  [default: dedup]",
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(help="Write where the time went to this file; opens in ui.perfetto.dev."),
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Stop if any file cannot be read.")
    ] = None,
    trust_remote_code: Annotated[
        bool | None,
        typer.Option("--trust-remote-code", help="Run Python code that the model brings."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster.  [default: a Ray of its own]",
            envvar=["WINNOW_SCORE_ADDRESS", "RAY_ADDRESS"],
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with these settings under [score].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score every document of a corpus, or what an earlier run left.

    Stop it at any moment and run the same command again: finished shards are kept.

    Example: winnow score data/ --out runs/first --model HuggingFaceTB/SmolLM2-135M --carry source
    """
    options = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    from jobs.commands.runs import dry_run_score, score_and_print
    from pipeline.config import load_score_config

    settings = load_score_config(config, options)
    if dry_run:
        dry_run_score(settings, as_json=as_json)
        return
    signal.signal(signal.SIGTERM, on_sigterm)
    raise typer.Exit(score_and_print(settings, as_json=as_json))


_NOT_SETTINGS = frozenset(["config", "dry_run", "as_json"])


for command in (plan, status, verify, gc, doctor, report, compare, audit, schedule):
    app.command()(command)
app.command(name="filter")(filter_corpus)
# Everything after the first word belongs to the command that is submitted.
app.command(context_settings={"allow_interspersed_args": False})(submit)
app.add_typer(jobs_app, name="jobs")


if __name__ == "__main__":
    main()
