"""The records of a filter, and which filter an output folder belongs to.

Owns `_filter_plan.json`, frozen before the first row is written, `_filter.json`, written last, and
the rules for a folder: empty, or left by the same filter, and never part of the corpus.

    DIR/_filter_plan.json   DIR/<the corpus's own file names>   DIR/_filter.json
"""

import os
from itertools import takewhile
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipeline.corpus.patterns import GLOB_CHARACTERS
from pipeline.errors import RunError, UsageError, first_line, named
from pipeline.rendering.markdown import to_markdown
from pipeline.rendering.notebook import Result
from pipeline.runs.manifest import Manifest, Value, differences
from pipeline.runs.records import Record, form_version, load, save
from pipeline.runs.store import FILTER_PLAN, FILTER_RECORD
from pipeline.storage.filesystem import TEMPORARY_PREFIX, Root, open_root
from pipeline.storage.locations import split_options

FILTER_VERSION = 1
FormVersion = Annotated[int, form_version(FILTER_VERSION)]


class Sizes(Record):
    """How much text."""

    documents: int
    tokens: int
    """Tokens by the run's tokenizer, those without a score included; 0 for documents that the run
    did not tokenize."""
    bytes: int


class GroupMix(Record):
    """One group, before and after."""

    group: str | None
    before: Sizes
    after: Sizes


class Cutoffs(Record):
    """The outermost values that are kept, in one group; None where there is no such rule."""

    group: str | None
    documents: int = 0
    """Number of scored documents of the group."""
    low: float | None = None
    high: float | None = None
    head: float | None = None
    """Largest value of the bucket `head`."""
    middle: float | None = None


class CutoffTable(Record):
    """A file of cut-offs: a FilterRecord, or as much of one as somebody wrote by hand."""

    metric: Annotated[str, BeforeValidator(lambda given: "" if given is None else given)]
    """Empty in the record of a filter that had no rule of a metric, and so no cut-offs."""
    rules: dict[str, Any] = Field(default_factory=dict)
    """The rules that were given; only `within`, the column of the groups, is read."""
    fingerprint: dict[str, Any] = Field(default_factory=dict)
    """That of the scores in which the cut-offs were found; empty in a file that does not say."""
    cutoffs: tuple[Cutoffs, ...]

    @property
    def within(self) -> str | None:
        found = self.rules.get("within")
        return None if found is None else str(found)


ENDS = ("low", "high", "head", "middle")
"""Names of the cut-offs of a group."""


class BudgetPart(Record):
    """What of a budget a group has, and the values at which it begins and ends; None where it goes
    to the end, and where its order is random."""

    group: str | None
    budget: int
    after: float | None
    before: float | None
    middle: float | None = None
    """The median of the group, as `budget_middle` for all documents."""


class FilterRecord(Record, Result):
    """`DIR/_filter.json`; its presence says that the output is whole."""

    filter_version: FormVersion = FILTER_VERSION
    run: str
    run_id: str
    fingerprint: dict[str, Value]
    """Fingerprint of the run's scores."""
    corpus: str
    rules: dict[str, Any]
    """The rules as given, with defaults and `seed`."""
    metric: str | None
    """The metric that percentiles, buckets, sample and budget used."""
    partial: bool
    """True if the run lacked parts: documents that it had not scored count as unscored."""
    cutoffs: list[Cutoffs]
    budget_edges: dict[str, float | None] | None
    """Values at which the budget begins and ends, if it orders by value and is not divided."""
    budgets: tuple[BudgetPart, ...] = ()
    """Each group's part of the budget, if it is divided among groups."""
    budget_middle: float | None = None
    """Median, weighted by tokens or bytes, of the documents that the budget chooses from, if it
    prefers the middle."""
    words: tuple[str, ...] = ()
    """Cut-offs and budgets of the rules as lines for people."""
    before: Sizes
    after: Sizes
    keeps_everything: bool = False
    """True if every scored document is kept."""
    unscored: dict[str, int]
    """Documents without a score, by status; `no_value` lack a metric, `unseen` a score row."""
    kept_unscored: int = 0
    """Number of unscored documents that are kept."""
    by: str | None
    groups: list[GroupMix]
    unreadable: dict[str, str]
    """Corpus files that the run could not read, with the reason; their documents are neither kept
    nor rejected."""
    versions: dict[str, str]

    def __repr__(self) -> str:
        cut = f" ({'; '.join(self.words)})" if self.words else ""
        return (
            f"<FilterRecord: {self.after.documents:,} of {self.before.documents:,} documents, "
            f"{self.after.tokens:,} of {self.before.tokens:,} tokens stay{cut}>"
        )

    def __str__(self) -> str:
        from pipeline.filters.page import to_page  # it shows what is defined here

        return to_markdown(to_page(self))


class FilterPlan(Record):
    """`DIR/_filter_plan.json`: what the output will be, row for row."""

    filter_version: FormVersion = FILTER_VERSION
    identity: dict[str, Value]
    """Everything that decides the output."""
    kept: dict[str, tuple[int, ...]]
    """Number of rows of each corpus file in each output."""


