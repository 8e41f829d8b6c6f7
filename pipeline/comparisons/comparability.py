"""What a set of runs has in common, and whether they may be compared.

Owns recognising the question from the manifests (datasets, models, checkpoints, nights) and
refusing what has no answer. Reads no score.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from pipeline.comparisons.names import distinct_names, short_names
from pipeline.errors import RunError, named
from pipeline.runs.manifest import Manifest
from pipeline.runs.rules import MODELS_OWN_RULES, check_rules, model_of
from pipeline.runs.scores import is_complete
from pipeline.runs.store import FINISH, RunStore

Kind = Literal["repeats", "datasets", "models", "checkpoints", "nightly", "matrix"]
"""What is compared.

repeats      one model over one dataset, again
datasets     one model over several datasets
models       several models over one dataset
checkpoints  models that differ in their weights alone, over one dataset: in the order given
nightly      one model over one place whose files have changed: in the order given
matrix       both models and datasets vary
"""
TREND: tuple[Kind, ...] = ("checkpoints", "nightly")
"""Kinds whose runs follow each other in time."""

TOKENIZERS_DIFFER = (
    "These runs use different tokenizers, so their perplexities are not comparable: "
    "compare bits per byte."
)
FEWEST_RUNS = 2


class FilesChanged(BaseModel):
    """A corpus then and now, file by file."""

    added: int
    removed: int
    changed: int
    """Files with another size, footer or number of rows."""
    unchanged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One of the runs that are compared.

    `model`, `dataset` and `place` are the position of the first run that has the same.
    """

    store: RunStore
    manifest: Manifest
    name: str
    """The part of the location that distinguishes the run from the others."""
    complete: bool
    model: int
    dataset: int
    """Identity of the corpus: names, sizes and numbers of rows of its files, and the text
    column."""
    place: int
    """Identity of the corpus, or of its location if the files have changed."""
    model_name: str
    dataset_name: str

    @property
    def tokenizer(self) -> str:
        """Digest."""
        return str(self.manifest.fingerprint["tokenizer"])


@dataclass(frozen=True, slots=True)
class Question:
    """The runs, in the order given, and what comparing them asks."""

    kind: Kind
    subjects: list[Subject]
    notes: list[str]

    @property
    def same_tokenizer(self) -> bool:
        return len({subject.tokenizer for subject in self.subjects}) == 1


def recognise(stores: list[RunStore], *, partial: bool = False) -> Question:
    """Read the manifests. Raises RunError where the runs cannot be compared.

    `partial` allows runs that are not complete.
    """
    subjects = _subjects(stores)
    if len(stores) < FEWEST_RUNS:
        raise RunError(
            "one run alone cannot be compared",
            hint="give two runs or more; winnow report describes one run",
        )
    # A finished run that lost a part is refused as its scores are read: the part is named there.
    unfinished = [one.store for one in subjects if not one.complete and one.store.success() is None]
    if unfinished and not partial:
        raise RunError(
            f"{unfinished[0].location} is not finished",
            hint=f"{FINISH}; or compare the parts that exist with {named('partial')}",
        )
    check_rules([(one.name, one.manifest) for one in subjects])
    kind = _kind(subjects)
    question = Question(kind, subjects, [])
    question.notes.extend(_notes(question))
    return question


def _subjects(stores: list[RunStore]) -> list[Subject]:
    manifests = [store.require_manifest() for store in stores]
    models = _numbered(manifests, model_of)
    datasets = _numbered(manifests, _files)
    names = distinct_names([store.location for store in stores])
    model_names = _model_names(manifests, models)
    corpora = short_names(manifest.corpus for manifest in manifests)
    return [
        Subject(
            store=store,
            manifest=manifest,
            name=names[i],
            complete=is_complete(store, manifest),
            model=models[i],
            dataset=datasets[i],
            place=_place(i, manifests, datasets),
            model_name=model_names[i],
            # A copy of a corpus goes by the name of the first.
            dataset_name=corpora[manifests[datasets.index(datasets[i])].corpus],
        )
        for i, (store, manifest) in enumerate(zip(stores, manifests, strict=True))
    ]


def _numbered(manifests: list[Manifest], identity: Callable[[Manifest], Hashable]) -> list[int]:
    """For each the position of the first that is identical to it."""
    firsts: dict[Hashable, int] = {}
    return [firsts.setdefault(identity(manifest), i) for i, manifest in enumerate(manifests)]


