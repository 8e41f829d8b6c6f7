"""The run directory: manifest, atomic parts, failures, `_SUCCESS`.

Owns every name below RUN and the promise that a final name means complete content. What a plan or
a score is, it does not know.

    RUN/manifest.json   RUN/scores/part-00007.parquet   RUN/failed/00007.json   RUN/_SUCCESS
    RUN/audit.json      of a night that is decided

It knows the folders of filters, too, by name, so as to say what they are.
"""

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import RunError, WinnowError, first_line, named
from pipeline.runs.lock import LOCK
from pipeline.runs.manifest import Failure, Manifest, PartFooter, Success
from pipeline.runs.parts import FOOTER_KEY, PartWriter, read_metadata
from pipeline.runs.records import Record, load, parse, save
from pipeline.settings.fields import option_of
from pipeline.settings.names import listed, near_path
from pipeline.storage.filesystem import Root, open_root

MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
AUDIT = "audit.json"
VERIFICATION = "verify.json"
SCORES = "scores"
FAILED = "failed"
FILTER_PLAN = "_filter_plan.json"
FILTER_RECORD = "_filter.json"
PART_NAME = re.compile(SCORES + r"/part-([0-9]+)\.parquet")
FAILURE_NAME = re.compile(FAILED + r"/[^./][^/]*\.json")
MOST_NAMED = 3
"""Largest number of runs that a hint names."""

RESUME = "repeat the command that started the run: it scores what is missing"
FINISH = f"wait for it or, if it was stopped, {RESUME}"
SCORE_AGAIN = (
    "delete it and repeat the command that started the run: only that shard is scored again"
)
WRITE_AGAIN = "delete it and repeat the command that started the run: nothing is scored again"


class _FilteredRun(Record):
    """What of a filter's record says where its scores are."""

    run: str


