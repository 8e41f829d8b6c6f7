"""Names that were probably meant: for the hint of an error about a name that is not known."""

from difflib import get_close_matches


def near_name(name: str, known: list[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    folded = {key.casefold(): key for key in known}
    close = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def near_or_known(name: str, known: list[str], *, most: int | None = None) -> str:
    """A hint for a name that is not known; it lists at most so many others."""
    if near := near_name(name, known):
        return f"did you mean '{near}'?"
    if not known:
        return "there are none"
    return f"known: {', '.join(known[:most])}{', ...' if known[:most] != known else ''}"
