"""The words of a question: numbers and places that a page sends as text."""

import math
from collections.abc import Mapping, Sequence

from pipeline.errors import ConfigError
from pipeline.explore.rule import Band

Words = Mapping[str, str]


def whole(words: Words, name: str) -> int | None:
    """A whole number; None where there is none."""
    word = words.get(name, "")
    return int(word) if word.isascii() and word.isdecimal() else None


def one_of(names: Sequence[str], words: Words, name: str) -> str | None:
    """The one at a place."""
    at = whole(words, name)
    return names[at] if at is not None and at < len(names) else None


def number(word: str | None) -> float | None:
    """None where nothing is said. Raises ConfigError."""
    try:
        value = float(word) if word else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise ConfigError(f"{word!r} is not a number")
    return value


def bands(word: str | None) -> dict[int, Band]:
    """`0:4.8:5.3,2::5.1`: places of groups, with the ends of each. Raises ConfigError."""
    parts = [one.split(":") for one in (word or "").split(",") if one]
    if not all(len(one) == 3 and one[0].isascii() and one[0].isdecimal() for one in parts):
        raise ConfigError(f"{word!r} has no bands of groups")
    return {int(place): (number(low), number(high)) for place, low, high in parts}