def identify(
    manifest: Manifest, num_parts: int, other: str | None, rules: dict[str, Any]
) -> dict[str, Value]:
    """What decides an output: the run as it is, and the rules, flat."""
    flat: dict[str, Value] = {"run": manifest.run_id, "parts": num_parts, "other_run": other}
    for key, value in rules.items():
        if isinstance(value, dict):
            flat |= {f"{key} {name}": bound for name, bound in sorted(value.items())}
        else:
            flat[key] = [str(item) for item in value] if isinstance(value, tuple) else value
    return flat


def begin(root: Root, plan: FilterPlan, setting: str) -> bool:
    """Claim a folder for this filter. True if the output is already whole.

    Raises UsageError if it holds something else or cannot be written to, RunError if it holds
    another filter's output.
    """
    try:
        return _begin(root, plan, setting)
    except OSError as error:
        raise UsageError(
            f"cannot write to {root.location}: {first_line(error)}",
            hint=f"choose another folder for {named(setting)}",
        ) from error


def _begin(root: Root, plan: FilterPlan, setting: str) -> bool:
    if root.is_file():
        raise UsageError(
            f"{root.location} is a file", hint=f"choose a new folder for {named(setting)}"
        )
    existing = load(root, FILTER_PLAN, FilterPlan, hint="choose a new folder")
    if existing is None:
        found = root.files() or root.files(recursive=True)
        others = [name for name in found if not name.rpartition("/")[2].startswith(".")]
        if others:
            raise UsageError(
                f"{root.location} is not empty ({others[0]} is in it)",
                hint=f"choose a new or empty folder for {named(setting)}",
            )
        save(root, FILTER_PLAN, plan)
        return False
    if changes := differences(existing.identity, plan.identity):
        raise RunError(
            f"{root.location} holds the output of another filter: {'; '.join(changes)}",
            hint=f"choose a new {named(setting)}, or use the same rules as before",
        )
    if existing.kept != plan.kept:
        raise RunError(
            f"the output in {root.location} was started from scores that have changed since",
            hint=f"choose a new {named(setting)}",
        )
    return root.exists(FILTER_RECORD)


def finish(root: Root, record: FilterRecord) -> None:
    """Mark the output as complete."""
    save(root, FILTER_RECORD, record)


def remove_leftovers(root: Root) -> None:
    """Delete unfinished files of a killed writer."""
    for name in root.files(recursive=True):
        if name.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
            root.remove(name)


def check_apart(manifest: Manifest, out: str, rejects: str | None, corpus: Root) -> None:
    """Raises UsageError if an output folder would become part of the corpus or of the other."""
    folders = [
        Root(corpus.filesystem, f"{corpus.path.rstrip('/')}/{name}", corpus.location)
        for name in _folders(manifest)
    ]
    for setting, location in (("out", out), ("rejects", rejects)):
        if location is None:
            continue
        root = open_root(location)
        is_corpus = _is_in(root, corpus) and _is_in(corpus, root)
        if is_corpus or any(_is_in(root, folder) for folder in folders):
            where = (
                "is the corpus itself" if is_corpus else f"is inside the corpus {corpus.location}"
            )
            raise UsageError(
                f"{named(setting)} {root.location} {where}",
                hint="choose a folder outside the corpus, or its rows would count twice next time",
            )
    if rejects is not None:
        kept, others = open_root(out), open_root(rejects)
        if _is_in(kept, others) or _is_in(others, kept):
            raise UsageError(
                f"{named('out')} {kept.location} and {named('rejects')} {others.location}: one "
                "is inside the other",
                hint="choose two folders, neither inside the other",
            )


def _folders(manifest: Manifest) -> list[str]:
    """The folders that the corpus was looked for in, by name below its own; files have none."""
    asked = manifest.request.get("corpus")
    if not isinstance(asked, list):
        asked = [asked if isinstance(asked, str) else manifest.corpus]
    above, _ = split_options(manifest.corpus)
    files = {f"{above.rstrip('/')}/{file.path}" for file in manifest.files}
    found = []
    for location in asked:
        place, _ = split_options(location)
        if place in files:
            continue
        inside = place.removeprefix(above.rstrip("/")).strip("/").split("/")
        fixed = takewhile(lambda part: not GLOB_CHARACTERS & set(part), inside)
        found.append("/".join(fixed) if place.startswith(above) else "")
    return found


def _is_in(inner: Root, outer: Root) -> bool:
    """Whether a folder is another one or lies below it."""
    if inner.filesystem.type_name != outer.filesystem.type_name:
        return False
    paths = [root.path for root in (inner, outer)]
    if inner.is_local:
        paths = [os.path.realpath(path) for path in paths]  # Path.resolve fails on a link in a loop
    own, other = (path.rstrip("/") + "/" for path in paths)
    return own.startswith(other)
