"""What a field of a settings model declares, as options, help and files show it.

Owns reading a field. A field is declared once: its type, default and bounds as pydantic has them,
`description` as the help, and `Shown` for what neither of them can say:

    window_tokens: Annotated[int | None, Shown(default="2048, or what fits")] = Field(
        default=None, ge=2, description="Longest prompt, prefix and context included."
    )
"""

from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Shown:
    """What the type and the default of a field do not show."""

    default: str = ""
    """Words for what happens if the setting is not given."""
    form: str = ""
    """How a value is written, such as LOW:HIGH."""
    variable: str = ""
    """Another environment variable that is read."""
    positional: bool = False
    """Whether the setting is an argument instead of an option."""
    may_be_empty: bool = False
    """Whether an empty string has a meaning."""


class Setting(NamedTuple):
    """One field, ready to be shown."""

    name: str
    kind: type
    """Type of a value on the command line: bool, int or float; str if the model parses it."""
    repeated: bool
    choices: tuple[str, ...]
    default: Any
    help: str
    """What the setting does, and what happens if it is not given."""
    shown: Shown


def option_of(setting: str) -> str:
    """A setting as the command line writes it."""
    return f"--{setting.replace('_', '-')}"


def settings_of(model: type[BaseModel]) -> list[Setting]:
    """Every field of a model: first those that must be set, otherwise in order."""
    fields = sorted(model.model_fields.items(), key=lambda one: not one[1].is_required())
    return [_setting(name, field) for name, field in fields]


def _setting(name: str, field: FieldInfo) -> Setting:
    kinds = [one for one in get_args(field.annotation) if one is not NoneType]
    kind: Any = kinds[0] if NoneType in get_args(field.annotation) else field.annotation
    origin = get_origin(kind)
    parsed = any(isinstance(one, BeforeValidator) for one in field.metadata)
    shown = next((one for one in field.metadata if isinstance(one, Shown)), Shown())
    # One text of an option may be parsed into several values; of an argument there are several.
    repeated = origin is dict or (origin is tuple and (shown.positional or not parsed))
    choices = get_args(kind) if origin is Literal else ()
    typed = kind if kind in (bool, int, float) and not parsed else str
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    words = shown.default or _default_in_words(name, default)
    text = f"{field.description}  [default: {words}]" if words else field.description or ""
    return Setting(name, typed, repeated, choices, default, text, shown)


def _default_in_words(name: str, default: Any) -> str:
    if isinstance(default, bool):
        return name if default else ""
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default in (None, (), {}) else str(default)
