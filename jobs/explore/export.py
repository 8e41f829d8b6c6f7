"""The rule of a page to take away: as a command for a shell, and as TOML for --config."""

import json
import os
import shlex
from itertools import count
from typing import Any

OUT = "kept"


def new_folder() -> str:
    """A folder to write to, for the reader to change: one that is not there yet, so that the
    command writes beside nothing."""
    names = (OUT if number == 1 else f"{OUT}-{number}" for number in count(1))
    return next(f"{name}/" for name in names if not os.path.lexists(name))


def as_command(settings: dict[str, Any]) -> str | None:
    """`winnow filter` with these settings; None where a name cannot be told in an option."""
    words = ["winnow", "filter"]
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if name == "run":
            words.append(value)
        elif name == "out":
            words += [option, new_folder()]
        elif value is True:
            words.append(option)
        elif isinstance(value, dict):
            if any("=" in metric or metric != metric.strip() for metric in value):
                return None
            words += [f"{option}={metric}={_number(bound)}" for metric, bound in value.items()]
        elif isinstance(value, tuple):
            words.append(f"{option}={':'.join(map(_number, value))}")
        else:
            words.append(f"{option}={value}")
    return shlex.join(words)


def as_toml(settings: dict[str, Any]) -> str:
    """The same settings under [filter]."""
    lines = ["[filter]"]
    for name, value in settings.items():
        lines.append(f"{name} = {_toml(new_folder() if name == 'out' else value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A basic string of TOML is JSON's, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items())} }}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return _number(value)


def _number(value: float) -> str:
    # The very double that was counted with; short where it is whole.
    return repr(value).removesuffix(".0")