class RunStore:
    """One run directory, on any file system."""

    def __init__(self, location: str, setting: str | None = None) -> None:
        """`setting` names the run, of several that a request has: errors say so."""
        self._setting = setting
        self._failure_names: set[str] | None = None
        with self._as_named():
            self.root: Root = open_root(location)
            self.root.check_bucket()
            self._check_folder()

    @contextlib.contextmanager
    def _as_named(self) -> Iterator[None]:
        try:
            yield
        except WinnowError as error:
            if self._setting is None:
                raise
            raise error.at(named(self._setting)) from error

    def _check_folder(self) -> None:
        if self.root.is_file():
            raise RunError(
                f"{self.root.location} is a file, not a run directory",
                hint=self._meant() or "give a new folder, or the output folder of a scoring run",
            )

    @property
    def location(self) -> str:
        return self.root.location

    @property
    def is_decided_night(self) -> bool:
        """Whether the run is a night of an audit, with its verdict."""
        return self.root.exists(AUDIT)

    def manifest(self) -> Manifest | None:
        """The plan, or None where there is no run yet. Raises RunError if it is unusable."""
        hint = f"score into a new {named('out')}, or restore the manifest"
        return load(self.root, MANIFEST, Manifest, hint=hint)

    def require_manifest(self) -> Manifest:
        """The plan. Raises RunError where there is no run."""
        with self._as_named():
            manifest = self.manifest()
            if manifest is None:
                self._refuse_filtered()
                hint = self._meant() or f"give the output folder of a scoring run{self._inside()}"
                raise RunError(
                    f"{self.location} is not a run directory: it has no {MANIFEST}", hint=hint
                )
            return manifest

    def _refuse_filtered(self) -> None:
        """Raises RunError for what `winnow filter` wrote, and names the run that it is of."""
        if not self.root.exists(FILTER_PLAN):
            return
        found = None
        with contextlib.suppress(RunError):  # a damaged record is another matter
            found = load(self.root, FILTER_RECORD, _FilteredRun, hint="")
        run = f", {found.run}" if found else ""
        raise RunError(
            f"{self.location} is not a run directory: it is the output of a filter",
            hint=f"give the run that was filtered{run}; or score the output first, as "
            f"winnow score {shlex.quote(self.location)} {option_of('out')} RUN",
        )

    def _meant(self) -> str:
        """The run that this is part of, or one beside a misspelt name; a store is not asked."""
        if not self.root.is_local:
            return ""
        here = Path(self.root.path)
        for folder in here.parents[:2]:
            if (folder / MANIFEST).is_file():
                return f"did you mean {folder}?"
        return "" if here.exists() else near_path(here, f"*/{MANIFEST}")

    def _inside(self) -> str:
        """Runs in this folder, for who named the folder that they are in; a store is not asked."""
        if not self.root.is_local:
            return ""
        found = sorted(Path(self.root.path).glob(f"*/{MANIFEST}"))
        names = [f"{self.location}/{one.parent.name}" for one in found]
        return f", as {listed(names, most=MOST_NAMED)}" if names else ""

    def check_free(self) -> None:
        """Raises RunError if the folder, which is not a run yet, holds something else."""
        self._check_folder()
        found = self.root.files() or self.root.files(recursive=True)
        others = [name for name in found if name != LOCK and name[0] != "."]
        if others:
            raise RunError(
                f"{self.location} is not empty and is not a run directory ({others[0]} is in it)",
                hint=f"choose a new or empty folder for {named('out')}",
            )

    def write_manifest(self, manifest: Manifest) -> None:
        """Freeze the plan."""
        save(self.root, MANIFEST, manifest)

    def done(self) -> set[int]:
        """Shards whose part exists. One listing; no part is opened."""
        found = ((name, PART_NAME.fullmatch(name)) for name in self.root.files(SCORES))
        numbers = ((name, int(match[1])) for name, match in found if match)
        return {number for name, number in numbers if name == self.part_name(number)}

    @contextlib.contextmanager
    def writing_part(self, shard: int, schema: pa.Schema) -> Iterator[PartWriter]:
        """A part that appears, whole, when the block ends; nothing appears if it raises."""
        with self.root.writing(self.part_name(shard)) as sink:
            part = PartWriter(sink, schema)
            try:
                yield part
            except BaseException:
                part.abandon()
                raise

    def part_name(self, shard: int) -> str:
        return f"{SCORES}/part-{shard:05d}.parquet"

    def footer(self, shard: int) -> PartFooter:
        """What a part says of itself. Raises RunError if it is not a whole part."""
        name = self.part_name(shard)
        try:
            with self.root.open_input(name) as source:
                metadata = read_metadata(source).metadata or {}
            content = metadata[FOOTER_KEY.encode()]
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise RunError(
                f"{self.root.show(name)} is not a part: {first_line(error)}", hint=SCORE_AGAIN
            ) from error
        return parse(content, PartFooter, self.root.show(name), hint=SCORE_AGAIN)

    def write_failure(self, name: str, record: dict[str, Any]) -> None:
        """Record why a shard or a file was given up."""
        save(self.root, self._failure_name(name), Failure(**record))
        if self._failure_names is not None:
            self._failure_names.add(self._failure_name(name))

    def clear_failure(self, name: str) -> None:
        """Delete what is recorded of an earlier failure, if anything is."""
        if self._failure_names is None:
            # Listed once, as a run has one driver: a request to an object store for every shard
            # that was scored would be all that the driver has time for.
            self._failure_names = set(self.root.files(FAILED))
        if self._failure_name(name) in self._failure_names:
            self.root.remove(self._failure_name(name))
            self._failure_names.discard(self._failure_name(name))

    def _failure_name(self, name: str) -> str:
        return f"{FAILED}/{name}.json"

    def failures(self) -> list[dict[str, Any]]:
        """Every recorded failure, in order of name."""
        names = sorted(name for name in self.root.files(FAILED) if FAILURE_NAME.fullmatch(name))
        return [self.failure(name) for name in names]

    def failure(self, name: str) -> dict[str, Any]:
        """One record, by the name of its file below the run. Raises FileNotFoundError."""
        failure = parse(
            self.root.read_bytes(name),
            Failure,
            self.root.show(name),
            hint="delete it; a new attempt that fails writes it again",
        )
        return failure.model_dump(exclude_unset=True)

    def write_success(self, success: Success) -> None:
        save(self.root, SUCCESS, success)

    def clear_success(self) -> None:
        """Take back that the run is whole."""
        self.root.remove(SUCCESS)

    def success(self) -> Success | None:
        """The totals of a finished run, or None."""
        return load(self.root, SUCCESS, Success, hint=WRITE_AGAIN)
