"""What `winnow config show` prints: the settings of a command, and where each comes from.

Owns finding which option, variable, file or default a value comes from. Precedence and checks are
those of the command itself: the same parser, the same loaders.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from jobs.cli.runs import print_json
from jobs.console import screen
from jobs.console.ending import spelling
from jobs.nights.schedule_config import ScheduleConfig, load_schedule
from jobs.run.auth import SECRETS
from pipeline.audits.config import AuditConfig, load_audit_config, load_night_config
from pipeline.errors import ConfigError
from pipeline.filters.config import FilterConfig
from pipeline.planning.cost import PlanConfig, load_plan_config
from pipeline.rendering.table import Table, Words
from pipeline.rendering.terminal import print_table
from pipeline.settings.config import ScoreConfig
from pipeline.settings.loading import has_table, load_settings, read_table
from pipeline.settings.names import near_or_known
from pipeline.settings.toml_lines import at_line

TABLES: dict[str, dict[str, type[BaseModel]]] = {
    "score": {"score": ScoreConfig},
    "plan": {"score": ScoreConfig, "plan": PlanConfig},
    "filter": {"filter": FilterConfig},
    "audit": {"score": ScoreConfig, "audit": AuditConfig, "schedule": ScheduleConfig},
    "schedule": {"score": ScoreConfig, "audit": AuditConfig, "schedule": ScheduleConfig},
}
"""The tables of a configuration file that each command reads; other commands have only options."""
NOT_SETTINGS = frozenset(["config", "dry_run", "as_json", "as_markdown"])
OF_THE_NIGHT = ("out", "reuse")
"""Keys of [score] that an audit sets itself."""
HIDDEN = "(hidden)"


class Setting(NamedTuple):
    """One setting as it would take effect."""

    table: str | None
    """Table of the configuration file; None for a setting that is only an option."""
    name: str
    value: Any
    origin: str
    """Where the value comes from: an option, an environment variable, a line of a file, default, or
    not set."""
    help: str


def show_settings(
    arguments: list[str], commands: Mapping[str, Any], root: Any, *, as_json: bool
) -> int:
    """Print the settings of a command line. Raises ConfigError, and typer's errors of usage."""
    name, *rest = arguments
    known = sorted(one for one in commands if not hasattr(commands[one], "commands"))
    if name not in known:
        raise ConfigError(
            f"{name!r} is not a command that has settings", hint=near_or_known(name, known)
        )
    context = commands[name].make_context(name, rest, parent=root)
    settings = _settings(name, context)
    if as_json or context.params.get("as_json"):
        print_json({"command": name, "settings": [one._asdict() for one in settings]})
        return 0
    rows = [
        (
            f"{one.table}.{one.name}" if one.table else one.name,
            _as_text(one.value),
            one.origin,
        )
        for one in settings
    ]
    columns = ("setting", Words("value"), Words("from"))
    print_table(Table(columns=columns, rows=rows), screen.data())
    return 0


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _settings(name: str, context: Any) -> list[Setting]:
    given, file = _given(context), context.params.get("config")
    values = {key: value for key, (value, _) in given.items()}
    with spelling(context.command):
        _check(name, file, values)
    found: list[Setting] = []
    for table, model in TABLES.get(name, {}).items():
        written = read_table(file, table) if file and has_table(file, table) else {}
        for key, field in model.model_fields.items():
            if key in given and table in ("score", "filter"):
                value, origin = given[key]
            elif key in written:
                assert file is not None
                at = at_line(file, table, key) or at_line(file, f"{table}.{key}")
                value, origin = written[key], f"{file}{at}"
            elif table == "score" and name != "score" and key in OF_THE_NIGHT:
                continue  # chosen by a night, and irrelevant to a plan
            else:
                required = field.is_required()
                value = None if required else field.get_default(call_default_factory=True)
                origin = "not set" if required else "default"
            found.append(Setting(table, key, _fit_to_show(value), origin, field.description or ""))
    in_tables = {one.name for one in found}
    for param in context.command.params:
        if param.name in context.params and param.name not in in_tables | NOT_SETTINGS:
            value, origin = given.get(param.name, (context.params[param.name], "default"))
            found.append(Setting(None, param.name, _fit_to_show(value), origin, param.help or ""))
    return found


def _given(context: Any) -> dict[str, tuple[Any, str]]:
    """What arguments, options and environment variables say: name -> (value, which of them)."""
    found = {}
    for param in context.command.params:
        source, value = context.get_parameter_source(param.name), context.params.get(param.name)
        if source is None or source.name == "DEFAULT" or value is None or value == []:
            continue
        origin = max(param.opts, key=len) if param.param_type_name == "option" else "argument"
        if source.name == "ENVIRONMENT":
            named = param.envvar or f"{context.auto_envvar_prefix}_{param.name.upper()}"
            names = [named] if isinstance(named, str) else named
            origin = next((one for one in names if os.environ.get(one)), names[0])
        found[param.name] = (value, origin)
    return found


def _check(name: str, file: Path | None, given: dict[str, Any]) -> None:
    """Raise ConfigError where the command would; what is required may be missing."""
    for table, model in TABLES.get(name, {}).items():
        if table in ("score", "filter") and name not in ("audit", "schedule"):
            ours = {key: value for key, value in given.items() if key in model.model_fields}
            scored = file if name == table or (file and has_table(file, table)) else None
            written = read_table(scored, table) if scored else {}
            required = [key for key, field in model.model_fields.items() if field.is_required()]
            missing = {key: "-" for key in required if key not in written}
            load_settings(model, table, scored, missing | ours, ())
    if name == "plan" and file and has_table(file, "plan"):
        load_plan_config(file)
    if name in ("audit", "schedule"):
        assert file is not None
        places = given.get("address"), given.get("corpus")
        load_night_config(file, load_audit_config(file), "-", *places)
        if name == "schedule" or has_table(file, "schedule"):
            load_schedule(file)


def _fit_to_show(value: Any) -> Any:
    """The value, without secrets."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if key == "url" else _fit_to_show(inner) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_fit_to_show(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return HIDDEN if isinstance(value, str) and SECRETS.search(value) else value
