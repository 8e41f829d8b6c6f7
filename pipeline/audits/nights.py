"""The folder of all nights: which there are, which was good, which is the latest.

Owns the names below RUNS. What a night says is record.py's.

    RUNS/2026-11-22/            a night: a run directory, with audit.json and comparison.* in it
    RUNS/_sample/               the rows drawn, if not every row is scored
    RUNS/history.parquet        a row per night and group
    RUNS/trend.html             the same, drawn
    RUNS/latest.json, latest    the newest night
"""

import contextlib
import re
from collections.abc import Collection, Iterator
from itertools import takewhile
from pathlib import Path

from pyarrow import fs

from pipeline.audits.record import Audit, Verdict
from pipeline.errors import RunError
from pipeline.runs.records import Record, load, save
from pipeline.runs.store import AUDIT, MANIFEST
from pipeline.storage.filesystem import TEMPORARY_PREFIX, Root, open_root

NIGHT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
HISTORY = "history.parquet"
TREND = "trend.html"
LATEST = "latest.json"
SAMPLE = "_sample"


class Latest(Record):
    """`RUNS/latest.json`."""

    night: str
    run: str
    verdict: Verdict


def below(location: str, name: str) -> str:
    """The location of something in a folder; a URI keeps its query at the end."""
    path, question, query = location.partition("?") if "://" in location else (location, "", "")
    return f"{path.rstrip('/')}/{name}{question}{query}"


def record_of(run: Root) -> Audit | None:
    """The verdict in a run directory, if it is a night's. Raises RunError if it is damaged."""
    hint = "delete it and audit that night again; nothing is scored again"
    return load(run, AUDIT, Audit, hint=hint)


class Nights:
    """RUNS, on any file system."""

    def __init__(self, location: str) -> None:
        self.root = open_root(location)
        if self.root.is_file():
            raise RunError(
                f"{self.root.location} is a file, not a folder of nights",
                hint="set runs in [audit] to a new folder, or to the folder of earlier nights",
            )

    @property
    def sample(self) -> Root:
        """Where the drawn rows are."""
        return open_root(below(self.root.location, SAMPLE))

    def location(self, night: str) -> str:
        """A night's run directory."""
        return below(self.root.location, night)

    def names(self, *, before: str | None = None) -> list[str]:
        """The nights there are, ascending."""
        selector = fs.FileSelector(self.root.path, allow_not_found=True)
        found = [
            info.base_name
            for info in self.root.filesystem.get_file_info(selector)
            if info.type == fs.FileType.Directory and NIGHT.fullmatch(info.base_name)
        ]
        return sorted(name for name in found if before is None or name < before)

    def record(self, night: str) -> Audit | None:
        """A night's verdict; None where it has none yet. Raises RunError if it is damaged."""
        return record_of(open_root(self.location(night)))

    def write_record(self, record: Audit) -> None:
        save(self.root, f"{record.night}/{AUDIT}", record)

    def records(
        self, *, before: str | None = None, without: Collection[str] = ()
    ) -> Iterator[Audit]:
        """Every verdict that can be read, the newest night's first."""
        for night in reversed([one for one in self.names(before=before) if one not in without]):
            with contextlib.suppress(RunError):
                if (record := self.record(night)) is not None:
                    yield record

    def last_good(self, night: str) -> Audit | None:
        """The last night before this one that passed."""
        found = self.records(before=night)
        return next((record for record in found if record.verdict == "pass"), None)

    def damaged(self, night: str, since: str | None) -> list[str]:
        """What is wrong with verdicts that cannot be read, of the nights before this one and after
        `since`."""
        found = []
        for one in self.names(before=night):
            try:
                if since is None or one > since:
                    self.record(one)
            except RunError as error:
                found.append(str(error))
        return found

    def last_run(self, night: str) -> str | None:
        """The run directory of the last night before this one that was started, good or not."""
        begun = (one for one in reversed(self.names(before=night)) if self._is_begun(one))
        last = next(begun, None)
        return None if last is None else self.location(last)

    def undecided(self, night: str) -> list[str]:
        """The nights without a verdict between this one and the last before it that has one."""
        begun = (one for one in reversed(self.names(before=night)) if self._is_begun(one))
        left = takewhile(lambda one: not self.root.exists(f"{one}/{AUDIT}"), begun)
        return sorted(left)

    def _is_begun(self, night: str) -> bool:
        return self.root.exists(f"{night}/{MANIFEST}")

    def point_to(self, record: Audit) -> None:
        """Make this the latest night, unless a later one that is still there is."""
        with contextlib.suppress(RunError):  # a pointer that is damaged is written anew
            there = load(self.root, LATEST, Latest, hint="delete it")
            if there and there.night > record.night and self._is_begun(there.night):
                return
        latest = Latest(night=record.night, run=record.run, verdict=record.verdict)
        save(self.root, LATEST, latest)
        if self.root.is_local:
            link = Path(self.root.full(f"{TEMPORARY_PREFIX}latest"))
            # A file system without links has latest.json.
            with contextlib.suppress(OSError):
                link.unlink(missing_ok=True)
                link.symlink_to(record.night, target_is_directory=True)
                link.replace(self.root.full("latest"))
