"""Names that were probably meant, and those that there are: for an error about a name that is not
known."""

import contextlib
from difflib import get_close_matches
from pathlib import Path

MOST_NAMED = 20
"""Names that a line has, of columns or values of which there may be thousands."""


def near_name(name: str, known: list[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    folded = {key.casefold(): key for key in known}
    close = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def near_path(path: Path, pattern: str = "*") -> str:
    """A hint for a local path that is not there: what is beside it, by a pattern of names in the
    folder; empty if nothing is like it."""
    with contextlib.suppress(OSError):
        # A link to nowhere is beside itself, and no help.
        found = [one.relative_to(path.parent) for one in path.parent.glob(pattern) if one.exists()]
        beside = sorted({one.parts[0] for one in found})
        if near := near_name(path.name, beside):
            return f"did you mean {path.with_name(near)}?"
    return ""


def near_or_known(name: str, known: list[str], *, most: int | None = None) -> str:
    """A hint for a name that is not known; it lists at most so many others."""
    if near := near_name(name, known):
        return f"did you mean '{near}'?"
    return f"known: {listed(known, most=most)}" if known else "there are none"


def listed(names: list[str], *, none: str = "none", most: int | None = MOST_NAMED) -> str:
    """What there is, in a line: so many names at most, and `none` where there is nothing."""
    return ", ".join([*names[:most], *(["..."] if names[:most] != names else [])]) or none
