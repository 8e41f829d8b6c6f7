"""Which names in a folder are a corpus's, by their endings or by a glob; opens no file."""

import fnmatch
import re

SUFFIXES = ".parquet", ".pq", ".parq"
"""File name endings of a corpus, in upper or lower case."""
GLOB_CHARACTERS = frozenset("*?[")
PACKED = r"\.(gz|gzip|zst|zstd|bz2|xz|lz4|zip|br|7z)"
WRAPPED = re.compile(rf"(.+)({PACKED}|\.(part|partial|incomplete|crdownload|download|filepart))")
"""Matches the name of a file that is compressed as a whole, or of an unfinished download."""
OTHER_DATA = re.compile(
    rf".+\.((jsonl|ndjson|csv|tsv|arrow|feather|orc|avro|warc|wet|tar)({PACKED})?"
    rf"|(json|txt){PACKED}|tgz)"
)
"""Suffixes of other document formats; `.json` and `.txt` files are more often about documents."""


def is_hidden(name: str) -> bool:
    """Whether any part of a name begins as those do that Spark passes over, which reads `_x=1/`."""
    return any(
        part.startswith(".") or (part.startswith("_") and "=" not in part)
        for part in name.split("/")
    )


def is_parquet(name: str) -> bool:
    """Whether a name ends as a Parquet file's does."""
    return name.lower().endswith(SUFFIXES)


def is_wrapped(name: str) -> bool:
    """Whether a name is a Parquet file's with another ending behind it: `a.parquet.gz`."""
    found = WRAPPED.fullmatch(name.lower())
    return found is not None and is_parquet(found[1])


def is_other_data(name: str) -> bool:
    """Whether a name is of a file of documents, in another format than Parquet."""
    return OTHER_DATA.fullmatch(name.lower()) is not None


def partitions_of(name: str) -> list[str]:
    """The folders of a name that say what a column would: `lang=en/`, as Hive has them."""
    return [part for part in name.split("/")[:-1] if part.find("=") > 0]


def matches(name: str, pattern: str) -> bool:
    """Shell rules: `*` stays within a folder, `**` is any number of folders.

    A folder that is named as a file, such as Spark's `a.parquet/`, stands for its files.
    """
    names, patterns = name.split("/"), pattern.split("/")
    if _match(names, patterns):
        return True
    return is_parquet(name) and any(
        is_parquet(part) and _match(names[:depth], patterns)
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