def _files(manifest: Manifest) -> Hashable:
    # Without times, so that a copy of a corpus is that corpus.
    files = sorted((file.path, file.size_bytes, file.num_rows) for file in manifest.files)
    return tuple(files), manifest.text_column


def _place(index: int, manifests: list[Manifest], datasets: list[int]) -> int:
    """The first run that has this one's dataset or location."""
    own = manifests[index]
    for i, other in enumerate(manifests[:index]):
        here = (other.corpus, other.text_column) == (own.corpus, own.text_column)
        if here or datasets[i] == datasets[index]:
            return _place(i, manifests, datasets)
    return index


def _model_names(manifests: list[Manifest], models: list[int]) -> list[str]:
    shown = short_names(manifest.model.name for manifest in manifests)
    names = [shown[manifests[first].model.name] for first in models]
    bearers = Counter(name for name, _ in set(zip(names, models, strict=True)))
    return [
        name if bearers[name] == 1 else f"{name}@{_mark(manifests[first])}"
        for name, first in zip(names, models, strict=True)
    ]


def _mark(manifest: Manifest) -> str:
    return (manifest.model.revision or str(manifest.fingerprint["weights"]))[:8]


def _kind(subjects: list[Subject]) -> Kind:
    one_dataset = len({subject.dataset for subject in subjects}) == 1
    if len({subject.model for subject in subjects}) == 1:
        corpora = [(one.manifest.corpus, one.manifest.text_column) for one in subjects]
        contents = _contents([one.manifest for one in subjects])
        versions = {frozenset(files.items()) for files in contents}
        if len(set(corpora)) == 1 and len(versions) > 1:
            return "nightly"
        return "repeats" if one_dataset else "datasets"
    if not one_dataset:
        return "matrix"
    architectures = {(one.manifest.fingerprint["model_config"], one.tokenizer) for one in subjects}
    return "checkpoints" if len(architectures) == 1 else "models"


def files_changed(old: Subject, new: Subject) -> FilesChanged | None:
    """What happened to the files of one place; None where the places differ."""
    if old.manifest.corpus != new.manifest.corpus:
        return None
    before, after = _contents([old.manifest, new.manifest])
    kept = before.keys() & after.keys()
    unchanged = sum(before[path] == after[path] for path in kept)
    return FilesChanged(
        added=len(after.keys() - kept),
        removed=len(before.keys() - kept),
        changed=len(kept) - unchanged,
        unchanged=unchanged,
    )


def _contents(manifests: list[Manifest]) -> list[dict[str, Hashable]]:
    """What is known of each file, by path: without times, so that a touched file is the same.

    Footers count where every run knows them; those planned by 0.1.0 do not.
    """
    known = all(file.footer_digest is not None for one in manifests for file in one.files)
    return [
        {
            file.path: (file.size_bytes, file.num_rows, file.footer_digest if known else None)
            for file in one.files
        }
        for one in manifests
    ]


def _notes(question: Question) -> list[str]:
    subjects = question.subjects
    notes = [] if question.same_tokenizer else [TOKENIZERS_DIFFER]
    notes += [f"{one.store.location} is not complete." for one in subjects if not one.complete]
    for key in ("dtype", *MODELS_OWN_RULES):
        values = {one.name: one.manifest.fingerprint.get(key) for one in subjects}
        if len(set(values.values())) > 1:
            said = ", ".join(f"{name} {value}" for name, value in values.items())
            why = (
                "small differences may be rounding"
                if key == "dtype"
                else "this alone can change figures"
            )
            notes.append(f"{key} differs ({said}): {why}.")
    whole = [one.name for one in subjects if one.manifest.rules.counts_whole_characters]
    if 0 < len(whole) < len(subjects):
        notes.append(
            f"In {' and '.join(whole)} a character that was scored in part counts with all of its "
            "bytes, as in Winnow 0.1.0, so bits per byte are slightly lower than in the other "
            "runs."
        )
    limits = {one.name: one.manifest.request["limit"] for one in subjects}
    if len(set(limits.values())) > 1:
        said = ", ".join(f"{name} {limit or 'all'}" for name, limit in limits.items())
        notes.append(f"The runs were limited to different numbers of rows ({said}).")
    return notes
