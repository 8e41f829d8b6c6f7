"""The `winnow` command: the options of `winnow score`, and every other command put together.

stdout is data, stderr progress and errors. How a command ends is command_line/ending.py's.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from jobs.cli.options import Json, Offline
from jobs.cli.options_audit import audit
from jobs.cli.options_cluster import jobs_app, schedule, submit
from jobs.cli.options_config import config_app
from jobs.cli.options_reports import compare, filter_corpus, report
from jobs.cli.options_runs import doctor, gc, plan, status, verify
from jobs.cli.parsing import Command, Group
from jobs.console.ending import EXIT_CODES, begin_process, run_command

app = typer.Typer(
    name="winnow",
    cls=Group,
    epilog=EXIT_CODES,
    help="Score text corpora with a language model, and act on the scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "WINNOW"},
)


def main() -> NoReturn:
    """The console script."""
    begin_process()
    run_command(app)


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


@app.command(cls=Command)
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
    offline: Offline = None,
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
    from jobs.cli.runs import dry_run_score, score_and_print
    from pipeline.settings.config import load_score_config

    settings = load_score_config(config, options)
    if dry_run:
        dry_run_score(settings, as_json=as_json)
        return
    raise typer.Exit(score_and_print(settings, as_json=as_json))


_NOT_SETTINGS = frozenset(["config", "dry_run", "as_json"])


for command in (plan, status, verify, gc, doctor, report, compare, audit, schedule):
    app.command(cls=Command)(command)
app.command(name="filter", cls=Command)(filter_corpus)
# Everything after the first word belongs to the command that is submitted.
app.command(cls=Command, context_settings={"allow_interspersed_args": False})(submit)
app.add_typer(jobs_app, name="jobs")
app.add_typer(config_app, name="config")
