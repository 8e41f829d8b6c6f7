"""Parts of an earlier run that are still valid: reused instead of scored again.

Owns which shards of the other run may be kept (the same documents, the same fingerprint, the
same columns), and bringing their parts over. What is left is planned as in any run.
"""

import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from pipeline.corpus.files import Footer
from pipeline.corpus.identity import is_trusted
from pipeline.errors import RunError
from pipeline.planning.identity import changes_since
from pipeline.planning.resume import say_compared
from pipeline.planning.sharding import has_span
from pipeline.runs.corpus import compare_documents, planned_file
from pipeline.runs.manifest import Manifest, Reuse, Value
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, Span
from pipeline.storage.filesystem import Root

log = logging.getLogger(__name__)
COPIES_AT_ONCE = 16
MOST_NAMED = 10
"""Number of files that the reason why they are not reused names."""


def find_reusable(
    other: RunStore,
    identity: dict[str, Value],
    request: dict[str, Value],
    part_schema: str,
    root: Root,
    footers: list[Footer],
) -> tuple[list[Shard], str]:
    """The other run's finished shards whose inputs are as they were, as shards over `footers`.

    Also the reason if not all of them; empty otherwise. Ids are the other run's.
    A file is as it was if size, footer and time agree, or else if its documents do: then they are
    read from `root`, and compared. Raises RunError where there is no run.
    """
    manifest = other.require_manifest()
    # Where the corpus lies does not matter: files are the same by relative name and content.
    elsewhere = {"corpus": manifest.request.get("corpus")}
    changes = changes_since(manifest, identity, request | elsewhere)
    if not changes and manifest.part_schema != part_schema:
        changes = ["its carried columns have other types"]
    if not changes and request.get("limit") is not None:
        changes = ["a run with a limit on rows reuses no scores"]
    if changes:
        return [], "; ".join(changes)
    places = {footer.name: index for index, footer in enumerate(footers)}
    done, has_changed, is_gone = other.done(), set[int](), set[int]()
    doubtful: dict[int, Footer] = {}
    for index, then in enumerate(manifest.files):
        place = places.get(then.path)
        now = None if place is None else planned_file(footers[place])
        if place is None or now is None:
            is_gone.add(index)
        elif now.num_rows != then.num_rows:
            has_changed.add(index)
        elif not is_trusted(then, now):
            doubtful[index] = footers[place]
    for shard in manifest.shards:
        for span in shard.spans:
            footer = doubtful.get(span.file)
            if footer is not None and not has_span(footer.row_groups, span, limited=False):
                has_changed.add(span.file)
    candidates = [
        shard
        for shard in manifest.shards
        if shard.id in done and not (has_changed | is_gone) & {span.file for span in shard.spans}
    ]
    asked = {span.file for shard in candidates for span in shard.spans} & doubtful.keys()
    if asked:
        say_compared(tuple(manifest.files[index] for index in sorted(asked)), other)
        differ = compare_documents(
            other,
            manifest,
            root,
            [doubtful[index] for index in sorted(asked)],
            {shard.id for shard in candidates},
            carried=True,
        )
        for error in differ.values():
            log.info("scoring a changed file again: %s", error)
        has_changed |= {index for index in asked if manifest.files[index].path in differ}
    kept = []
    for shard in candidates:
        if not has_changed & {span.file for span in shard.spans}:
            spans = tuple(
                span._replace(file=places[manifest.files[span.file].path]) for span in shard.spans
            )
            kept.append(shard._replace(spans=spans))
    return kept, _why_not_all(manifest, kept, done, has_changed, is_gone)


def _why_not_all(
    manifest: Manifest,
    kept: list[Shard],
    done: set[int],
    has_changed: set[int],
    is_gone: set[int],
) -> str:
    """Which rows of the other run are not reused, and why."""
    are_kept = {shard.id for shard in kept}
    left = [shard for shard in manifest.shards if shard.id not in are_kept]
    if not left:
        return ""
    reasons = []
    if unscored := sum(shard.num_rows for shard in left if shard.id not in done):
        reasons.append(f"{unscored:,} have no scores")
    spans = [span for shard in left if shard.id in done for span in shard.spans]
    for how, which in (("changed", has_changed), ("are gone", is_gone)):
        if found := sorted({span.file for span in spans} & which):
            rows = sum(span.num_rows for span in spans if span.file in which)
            named = ", ".join(manifest.files[index].path for index in found[:MOST_NAMED])
            more = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
            reasons.append(f"{rows:,} are in files that {how} ({named}{more})")
    if shared := sum(span.num_rows for span in spans if span.file not in has_changed | is_gone):
        reasons.append(
            f"{shared:,} of other files share a part with those (parts are reused whole; a smaller "
            "shard_tokens makes smaller parts)"
        )
    return f"of {manifest.num_rows:,} rows there, {'; '.join(reasons)}"


def merge_shards(kept: list[Shard], fresh: list[Shard]) -> tuple[tuple[Shard, ...], dict[int, int]]:
    """All shards in the order of the corpus, renumbered; and new id to old for those kept."""
    marked = [(shard, True) for shard in kept] + [(shard, False) for shard in fresh]
    marked.sort(key=lambda entry: _place(entry[0].spans[0]))
    shards = tuple(shard._replace(id=index) for index, (shard, _) in enumerate(marked))
    origin = {index: shard.id for index, (shard, is_kept) in enumerate(marked) if is_kept}
    return shards, origin


def _place(span: Span) -> tuple[int, int]:
    return span.file, span.first_row


def covered_groups(kept: Sequence[Shard]) -> frozenset[tuple[int, int]]:
    """(file, row group) of everything that is kept."""
    spans = [span for shard in kept for span in shard.spans]
    return frozenset((span.file, group) for span in spans for group in span.row_groups)


def take_over(store: RunStore, manifest: Manifest) -> int:
    """Copy the reused parts that are not here yet; returns how many there are now.

    A part that is gone or damaged is left out, and so scored again. Safe to run again.
    """
    reuse = manifest.reuse
    if reuse is None:
        return 0
    other = RunStore(reuse.run)
    here = store.done()

    def bring(entry: tuple[int, int]) -> bool:
        new, old = entry
        if new in here:
            return True
        with contextlib.suppress(RunError, OSError, pa.ArrowException):
            if other.footer(old).fingerprint == manifest.fingerprint:
                _copy(other, other.part_name(old), store, store.part_name(new))
                return True
        return False

    with ThreadPoolExecutor(COPIES_AT_ONCE) as copiers:
        return sum(copiers.map(bring, reuse.shards.items()))


def _copy(other: RunStore, source: str, store: RunStore, target: str) -> None:
    """One part, whole or not at all: a link where that is possible, else a copy."""
    if other.root.is_local and store.root.is_local:
        path = Path(store.root.full(target))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Parts are never written again in place, so two runs may share one.
        with contextlib.suppress(OSError):
            os.link(other.root.full(source), path)
            return
    elif other.root.filesystem.equals(store.root.filesystem):
        # Within an object store: the content does not travel.
        store.root.filesystem.copy_file(other.root.full(source), store.root.full(target))
        return
    store.root.write_bytes(target, other.root.read_bytes(source))


def make_record(other: RunStore, origin: dict[int, int], reason: str) -> Reuse:
    """What the manifest remembers of it."""
    run_id = other.require_manifest().run_id
    return Reuse(run=other.location, run_id=run_id, shards=origin, reason=reason)
