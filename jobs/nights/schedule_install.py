"""Install a night in a user's crontab or systemd, or remove it.

Owns what is changed on this machine: one marked block of the crontab, or two unit files. Installing
twice has the same effect as installing once.
"""

import os
import subprocess
from pathlib import Path

from jobs.nights.schedule import render_cron, render_systemd
from jobs.nights.schedule_config import ScheduleConfig
from pipeline.errors import ConfigError, WinnowError

ZONE_LINK = Path("/etc/localtime")


def install_cron(config: ScheduleConfig, file: Path, folder: Path) -> str:
    """Add or replace the block of the crontab; what was done.

    Raises ConfigError if this machine's cron would start it in another time zone.
    """
    cron_tz = needs_cron_tz(config)
    if cron_tz and "cronie" not in _run("crontab", "-V", may_fail=True):
        raise ConfigError(
            f"cron on this machine starts jobs in its time zone ({machine_zone() or 'unknown'}), "
            f"not in time_zone = {config.time_zone!r}",
            hint="--to systemd takes any time zone; or set time_zone to the machine's and convert "
            "the hours of cron to it",
        )
    line = render_cron(config, file, folder, cron_tz=cron_tz)
    kept = _without_block(_crontab(), config.name)
    begin, end = _marks(config.name)
    _run("crontab", "-", text=f"{kept}{begin}\n{line.rstrip()}\n{end}\n")
    return f"{config.name} was added to the crontab"


def uninstall_cron(config: ScheduleConfig) -> str:
    """Remove the block; what was done."""
    before = _crontab()
    after = _without_block(before, config.name)
    if after == before:
        return f"{config.name} is not in the crontab: nothing to remove"
    _run("crontab", "-", text=after)
    return f"{config.name} was removed from the crontab"


def install_systemd(config: ScheduleConfig, file: Path, folder: Path) -> str:
    """Write the units and start the timer; what was done."""
    _run("systemctl", "--user", "show-environment")  # before anything is written
    units = _units_folder()
    units.mkdir(parents=True, exist_ok=True)
    for name, text in render_systemd(config, file, folder).items():
        (units / name).write_text(text + "\n", encoding="utf-8")
    _run("systemctl", "--user", "daemon-reload")
    _run("systemctl", "--user", "enable", "--now", f"{config.name}.timer")
    return (
        f"{config.name}.timer is enabled in {units}; loginctl enable-linger lets it run while you "
        "are logged out"
    )


def uninstall_systemd(config: ScheduleConfig) -> str:
    """Stop the timer and delete the units; what was done."""
    units = [_units_folder() / f"{config.name}.{kind}" for kind in ("timer", "service")]
    if not any(unit.exists() for unit in units):
        return f"{config.name} is not among the units in {_units_folder()}: nothing to remove"
    _run("systemctl", "--user", "disable", "--now", f"{config.name}.timer", may_fail=True)
    for unit in units:
        unit.unlink(missing_ok=True)
    _run("systemctl", "--user", "daemon-reload", may_fail=True)
    return f"{config.name} was removed from {_units_folder()}"


def needs_cron_tz(config: ScheduleConfig) -> bool:
    """Whether this machine's cron would start the nights in another time zone."""
    return machine_zone() != config.time_zone


def machine_zone() -> str | None:
    """The time zone that this machine's cron uses; None if it is unknown."""
    _, found, zone = str(ZONE_LINK.resolve()).partition("/zoneinfo/")
    if not found:
        return None
    return "UTC" if zone in ("Etc/UTC", "UCT", "Etc/UCT", "Universal", "Zulu") else zone


def _units_folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "systemd" / "user"


def _marks(name: str) -> tuple[str, str]:
    return f"# BEGIN winnow {name}", f"# END winnow {name}"


def _without_block(crontab: str, name: str) -> str:
    begin, end = _marks(name)
    lines = crontab.splitlines(keepends=True)
    bare = [line.rstrip("\n") for line in lines]
    if begin not in bare:
        return crontab if not crontab or crontab.endswith("\n") else crontab + "\n"
    first = bare.index(begin)
    if end not in bare[first:]:
        raise ConfigError(
            f"the crontab has a line {begin!r} and none that ends the block",
            hint=f"add {end!r} after the block with crontab -e",
        )
    return "".join(lines[:first] + lines[bare.index(end, first) + 1 :])


def _crontab() -> str:
    """The user's crontab; an empty one is reported as an error."""
    try:
        done = subprocess.run(["crontab", "-l"], capture_output=True, text=True)
    except FileNotFoundError:
        raise _no_program("crontab") from None
    if done.returncode and "no crontab" not in done.stderr.lower():
        raise WinnowError(f"crontab -l failed: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else ""


def _run(*command: str, text: str | None = None, may_fail: bool = False) -> str:
    """Run a program of this machine; what it printed."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True)
    except FileNotFoundError:
        raise _no_program(command[0]) from None
    if done.returncode and not may_fail:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise WinnowError(f"{' '.join(command)} failed: {said}")
    return done.stdout + done.stderr


def _no_program(name: str) -> ConfigError:
    return ConfigError(
        f"{name} is not installed on this machine",
        hint="leave out --install to print the schedule for another machine",
    )
