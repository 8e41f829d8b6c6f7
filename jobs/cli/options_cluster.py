"""The commands that run Winnow elsewhere or at night: their options, and nothing else.

Apart from main.py, which registers them, so that each stays readable. Nothing heavy is imported
before a command runs.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.cli.options import Json
from jobs.cli.parsing import Command

Address = Annotated[
    str,
    typer.Option(
        help="Address of the dashboard of a Ray cluster.",
        envvar=["WINNOW_CLUSTER_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
    ),
]
LOCAL_DASHBOARD = "http://127.0.0.1:8265"
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job, as winnow jobs list names it.")]


def submit(
    context: typer.Context,
    command: Annotated[
        list[str], typer.Argument(help="A winnow command and its options, after --.")
    ],
    job_id: Annotated[
        str | None,
        typer.Option(
            "--id", help="An id for the job; an id already in use is refused.  [default: a new one]"
        ),
    ] = None,
    address: Address = LOCAL_DASHBOARD,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return as soon as the job is submitted.")
    ] = False,
    working_dir: Annotated[
        Path | None,
        typer.Option(help="A folder to upload; the job starts in it."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Metadata to store with the job, KEY=VALUE; may be repeated."
        ),
    ] = None,
    entrypoint_cpus: Annotated[
        float | None, typer.Option(min=0, help="CPUs to reserve for the driver.  [default: 0]")
    ] = None,
    entrypoint_gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs to reserve for the driver.  [default: 0]")
    ] = None,
    entrypoint_memory: Annotated[
        int | None,
        typer.Option(min=0, help="Bytes of memory to reserve for the driver.  [default: 0]"),
    ] = None,
    wait_for_cluster: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the cluster to become ready.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """Run a winnow command as a job on a Ray cluster, and follow it until it ends.

    What the job prints goes to stderr and its id to stdout. The exit code is the job's, or 143 if
    the job was stopped. Ctrl-C leaves the job running. The job gets neither this machine's
    environment variables nor files outside --working-dir. It runs the Winnow of the `python` on the
    PATH that Ray was started with, which winnow doctor --address HOST:6379 checks on every node.

    Example: winnow submit --id nightly -- score s3://corpora/web --out s3://runs/web --model org/m
    """
    from jobs.cli.cluster import submit_and_print

    group = context.find_root().command
    raise typer.Exit(
        submit_and_print(
            command,
            commands=getattr(group, "commands", {}),
            job_id=job_id,
            address=address,
            wait=not no_wait,
            working_dir=working_dir,
            metadata=metadata or [],
            num_cpus=entrypoint_cpus,
            num_gpus=entrypoint_gpus,
            memory_bytes=entrypoint_memory,
            wait_seconds=wait_for_cluster,
            as_json=as_json,
        )
    )


jobs_app = typer.Typer(help="List, follow and stop jobs on a Ray cluster.", no_args_is_help=True)


@jobs_app.command("list", cls=Command)
def list_jobs(
    address: Address = LOCAL_DASHBOARD,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print ids only, one per line.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the jobs of a cluster, newest first.

    Example: winnow jobs list
    """
    from jobs.cli.cluster import print_jobs

    raise typer.Exit(print_jobs(address, quiet=quiet, as_json=as_json))


@jobs_app.command("status", cls=Command)
def job_status(job_id: JobId, address: Address = LOCAL_DASHBOARD, as_json: Json = False) -> None:
    """Show one job. The exit code is 1 if it failed or was stopped.

    Example: winnow jobs status nightly
    """
    from jobs.cli.cluster import print_job

    raise typer.Exit(print_job(job_id, address, as_json=as_json))


@jobs_app.command("logs", cls=Command)
def job_logs(
    job_id: JobId,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Follow the log until the job ends; the exit code is the job's."
        ),
    ] = False,
    address: Address = LOCAL_DASHBOARD,
) -> None:
    """Print what a job has printed.

    Example: winnow jobs logs nightly --follow
    """
    from jobs.cli.cluster import print_logs

    raise typer.Exit(print_logs(job_id, address, follow=follow))


@jobs_app.command("stop", cls=Command)
def stop_job(job_id: JobId, address: Address = LOCAL_DASHBOARD, as_json: Json = False) -> None:
    """Stop a job and wait until it has ended. Submit a stopped run again to resume it.

    Example: winnow jobs stop nightly
    """
    from jobs.cli.cluster import stop_and_print

    raise typer.Exit(stop_and_print(job_id, address, as_json=as_json))


def schedule(
    config: Annotated[
        Path, typer.Argument(help="A TOML file with an [audit] and a [schedule] table.")
    ],
    to: Annotated[
        Literal["cron", "systemd", "kubernetes", "kuberay"],
        typer.Option(help="The scheduler that starts the audit."),
    ],
    install: Annotated[
        bool, typer.Option("--install", help="Install the schedule in your crontab or systemd.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Remove the installed schedule.")
    ] = False,
) -> None:
    """Print a schedule for cron, systemd or Kubernetes that runs `winnow audit CONFIG` every night.

    Nights do not overlap and are stopped at their deadline. cron and systemd start them in the
    current folder. --to kubernetes prints a CronJob that creates one RayJob per night, --to kuberay
    a RayCronJob, which is alpha. Nights that a clock change skips, delays or starts twice are
    listed as warnings.

    Example: winnow schedule nightly.toml --to kubernetes | kubectl apply -f -
    """
    from jobs.cli.schedule import print_schedule

    raise typer.Exit(print_schedule(config, to, install=install, uninstall=uninstall))
