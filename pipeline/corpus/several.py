"""Several locations as one corpus, such as the names that a shell puts in place of a glob.

Owns the folder that they have in common, and which of the names that a shell puts are refused.
"""

import os
from collections.abc import Sequence
from itertools import takewhile

from pyarrow import fs

from pipeline.corpus.files import find_files
from pipeline.corpus.patterns import is_hidden, is_parquet
from pipeline.errors import CorpusError
from pipeline.storage.filesystem import Root, open_root
from pipeline.storage.locations import split_options


def find_corpus(corpora: Sequence[str]) -> tuple[Root, dict[str, fs.FileInfo]]:
    """As `find_files` of all of them: names are relative to the nearest folder above them all.

    What is named twice is there once. Raises CorpusError.
    """
    if len(corpora) == 1:
        return find_files(corpora[0])
    found = [find_files(location) for location in corpora if not _is_passed_over(location)]
    if not found:
        raise CorpusError(f"no Parquet file in {', '.join(corpora[:3])}")
    folders = [_folder(root) for root, _ in found]
    root = open_root(_shared(folders))
    above = len(_folder(root).rstrip("/"))
    files = {
        f"{folder[above:]}/{name}".lstrip("/"): info
        for folder, (_, names) in zip(folders, found, strict=True)
        for name, info in names.items()
    }
    return root, dict(sorted(files.items()))


def _is_passed_over(location: str) -> bool:
    """Whether a name beside others is of no document: a shell puts `_SUCCESS` for `*`, too.

    Raises CorpusError for a hidden name that may be: a folder or a glob would pass it over.
    """
    path, _ = split_options(location)
    name = path.rstrip("/").rpartition("/")[2]
    if name in (".", "..") or not is_hidden(name):
        return False
    root = open_root(location)
    is_file = root.filesystem.get_file_info(root.path).type == fs.FileType.File
    if is_file and not is_parquet(name):
        return True
    raise CorpusError(
        f"{location} is hidden (its name begins with _ or .), and a corpus has no hidden files",
        hint="to skip it, give the folder, or quote the glob so that the shell does not expand it; "
        "to include it, rename it",
    )


def _folder(root: Root) -> str:
    folder, _ = split_options(root.location)
    return os.path.realpath(folder) if root.is_local and ".." in folder.split("/") else folder


def _shared(folders: Sequence[str]) -> str:
    """The nearest folder above all. Raises CorpusError where there is none in one store."""
    split = [folder.rstrip("/").split("/") for folder in folders]
    parts = [one[0] for one in takewhile(lambda one: len({*one}) == 1, zip(*split, strict=False))]
    # Of "s3://bucket/a", the first three are the bucket.
    if not parts or (parts[0].endswith(":") and len(parts) < 3):
        raise CorpusError(
            f"{folders[0]} and {next(one for one in folders if one != folders[0])} are not in the "
            "same store",
            hint="score each of them into a run of its own",
        )
    return "/".join(parts) or "/"
