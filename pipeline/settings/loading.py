"""Settings from a TOML file and the options over it; every mistake in them is one line.

Owns the precedence (option or environment variable, then the file, then the default), unknown keys
and tables, and the words for what pydantic refuses. A file has one table per command; the keys are
the fields of that command's model.
"""

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from pipeline.errors import ConfigError, in_a_line, named
from pipeline.settings.fields import Shown
from pipeline.settings.names import near_name, near_or_known, near_path
from pipeline.settings.toml_lines import at_line

TABLES = ("score", "plan", "filter", "audit", "schedule")
"""Tables that one file may have; each command reads its own."""
UNKNOWN, MISSING, CHOICE = "extra_forbidden", "missing", "literal_error"
QUOTED = re.compile("'([^']*)'")
"""A choice, in pydantic's list of them."""
SHAPES = {
    "model_type": ("a table", "[{}]"),
    "dict_type": ("a table of tables", "[{}.NAME]"),
    "tuple_type": ("a list of tables", "[[{}]]"),
}
"""Pydantic's error for a value that is not a table -> what it must be, and how that is written."""
TWICE = re.compile(r"Cannot declare \('(\w+)', '(require)'\) twice")
"""What tomllib says of a second [audit.require]; the only table that there may be several of."""
PREFIXES = ("Value error, ", "Input ", "String ")

Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(
    kind: type[Settings],
    table: str,
    file: Path | None,
    options: dict[str, Any] | None = None,
    required: Collection[str] | None = None,
) -> Settings:
    """Merge `options` (those that are not None) over one table of `file`.

    `options` is None where only the file is asked. `required` are the keys that must not be empty;
    by default those without a default. Raises UsageError, naming the key, and its place in the
    file.
    """
    found = read_table(file, table) if file else {}
    given = None if options is None else {k: v for k, v in options.items() if v is not None}
    if required is None:
        required = [key for key, field in kind.model_fields.items() if field.is_required()]
    merged = {
        key: _as_tuple(value, kind.model_fields[key]) if _holds(kind, key)[0] is tuple else value
        for key, value in (found | (given or {})).items()
        if not (isinstance(value, str) and not value and key in required)
    }
    _refuse_empty(merged, kind)
    try:
        return kind(**merged)
    except ValidationError as error:
        raise mistake(error, kind, table, file, given) from None


def fits(kind: type[BaseModel], **values: object) -> bool:
    """Whether a model takes these values."""
    try:
        kind(**values)
    except ValidationError:
        return False
    return True


def _as_tuple(value: Any, field: FieldInfo) -> Any:
    """A list as a tuple; one text, where no text is parsed into several, in place of a list."""
    if isinstance(value, list):
        return tuple(value)
    is_parsed = any(isinstance(one, BeforeValidator) for one in field.metadata)
    return (value,) if isinstance(value, str) and not is_parsed else value


def _refuse_empty(settings: dict[str, Any], kind: type[BaseModel]) -> None:
    """Raises ConfigError for an empty text where it means nothing."""
    for key, value in settings.items():
        field = kind.model_fields.get(key)
        if field is None or field.is_required() or _may_be_empty(field):
            continue
        if any(isinstance(one, str) and not one for one in _values(value)):
            raise ConfigError(
                f"{named(key)} is empty",
                hint="is a shell variable unset? Leave the setting out to use its default",
            )


