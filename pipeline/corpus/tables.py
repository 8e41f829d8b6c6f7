"""Tables of Delta Lake, Iceberg and Hudi: a log, and not the folder, says which files are of them.

Owns recognising one, by the names alone, and the refusal: its files may hold rows that were deleted
and old versions of others.
"""

import re
from collections.abc import Iterable

from pyarrow import fs

from pipeline.errors import AccessError, CorpusError
from pipeline.storage.filesystem import Root
from pipeline.storage.locations import split_options

LOGS = {
    "Delta Lake": re.compile(r"/_delta_log/"),
    "Iceberg": re.compile(r"/metadata/[^/]+\.metadata\.json"),
    "Hudi": re.compile(r"/\.hoodie/"),
}
FOLDERS = {"_delta_log": "Delta Lake", "metadata": "Iceberg", ".hoodie": "Hudi"}
"""Folders of a table format's log, in the table's own folder."""
INNER = re.compile(r"data|[^/]*=[^/]*")
"""Folders in which tables have their files: Iceberg's own, and those of partitions."""


def refuse_tables(root: Root, names: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises CorpusError if a wanted file is of a table, whose log is among the names or above."""
    folder, _ = split_options(root.location)
    tables = {}
    for name in names:
        for kind, is_log in LOGS.items():
            if found := is_log.search(f"/{name}"):
                tables[f"/{name}"[: found.start() + 1]] = kind
    for table, kind in tables.items():
        if any(f"/{name}".startswith(table) for name in wanted):
            raise _refusal(f"{folder}{table.rstrip('/')}", kind)
    path = root.path.rstrip("/")
    while INNER.fullmatch(path.rpartition("/")[2]):
        path, folder = path.rpartition("/")[0], folder.rstrip("/").rpartition("/")[0]
        if above := _log_in(root.filesystem, path):
            raise _refusal(folder, above)


def _log_in(filesystem: fs.FileSystem, path: str) -> str | None:
    try:
        for name, kind in FOLDERS.items():
            look = fs.FileSelector(f"{path}/{name}", allow_not_found=True)
            for entry in filesystem.get_file_info(look):
                if LOGS[kind].search(f"/{name}/{entry.base_name}"):
                    return kind
    except (AccessError, OSError):  # who may read below a prefix may not look above it
        pass
    return None


def _refusal(table: str, kind: str) -> CorpusError:
    article = "an" if kind == "Iceberg" else "a"
    return CorpusError(
        f"{table} is {article} {kind} table: its files may hold deleted rows, and old versions of "
        "others",
        hint="export the table as Parquet files and score those; or name one of its files",
    )
