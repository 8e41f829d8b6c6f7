"""Which names of a folder a glob matches, and which it never matches; opens no file."""

import fnmatch

GLOB_CHARACTERS = frozenset("*?[")


def is_hidden(name: str) -> bool:
    """Whether any part of a name begins as those do that Spark and Hive pass over."""
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def partition_of(name: str) -> str | None:
    """The first folder of a name that says what a column would: `lang=en/`, as Hive has them."""
    return next((part for part in name.split("/")[:-1] if part.find("=") > 0), None)


def matches(name: str, pattern: str, suffixes: tuple[str, ...]) -> bool:
    """Shell rules: `*` stays within a folder, `**` is any number of folders.

    A folder that is named as a file, such as Spark's `a.parquet/`, stands for its files.
    """
    names, patterns = name.split("/"), pattern.split("/")
    if _match(names, patterns):
        return True
    return name.lower().endswith(suffixes) and any(
        part.lower().endswith(suffixes) and _match(names[:depth], patterns)
        for depth, part in enumerate(names[:-1], 1)
    )


def may_hold(folder: str, pattern: str) -> bool:
    """Whether a name that begins with this folder may match."""
    names, patterns = folder.split("/"), pattern.split("/")
    if "**" in patterns:
        patterns = patterns[: patterns.index("**")]
        names = names[: len(patterns)]
    return len(names) <= len(patterns) and _match(names, patterns[: len(names)])


def _match(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_match(names[i:], patterns[1:]) for i in range(len(names) + 1))
    return (
        bool(names)
        and fnmatch.fnmatchcase(names[0], patterns[0])
        and _match(names[1:], patterns[1:])
    )
