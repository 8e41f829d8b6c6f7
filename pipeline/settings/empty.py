"""Settings that are empty texts, as a variable of the shell that is not set makes them.

Owns refusing them, and which may be empty.
"""

from typing import Any

from pipeline.errors import ConfigError

MAY_BE_EMPTY = ("id_column", "model", "out")
"""No id; a plan needs no model and writes nothing."""


def refuse_empty(settings: dict[str, Any]) -> None:
    """Raises ConfigError for an empty text, which means nothing but as the name of an id column."""
    for key, value in settings.items():
        if key not in MAY_BE_EMPTY and (value == "" or (isinstance(value, tuple) and "" in value)):
            raise ConfigError(
                f"{key} is an empty text",
                hint="is a variable of the shell not set? Leave the setting out for its default",
            )
