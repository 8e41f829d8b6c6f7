"""What the commands of options_cluster.py do: call the library and print.

Owns what is printed. Ray is imported only once a cluster is contacted, after the token is set.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jobs.cli.runs import print_facts, print_json
from jobs.console import screen
from jobs.console.ending import code_of
from jobs.console.signals import Terminated
from jobs.run.auth import (
    dashboard_url,
    exposure_warning,
    keep_token_private,
    use_given_token,
)
from jobs.submission.log_text import LogWriter
from jobs.submission.submit import (
    Command,
    Submission,
    check_command,
    check_id,
    new_id,
    parse_metadata,
    settings_left_behind,
    shown_command,
)
from pipeline.errors import ConfigError
from pipeline.rendering.escaping import plain
from pipeline.rendering.formats import duration
from pipeline.rendering.table import Table, Whole, Words
from pipeline.rendering.terminal import print_table

if TYPE_CHECKING:
    from jobs.submission.job_client import Cluster, Job

NOT_JOBS = ("submit", "jobs", "schedule", "config")


def submit_and_print(
    arguments: list[str],
    *,
    commands: Mapping[str, Command],
    job_id: str | None,
    address: str,
    wait: bool,
    working_dir: Path | None,
    metadata: list[str],
    num_cpus: float | None,
    num_gpus: float | None,
    memory_bytes: int | None,
    wait_seconds: float,
    as_json: bool,
) -> int:
    """Submit, and follow the job to its end if asked. The exit code: the job's."""
    messages = screen.messages()
    runnable = {name: command for name, command in commands.items() if name not in NOT_JOBS}
    here, trace = check_command(arguments, runnable, working_dir)
    submission = Submission(
        id=check_id(job_id) if job_id is not None else new_id(arguments[0]),
        arguments=tuple(arguments),
        metadata=parse_metadata(metadata),
        working_dir=working_dir,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory_bytes=memory_bytes,
    )
    if left := settings_left_behind(arguments[0]):
        _warn(
            messages,
            f"not sent to the cluster: {', '.join(left)}; set them by options or a --config file",
        )
    if here:
        _warn(
            messages,
            f"the cluster may not have these paths of this machine: {', '.join(here)}; name a "
            "store (s3://...) unless every node of the cluster shares them",
        )
    if trace:
        _warn(
            messages,
            f"the job writes trace = {trace!r} to a disk of the node that it runs on, not of this "
            "machine; leave trace out unless that is a disk that you can read",
        )
    try:
        cluster = _cluster(address, messages, wait_seconds)
        cluster.submit(submission)
        messages.print(f"Submitted {submission.id} to {cluster.address}")
        job = _follow(cluster, submission.id, "stderr") if wait else cluster.job(submission.id)
    except (KeyboardInterrupt, Terminated) as ended:
        return _interrupted(messages, submission.id, ended)
    if as_json:
        print_json(_record(job))
    else:
        print(job.id)
    return (job.exit_code or 0) if wait else 0


def print_jobs(address: str, *, quiet: bool, as_json: bool) -> int:
    """All jobs of a cluster. Raises ConfigError if two forms are asked for."""
    if quiet and as_json:
        raise ConfigError("--quiet and --json contradict each other", hint="give one of them")
    found = _cluster(address, screen.messages()).jobs()
    if as_json:
        print_json([_record(job) for job in found])
        return 0
    if quiet:
        for job in found:
            print(plain(job.id))
        return 0
    rows = [
        (
            job.id,
            job.state,
            _when(job.started),
            duration(job.seconds),
            "" if job.exit_code is None else str(job.exit_code),
            shown_command(job.command),
        )
        for job in found
    ]
    columns = (Whole("id"), Whole("state"), Whole("started"), "took", "exit code", Words("command"))
    print_table(Table(columns=columns, rows=rows), screen.data())
    return 0


def print_job(job_id: str, address: str, *, as_json: bool) -> int:
    """Show one job. The exit code: 1 if it failed or was stopped."""
    job = _cluster(address, screen.messages()).job(job_id)
    _print_job(job, as_json=as_json)
    return 1 if job.exit_code else 0


