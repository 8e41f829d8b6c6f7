"""A Winnow command to submit, checked before it is sent to a cluster.

Owns the request: the command line, its id, the folder that is uploaded with it. Imports no Ray:
talking to the cluster is job_client.py's.
"""

import contextlib
import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from jobs.console.ending import spelling
from jobs.run.auth import refuse_secrets
from pipeline.corpus.patterns import GLOB_CHARACTERS
from pipeline.errors import ConfigError, UsageError
from pipeline.settings.config import ScoreConfig, load_score_config
from pipeline.settings.loading import TABLES, has_table, read_table
from pipeline.settings.names import near_name

SHOWN = "everyone who can reach the dashboard can read it"
PYTHON = "python -P -m jobs.cli"
"""Runs the installed command, never a folder called jobs where the job starts."""
INNER_FOLDER = "working-dir"
"""Ray puts the folder that it uploads ahead of the standard library on the path of every process of
the job, its own included. So the user's files travel one level below, in a folder with a name that
cannot be imported.
"""
READ = frozenset(
    [
        *("corpus", "model", "reuse", "run", "runs", "other", "baseline", "judgements"),
        *("minus", "over", "cutoffs"),
    ]
)
"""Settings and arguments that name what a command reads, of every command and table."""
WRITTEN = frozenset(["out", "rejects"])
"""The same of what a command writes; a night writes into `runs`."""
TRACE = "trace"
"""The setting that names what is written to a disk, never to a store."""
ID_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Submission:
    """One Winnow command to run on a cluster."""

    id: str
    arguments: tuple[str, ...]
    """What follows `winnow`."""
    metadata: dict[str, str] = field(default_factory=dict)
    working_dir: Path | None = None
    """A folder to upload; the job starts in it."""
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory_bytes: int | None = None

    @property
    def entrypoint(self) -> str:
        """The line that a shell on the cluster runs."""
        command = f"{PYTHON} {shlex.join(self.arguments)}"
        return f"cd {INNER_FOLDER} && exec {command}" if self.working_dir else command

    @contextlib.contextmanager
    def upload_folder(self) -> Iterator[str]:
        """The folder to give to Ray, which has nothing in it but the working directory."""
        assert self.working_dir is not None
        with tempfile.TemporaryDirectory(prefix="winnow-submit-") as outer:
            (Path(outer) / INNER_FOLDER).symlink_to(self.working_dir.absolute())
            yield outer


def shown_command(entrypoint: str) -> str:
    """The command as the user typed it, from the line that a shell on the cluster runs."""
    return entrypoint.removeprefix(f"cd {INNER_FOLDER} && exec ").replace(PYTHON, "winnow", 1)


class Command(Protocol):
    """The part of a command of the command line that parses its arguments."""

    params: list[Any]

    def make_context(self, info_name: str | None, args: list[str]) -> Any:
        """Raises click's UsageError for arguments that the command does not take."""


def new_id(command: str) -> str:
    """A unique id that contains the command and the time."""
    return f"winnow-{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def check_id(job_id: str) -> str:
    """The id, if it is valid: it becomes part of URLs and file names. Raises UsageError."""
    if not ID_RULE.fullmatch(job_id):
        raise UsageError(
            f"{job_id!r} cannot be a job's id",
            hint="use up to 100 letters, digits, dots, dashes and underscores, a letter or digit "
            "first",
        )
    return job_id


def check_command(
    arguments: list[str], commands: dict[str, Command], working_dir: Path | None
) -> tuple[list[str], str | None]:
    """Refuse a command line that would fail on the cluster; what it reads and writes by a path of
    this machine, as `setting = path`: the cluster need not have it; and the trace that it writes on
    a disk of the cluster, if it does.

    `commands` are those that may run as jobs, by name. Files are looked for where the job will look
    for them, in `working_dir`; this machine's environment variables do not count, as the job will
    not have them. Raises UsageError, or click's own.
    """
    name, *rest = arguments
    if name not in commands:
        near = near_name(name, list(commands))
        raise ConfigError(
            f"{name!r} is not a command that can be submitted",
            hint=f"did you mean '{near}'?" if near else f"known: {', '.join(sorted(commands))}",
        )
    if working_dir is not None and not working_dir.is_dir():
        raise ConfigError(f"--working-dir {working_dir} is not a folder")
    refuse_secrets({f"argument {i} of {name}": text for i, text in enumerate(rest, 1)}, SHOWN)
    with contextlib.chdir(working_dir or Path.cwd()):
        options = dict(commands[name].make_context(f"winnow {name}", list(rest)).params)
        config = options.get("config")
        if config is not None and not Path(config).is_absolute() and working_dir is None:
            raise ConfigError(
                f"the job would not find {config}",
                hint=f"upload its folder with --working-dir {Path(config).parent}, and give the "
                "path of the file inside that folder",
            )
        if name == "score" and (config is None or Path(config).is_file() or working_dir):
            # Before typer calls a function, arguments that were not given are an empty tuple.
            asked = {key: options.get(key) for key in ScoreConfig.model_fields}
            settings = {key: value for key, value in asked.items() if value != ()}
            with spelling(commands[name]):
                load_score_config(config, settings)
        written = frozenset(["runs"]) if name == "audit" else WRITTEN
        known = {TRACE} | READ | written
        found = {} if config is None else _settings_in(Path(config), known)
        found |= {key: options[key] for key in known & options.keys() if options[key]}
        trace = found.pop(TRACE, None)
        here = [
            f"{key} = {str(one)!r}"
            for key, value in sorted(found.items())
            for one in (value if isinstance(value, list | tuple) else [value])
            if (
                _is_written_here(str(one))
                if key in written
                # With a working directory, what is in it is uploaded.
                else (Path(one).is_absolute() or working_dir is None) and _is_here(str(one))
            )
        ]
        return here, trace


def _is_here(location: str) -> bool:
    """Whether this machine has such a path, or the folder in which a pattern is looked for."""
    whole = Path(location)
    fixed = takewhile(lambda part: not GLOB_CHARACTERS.intersection(part), whole.parts)
    return whole.exists() or Path(*fixed).exists()


def _is_written_here(location: str) -> bool:
    """Whether a path that need not be there yet is one of this machine: an absolute one below a
    folder that this machine lacks was meant for the cluster."""
    path = Path(location)
    return "://" not in location and (not path.is_absolute() or path.parent.exists())


def _settings_in(file: Path, names: Set[str]) -> dict[str, Any]:
    """Those of the tables of a configuration file that have one of these names."""
    tables = [read_table(file, name) for name in TABLES if has_table(file, name)]
    return {key: table[key] for table in tables for key in names & table.keys()}


def parse_metadata(pairs: list[str]) -> dict[str, str]:
    """KEY=VALUE pairs. Raises ConfigError for anything else, and for a secret."""
    metadata = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--metadata {pair!r} is not KEY=VALUE")
        metadata[key.strip()] = value
    refuse_secrets(metadata, SHOWN)
    return metadata


def settings_left_behind(command: str) -> list[str]:
    """Environment variables that set options of the command here, but not on the cluster."""
    prefix = f"WINNOW_{command.upper().replace('-', '_')}_"
    return sorted(name for name in os.environ if name.startswith(prefix))
