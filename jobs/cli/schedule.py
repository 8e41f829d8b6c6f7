"""What `winnow schedule` does: print a schedule, install or remove it."""

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from jobs.console import screen
from jobs.nights.clock_changes import OddNight, Scheduler, next_runs, odd_nights, regular_schedule
from jobs.nights.cron_times import starts_per_day
from jobs.nights.schedule import Target, render_cron, render_kubernetes, render_systemd
from jobs.nights.schedule_config import (
    ScheduleConfig,
    load_schedule,
    only_in_image,
    require_cluster,
)
from jobs.nights.schedule_install import (
    install_cron,
    install_systemd,
    needs_cron_tz,
    uninstall_cron,
    uninstall_systemd,
)
from jobs.run.auth import refuse_secrets
from pipeline.audits.config import load_audit_config
from pipeline.errors import ConfigError

NUM_SHOWN = 3
IN_PODS = ("kubernetes", "kuberay")
"""The targets whose nights run in pods."""


def print_schedule(file: Path, target: Target, *, install: bool, uninstall: bool) -> int:
    """Print the files for the target, or install or remove them. The next nights go to stderr."""
    messages = screen.messages()
    file = file.absolute()
    folder = Path.cwd()
    config = load_schedule(file)
    if install and uninstall:
        raise ConfigError(
            "--install and --uninstall contradict each other", hint="give one of them"
        )
    if (install or uninstall) and target in IN_PODS:
        verb = "apply" if install else "delete"
        raise ConfigError(
            f"a schedule for {target} is only printed: winnow cannot install or remove it",
            hint=f"winnow schedule {file.name} --to {target} | kubectl {verb} -f -",
        )
    if uninstall:
        done = uninstall_cron(config) if target == "cron" else uninstall_systemd(config)
        messages.print(done)
        return 0
    if install:
        put = install_cron if target == "cron" else install_systemd
        messages.print(put(config, file, folder))
    elif target == "cron":
        print(render_cron(config, file, folder, cron_tz=needs_cron_tz(config)))
    elif target == "systemd":
        for name, unit in render_systemd(config, file, folder).items():
            print(f"# ~/.config/systemd/user/{name}\n{unit}\n")
    else:
        cluster = require_cluster(config, file)
        text = file.read_text(encoding="utf-8")
        refuse_secrets(
            {str(file): text}, "anyone who can read the namespace can read it in the ConfigMap"
        )
        print(render_kubernetes(config, cluster, text, target), end="")
    in_pods = only_in_image(file) if target in IN_PODS else None
    for warning in (in_pods, _where_to_set_webhook(config, file, target), _several_a_day(config)):
        if warning is not None:
            screen.say(f"Warning: {warning}", "yellow")
    _say_next(config, _scheduler(config, target), messages)
    return 0


def _where_to_set_webhook(config: ScheduleConfig, file: Path, target: Target) -> str | None:
    """What the schedule lacks of the webhook: its URL is a secret, and not written into it."""
    webhook = load_audit_config(file).webhook
    if webhook is None or webhook.url_env is None:
        return None
    name = webhook.url_env
    where = f"put a line {name}=URL above the night's in the crontab"
    if target == "systemd":
        where = (
            f"systemctl --user edit {config.name}.service, and add [Service] and "
            f"EnvironmentFile=FILE, where FILE has a line {name}=URL"
        )
    elif target != "cron":
        assert config.cluster is not None
        where = f"the Secret {config.cluster.credentials_secret} needs a key {name}"
    return (
        f"the schedule does not hold the environment variable {name} (url_env in [audit.webhook]), "
        f"without which every night stops before scoring: {where}"
    )


def _several_a_day(config: ScheduleConfig) -> str | None:
    """What more starts than one are for: a night is a date."""
    if (starts := starts_per_day(config.cron)) == 1:
        return None
    return (
        f"cron = {config.cron!r} starts {starts} times a day, and a night is a date: the first "
        "start audits the corpus, the others only resume a night that was stopped or left shards "
        "unscored"
    )


def _scheduler(config: ScheduleConfig, target: Target) -> Scheduler:
    if target == "cron":
        return "cron with CRON_TZ" if needs_cron_tz(config) else "cron"
    return "systemd" if target == "systemd" else "Kubernetes"


def _say_next(config: ScheduleConfig, scheduler: Scheduler, messages: Console) -> None:
    now = datetime.now(UTC)
    runs = next_runs(config.cron, config.zone, now, NUM_SHOWN, scheduler)
    times = ", ".join(f"{run:%a %Y-%m-%d %H:%M %Z}" for run in runs)
    messages.print(f"Next: {times}", style="dim")
    nights = odd_nights(config.cron, config.zone, now, scheduler)
    for night in nights:
        messages.print(f"Warning: {_odd(night, config.time_zone, scheduler)}", style="yellow")
    if nights and (regular := regular_schedule(config.cron, config.zone, now)):
        messages.print(
            f'Hint: use cron = "{regular}", a time that occurs exactly once every day in '
            f"{config.time_zone}"
        )


def _odd(night: OddNight, time_zone: str, scheduler: Scheduler) -> str:
    what = "comes twice" if night.exists else "does not exist"
    where = f"{night.planned:%H:%M} {what} in {time_zone} on {night.planned:%Y-%m-%d}"
    if not night.starts:
        return f"{where}: {scheduler} does not start that night"
    if len(night.starts) == 1:
        return f"{where}: {scheduler} starts that night at {night.starts[0]:%H:%M %Z}"
    starts = " and ".join(f"{start:%H:%M %Z}" for start in night.starts)
    return (
        f"{where}: {scheduler} starts that night at {starts}; the later start does nothing if the "
        "night is running or done"
    )
