"""A corpus cut into shards: row groups in order, as much text each as is minutes of work."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pipeline.corpus.files import Footer, read_footers
from pipeline.corpus.several import find_corpus
from pipeline.runs.corpus import planned_file
from pipeline.runs.manifest import PlannedFile
from pipeline.schema import Shard, Span
from pipeline.storage.filesystem import Root

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of English text per token of a common tokenizer; for estimates only."""
SHARDS_PER_WORKER = 4
SMALLEST_SHARD_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class CorpusPlan:
    """A corpus cut into shards; costs no more than reading footers."""

    root: Root
    files: tuple[PlannedFile, ...]
    footers: list[Footer]
    unreadable: dict[str, str]
    shards: tuple[Shard, ...]
    shard_bytes: int
    """Largest number of bytes of text in a shard."""

    @property
    def num_rows(self) -> int:
        return sum(shard.num_rows for shard in self.shards)

    @property
    def text_bytes(self) -> int:
        return sum(shard.text_bytes for shard in self.shards)


def plan_corpus(
    *corpora: str,
    text_column: str,
    limit: int | None = None,
    shard_tokens: int | None = None,
    default_shard_tokens: int,
    workers: int = 1,
) -> CorpusPlan:
    """Read every footer and cut the row groups into shards. Raises CorpusError."""
    root, found = find_corpus(corpora)
    footers, unreadable = read_footers(root, found, text_column)
    if shard_tokens is None:
        total = sum(size for footer in footers for _, size in footer.row_groups)
        fair = total // BYTES_PER_TOKEN // (SHARDS_PER_WORKER * workers)
        shard_tokens = max(SMALLEST_SHARD_TOKENS, min(default_shard_tokens, fair))
    shard_bytes = shard_tokens * BYTES_PER_TOKEN
    shards = tuple(make_shards(footers, shard_bytes, limit))
    files = tuple(map(planned_file, footers))
    return CorpusPlan(root, files, footers, unreadable, shards, shard_bytes)


def make_shards(
    footers: list[Footer],
    shard_bytes: int,
    limit: int | None,
    covered: Collection[tuple[int, int]] = (),
) -> Iterator[Shard]:
    """Consecutive row groups, in order, until a shard has `shard_bytes` of text.

    A big file gives many shards, small files share one. A row group is never cut, except that
    `limit` ends the last one early. Row groups that are `covered`, by (file, row group), are left
    out, and a shard ends where they begin: shards follow each other in the order of the corpus.
    """
    index, spans, size = 0, list[Span](), 0
    left = limit
    for file, footer in enumerate(footers):
        first_row, row_groups, rows = 0, list[int](), 0
        for group, (group_rows, group_bytes) in enumerate(footer.row_groups):
            is_covered = (file, group) in covered
            taken = 0 if is_covered else group_rows if left is None else min(group_rows, left)
            if taken:
                row_groups.append(group)
                rows += taken
                size += group_bytes * taken // group_rows
                left = None if left is None else left - taken
            if row_groups and (is_covered or size >= shard_bytes):
                spans.append(Span(file, tuple(row_groups), first_row, rows))
                row_groups = []
            if spans and not row_groups and (is_covered or size >= shard_bytes):
                yield _shard(index, spans, size)
                index, spans, size = index + 1, [], 0
                first_row, rows = first_row + rows, 0
            if is_covered:
                first_row += group_rows
        if row_groups:
            spans.append(Span(file, tuple(row_groups), first_row, rows))
    if spans:
        yield _shard(index, spans, size)


def _shard(index: int, spans: list[Span], size: int) -> Shard:
    return Shard(index, tuple(spans), sum(span.num_rows for span in spans), size)


def has_span(row_groups: tuple[tuple[int, int], ...], span: Span, *, limited: bool) -> bool:
    """Whether a file of these row groups, as a Footer has them, still holds those of a span."""
    if not span.row_groups or span.row_groups[-1] >= len(row_groups):
        return False
    rows = sum(row_groups[group][0] for group in span.row_groups)
    first_row = sum(rows for rows, _ in row_groups[: span.row_groups[0]])
    fits = rows >= span.num_rows if limited else rows == span.num_rows
    return fits and first_row == span.first_row
