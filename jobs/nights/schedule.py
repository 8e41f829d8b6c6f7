"""A nightly audit as files for cron, systemd or Kubernetes.

Owns their content: they start `winnow audit CONFIG` at the time in [schedule], never twice at once,
and stop it at its deadline. Installing them is schedule_install.py's.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.nights.cron_times import on_calendar
from jobs.nights.schedule_config import ClusterConfig, ScheduleConfig
from pipeline.errors import ConfigError

Target = Literal["cron", "systemd", "kubernetes", "kuberay"]
CONFIG_FOLDER = "/etc/winnow"
CONFIG_NAME = "winnow.toml"
HEAD_RESOURCES = {"cpu": "2", "memory": "8Gi"}
STOP_SECONDS = 300
"""How long a night may take to stop."""


def render_cron(config: ScheduleConfig, file: Path, folder: Path, *, cron_tz: bool) -> str:
    """The line of a crontab, explained in comments.

    `folder` is where the night runs: paths in `file` are relative to it.
    """
    state = Path.home() / ".local" / "state" / "winnow"
    log = str(state / f"{config.name}.log")
    lock = str(state / f"{config.name}.lock")
    # --close: processes that outlive the night must not hold the lock.
    alone = ["flock", "--nonblock", "--close", "--verbose", lock]
    in_time = ["timeout", f"--kill-after={STOP_SECONDS}", str(config.deadline_seconds)]
    guarded = shlex.join([*alone, *in_time, *_night(file)])
    folders = f"mkdir -p {shlex.quote(str(state))} && cd {shlex.quote(str(folder))}"
    command = f"{folders} && {guarded} >>{shlex.quote(log)} 2>&1"
    return (
        _environment(_plain)
        .get_template("cron.j2")
        .render(
            config.model_dump(),
            cron_tz=cron_tz,
            log=log,
            deadline_seconds=config.deadline_seconds,
            # cron ends a command at a %.
            command=_one_line(command).replace("%", "\\%"),
        )
    )


def render_systemd(config: ScheduleConfig, file: Path, folder: Path) -> dict[str, str]:
    """File name -> text of a service and its timer, for a user's own systemd."""
    facts = config.model_dump() | {
        "deadline_seconds": config.deadline_seconds,
        "folder": _one_line(str(folder)).replace("%", "%%"),
        "command": " ".join(_systemd_word(word) for word in _night(file)),
        "on_calendar": on_calendar(config.cron, config.time_zone),
    }
    environment = _environment(_plain)
    return {
        f"{config.name}.{kind}": environment.get_template(f"{kind}.j2").render(facts)
        for kind in ("service", "timer")
    }


def render_kubernetes(
    config: ScheduleConfig, cluster: ClusterConfig, text: str, target: Target
) -> str:
    """Manifests for `kubectl apply`: a CronJob that makes RayJobs, or a RayCronJob."""
    environment = _environment(_yaml)
    gpus = {"nvidia.com/gpu": cluster.gpus_per_worker} if cluster.gpus_per_worker else {}
    worker = {"cpu": cluster.cpus_per_worker, "memory": cluster.memory_per_worker} | gpus
    facts: dict[str, Any] = config.model_dump(exclude={"cluster"}) | cluster.model_dump()
    facts |= {
        "deadline_seconds": config.deadline_seconds,
        "labels": {"app.kubernetes.io/name": "winnow", "app.kubernetes.io/instance": config.name},
        "config_map": f"{config.name}-config",
        "manifest_map": f"{config.name}-night",
        "config_folder": CONFIG_FOLDER,
        "config_name": CONFIG_NAME,
        "config_path": Markup(f"{CONFIG_FOLDER}/{CONFIG_NAME}"),
        "config_text": _yaml_text(text),
        "ray_version": version("ray"),
    }

    def part(template: str, **more: Any) -> Markup:
        return Markup(environment.get_template(template).render(facts, **more).strip("\n"))

    facts["head_pod"] = part("pod.yaml.j2", pod_name="ray-head", resources=HEAD_RESOURCES)
    facts["worker_pod"] = part("pod.yaml.j2", pod_name="ray-worker", resources=worker)
    facts["rayjob_spec"] = part("rayjob_spec.yaml.j2")
    facts["night_script"] = part("night.sh")
    return f"{part(f'{target}.yaml.j2')}\n"


def _night(file: Path) -> list[str]:
    # -P: not a folder called jobs where the night runs.
    return [sys.executable, "-P", "-m", "jobs.cli", "audit", str(file)]


def _environment(finalize: Callable[[Any], Any]) -> Environment:
    return Environment(
        loader=PackageLoader("jobs.nights"),
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
    )


def _yaml(value: Any) -> Any:
    """A value as JSON, which is YAML but for the characters that YAML counts as line breaks."""
    if isinstance(value, Markup):
        return value
    return re.sub("[^ -~]", _yaml_escape, json.dumps(value, ensure_ascii=False))


def _yaml_text(text: str) -> Any:
    """A text as a block that people can read, its lines indented by four; one that would not
    arrive unchanged as it is, for `_yaml` to escape."""
    lines = text.removesuffix("\n").split("\n")
    begins_with_blank = text.lstrip("\n")[:1] in ("", " ", "\t")
    if begins_with_blank or not all(line.replace("\t", "").isprintable() for line in lines):
        return text
    last_breaks = "+" if text.endswith("\n\n") else "" if text.endswith("\n") else "-"
    return Markup("\n".join([f"|{last_breaks}", *(line and f"    {line}" for line in lines)]))


def _yaml_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(value: Any) -> Any:
    return value


def _systemd_word(word: str) -> str:
    """One argument of ExecStart= (systemd.service(5), quoting and specifiers)."""
    escaped = _one_line(word).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("%", "%%").replace("$", "$$") + '"'


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ConfigError(f"a schedule cannot hold the line break or control character in {text!r}")
    return text