def _values(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _may_be_empty(field: FieldInfo) -> bool:
    return any(isinstance(one, Shown) and one.may_be_empty for one in field.metadata)


def read_table(file: Path, name: str) -> dict[str, Any]:
    """One table of a TOML file. Raises ConfigError."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        hint = None
        if isinstance(error, FileNotFoundError):
            hint = _instead_of(file, name)
        elif isinstance(error, IsADirectoryError):
            hint = "name a TOML file"
        raise ConfigError(
            f"cannot read the configuration {file}: {error.strerror}", hint=hint
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = None
        if found := TWICE.search(str(error)):
            hint = f"write [[{found[1]}.{found[2]}]] if there are several of them"
        raise ConfigError(f"{file} is not TOML: {error}", hint=hint) from None
    if unknown := sorted(document.keys() - set(TABLES)):
        raise ConfigError(
            f"unknown table '{unknown[0]}' in {file}{at_line(file, unknown[0])}",
            hint=near_or_known(unknown[0], list(TABLES)),
        )
    table = document.get(name)
    if not isinstance(table, dict):
        raise ConfigError(f"{file} has no [{name}] table", hint=f"put the keys under [{name}]")
    return table


def _instead_of(file: Path, table: str) -> str:
    """A hint for a file that is not there."""
    if hint := near_path(file, "*.toml"):
        return hint
    example = "audit" if table in ("audit", "schedule") else "score"
    return f"write one: infra/configs/{example}.toml of Winnow's repository is an example to copy"


def has_table(file: Path, name: str) -> bool:
    """Whether the file has a table; a file that is no TOML is read_table's to refuse."""
    try:
        return name in tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False


def mistake(
    error: ValidationError,
    kind: type[BaseModel],
    table: str,
    file: Path | None,
    given: Collection[str] | None = None,
) -> ConfigError:
    """What pydantic refuses, in a line: the setting that was given, or its place in the file.

    An unknown key comes before one that is missing, for it may be that one, misspelt.
    """
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda one: (one["type"] != UNKNOWN, one["type"] != MISSING))
    place = _place(kind, table, first["loc"], is_table=first["type"] not in SHAPES)
    number, key = place.number, place.key
    where = f"[{place.table}]" if number is None else f"[[{place.table}]] {number}"
    where = f"{where} of {file}" if file else "the settings of a Scorer"  # which takes any key
    of_table = key is None or first["type"] == MISSING
    at = at_line(file, place.table, None if of_table else key, number or 1) if file else ""
    if first["type"] == UNKNOWN:
        known = list(place.kind.model_fields)
        return ConfigError(
            f"unknown key '{key}' in {where}{at}", hint=near_or_known(str(key), known)
        )
    if first["type"] == MISSING and given is None:
        return ConfigError(f"{key} is not set in {where}{at}")
    if first["type"] == MISSING:
        hint = f"give {named(str(key))}, or {key} = ... under [{table}] in a {named('config')} file"
        return ConfigError(f"{key} is not set", hint=hint)
    rule = first["msg"]
    for prefix in PREFIXES:
        rule = rule.removeprefix(prefix)
    rule = rule.replace("should", "must")
    if key is None:
        return ConfigError(f"{where}: {rule}{at}" if file else rule)
    if place.of_tables and first["type"] in SHAPES:
        shape, written = SHAPES[first["type"]]
        hint = f"write {written.format(f'{place.table}.{key}')} above its keys"
        return ConfigError(f"{key} in {where} is not {shape}{at}", hint=hint)
    # What repr() must not show is a secret, and no message does.
    shown = in_a_line(first["input"]) if place.kind.model_fields[key].repr else ""
    near = None
    if first["type"] == CHOICE and isinstance(first["input"], str):
        near = near_name(first["input"], QUOTED.findall(first["ctx"]["expected"]))
    meant = near and f"did you mean '{near}'?"
    if file is None or key in (given or ()):
        return ConfigError(f"{named(key)}{shown}: {rule}", hint=meant)
    return ConfigError(f"{key} in {where}{shown}: {rule}{at}", hint=meant)


class _Place(NamedTuple):
    table: str
    number: int | None
    """Number of the table from 1, if there may be several."""
    key: str | None
    """The key at fault; None if the mistake is in the whole table."""
    kind: type[BaseModel]
    """What kind of table it is, in words."""
    of_tables: bool
    """Whether the key must hold a table, or several."""


def _place(
    kind: type[BaseModel], table: str, loc: tuple[int | str, ...], *, is_table: bool
) -> _Place:
    number: int | None = None
    while loc:
        key, loc = str(loc[0]), loc[1:]
        shape, inner = _holds(kind, key)
        if inner is None or not (loc or is_table):
            return _Place(table, number, key, kind, inner is not None)
        table = f"{table}.{key}"
        if shape is tuple:
            number, loc = int(loc[0]) + 1, loc[1:]
        elif shape is dict:
            if len(loc) == 1 and not is_table:
                return _Place(table, number, str(loc[0]), kind, True)
            table, loc = f"{table}.{loc[0]}", loc[1:]
        kind = inner
    return _Place(table, number, None, kind, False)


def _holds(kind: type[BaseModel], key: str) -> tuple[Any, type[BaseModel] | None]:
    """Whether a field is a tuple or a dict, or neither; and the model of the tables in it."""
    field = kind.model_fields.get(key)
    annotation = field.annotation if field else None
    if NoneType in (choices := get_args(annotation)):
        annotation = next(one for one in choices if one is not NoneType)
    inner = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
    models = [one for one in inner if issubclass(one, BaseModel)]
    return get_origin(annotation), models[0] if models else None