def print_logs(job_id: str, address: str, *, follow: bool) -> int:
    """The log of a job. The exit code: with `follow` the job's, else 0."""
    messages = screen.messages()
    cluster = _cluster(address, messages)
    if not follow:
        with LogWriter(sys.stdout) as write:
            write(cluster.logs(job_id))
        return 0
    try:
        return _follow(cluster, job_id, "stdout").exit_code or 0
    except (KeyboardInterrupt, Terminated) as ended:
        return _interrupted(messages, job_id, ended)


def stop_and_print(job_id: str, address: str, *, as_json: bool) -> int:
    """Stop a job. A job that has already ended is no failure."""
    messages = screen.messages()
    job, was_running = _cluster(address, messages).stop(job_id)
    if not was_running:
        messages.print(f"{job.id} had already ended: {job.state}")
    _print_job(job, as_json=as_json)
    return 0


def _cluster(address: str, messages: Console, wait_seconds: float = 0) -> "Cluster":
    address = dashboard_url(address)
    has_token = use_given_token()
    for warning in (keep_token_private(), exposure_warning(address, has_token=has_token)):
        if warning:
            _warn(messages, warning)
    from jobs.submission.job_client import Cluster

    said: set[str] = set()

    def on_wait(reason: str) -> None:
        if reason not in said:
            said.add(reason)
            messages.print(f"Waiting for {address}: {reason} …", style="dim")

    return Cluster(address, wait_seconds=wait_seconds, on_wait=on_wait)


def _follow(cluster: "Cluster", job_id: str, stream: Literal["stdout", "stderr"]) -> "Job":
    """Pass on the job's log until it ends, above a line that shows the time it has taken."""
    messages = screen.messages()
    with (
        _progress(messages, f"{job_id} runs; Ctrl-C leaves it running"),
        # Looked up late: the progress line replaces the stream to stay below what is written.
        LogWriter(getattr(sys, stream)) as write,
    ):
        job = cluster.follow(job_id, write)
    why = f": {job.message}" if job.exit_code and job.message else ""
    style = "bold red" if job.exit_code else None
    text = plain(f"{job.id} {job.state} after {duration(job.seconds)}{why}")
    messages.print(text, style=style)
    return job


@contextmanager
def _progress(messages: Console, text: str) -> Iterator[None]:
    if not messages.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    both = sys.stdout.isatty()  # or piped output would appear on the screen
    with Progress(*columns, console=messages, transient=True, redirect_stdout=both) as progress:
        progress.add_task(text, total=None)
        yield


def _interrupted(messages: Console, job_id: str, ended: BaseException) -> int:
    messages.print(
        f"Interrupted. The job keeps running: winnow jobs logs {job_id} --follow follows it again, "
        f"winnow jobs stop {job_id} stops it.",
    )
    return code_of(ended)


def _print_job(job: "Job", *, as_json: bool) -> None:
    if as_json:
        print_json(_record(job))
        return
    shown = {"started": _when(job.started), "ended": _when(job.ended)}
    if job.seconds is not None:
        shown["took"] = duration(job.seconds)
    record = _record(job)
    facts = {key: record[key] for key in ("id", "state", "exit_code", "command", "message")}
    facts |= shown | {f"metadata {key}": value for key, value in record["metadata"].items()}
    print_facts(
        {
            plain(key): plain(value) if isinstance(value, str) else value
            for key, value in facts.items()
            if value not in (None, "")
        },
        as_json=False,
    )


def _record(job: "Job") -> dict[str, Any]:
    from jobs.submission.job_client import ATTEMPT_KEY

    return {
        "id": job.id,
        "state": job.state,
        "exit_code": job.exit_code,
        "command": shown_command(job.command),
        "started_at": _timestamp(job.started),
        "ended_at": _timestamp(job.ended),
        "seconds": job.seconds,
        "message": job.message or None,
        "metadata": {key: text for key, text in job.metadata.items() if key != ATTEMPT_KEY},
    }


def _timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _when(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _warn(messages: Console, text: str) -> None:
    messages.print(f"Warning: {text}", style="yellow")
