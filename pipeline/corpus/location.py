"""Where the corpus of a run is now: where it was scored, or where the user says it was moved."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyarrow import fs

from pipeline.corpus.files import open_corpus_root
from pipeline.errors import CorpusError, named
from pipeline.storage.filesystem import Root, open_root


@dataclass(frozen=True, slots=True)
class RenamedFile(Root):
    """The folder of a corpus of one file that was renamed."""

    planned_name: str
    name: str

    def full(self, name: str) -> str:
        """The path of the file, under its new name."""
        return Root.full(self, self.name if name == self.planned_name else name)


def locate(scored: str, names: Sequence[str], moved_to: str | None) -> Root:
    """The folder to read files of these names from. Raises CorpusError where `moved_to` is none.

    `scored` is where they were scored. `moved_to` is a folder or a glob; or a file, if there is
    but one, whatever it is called now.
    """
    if moved_to is None:
        return open_root(scored)
    try:
        root, name, _ = open_corpus_root(moved_to)
    except CorpusError as error:
        hint = f"give the current location of the run's corpus with {named('corpus')}"
        raise CorpusError(str(error), hint=hint) from None
    if name is None:
        return root
    if len(names) != 1:
        raise CorpusError(
            f"{named('corpus')} {moved_to} is one file, and the corpus of the run has {len(names)} "
            "files",
            hint="give the folder that holds all of them",
        )
    return RenamedFile(root.filesystem, root.path, root.location, names[0], name)


def find_planned(root: Root, names: Sequence[str]) -> dict[str, fs.FileInfo]:
    """Those of the files that are there, by name."""
    infos = root.filesystem.get_file_info([root.full(name) for name in names])
    found = zip(names, infos, strict=True)
    return {name: info for name, info in found if info.type != fs.FileType.NotFound}


def require_planned(root: Root, names: Sequence[str]) -> None:
    """Raises CorpusError if a file is not there."""
    found = find_planned(root, names)
    if missing := [name for name in names if name not in found]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CorpusError(
            f"{root.show(missing[0])} is no longer in the corpus{more}",
            hint=f"if the corpus was moved, give its new location with {named('corpus')}",
        )
