"""READ FIRST: one shard, from Parquet rows to a committed part of scores.

    read_batches   rows of the corpus, a few megabytes at a time          documents.py
    prepare        text -> token ids -> windows                           tokenizer.py, windows.py
    engine.score   windows -> log-probabilities                           engine.py
    fold           log-probabilities -> one score per document            metrics.py
    part.write     scores beside their locators, in input order           store.py

The first two run in a thread ahead of the engine. Rows leave in the order they came, one for one,
whatever they hold. The same function runs in a Ray actor and in a test.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter

import numpy as np
import pyarrow as pa

from pipeline.corpus import Columns
from pipeline.documents import Batch, read_batches, readable
from pipeline.engine import Engine
from pipeline.errors import EngineError, UnreadableFileError, first_line
from pipeline.manifest import ScoringRules, Totals, Value
from pipeline.metrics import fold_document, unscored
from pipeline.schema import TOKEN_FIELDS, Document, DocumentScore, Logprobs, Shard, Status, Window
from pipeline.storage.filesystem import Root
from pipeline.storage.prefetch import Prefetch
from pipeline.store import RunStore
from pipeline.tokenizer import Tokenizer
from pipeline.windows import plan_windows

BATCHES_AHEAD = 2
SCORE_NAMES = tuple(field.name for field in fields(DocumentScore))

OnProgress = Callable[[int, int], None]
"""Called with (documents, tokens) just finished."""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """What every shard of a run has in common."""

    run_id: str
    corpus: Root
    files: tuple[str, ...]
    columns: Columns
    schema: pa.Schema
    rules: ScoringRules
    fingerprint: dict[str, Value]


@dataclass(slots=True)
class PreparedDocument:
    """A document on its way: its windows out to the engine, their log-probabilities back."""

    document: Document
    score: DocumentScore | None = None
    """Set at once for a document that has nothing to score."""
    status: Status = "ok"
    scored_text: str = ""
    num_skipped_tokens: int = 0
    scored_ids: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    logprobs: list[Logprobs | None] = field(default_factory=list)

    def token_logprobs(self) -> Logprobs:
        """Log-probabilities of all scored tokens, in document order; every window must be back."""
        return np.concatenate([part for part in self.logprobs if part is not None])


@dataclass(slots=True)
class PreparedBatch:
    """A batch on its way; complete when no window of it is missing."""

    batch: Batch
    documents: list[PreparedDocument]
    num_missing: int


def score_shard(
    shard: Shard,
    job: ShardJob,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
    store: RunStore,
    poison: Collection[int] = (),
    on_progress: OnProgress = lambda documents, tokens: None,
) -> Totals:
    """Score a shard and commit its part. Raises UnreadableFileError and EngineError.

    Nothing is visible in the run directory until the part is whole. The documents at the positions
    of `poison` are not shown to the engine: their rows say that it died of them.
    """
    started = time.monotonic()
    batches = read_batches(job.corpus, job.files, shard, job.columns)
    if poison:
        batches = _replaced(batches, lambda at, d: _deadly(d) if at in poison else d)
    prepared = Prefetch((prepare(b, tokenizer, job.rules) for b in batches), BATCHES_AHEAD)
    with closing(prepared), store.writing_part(shard.id, job.schema) as part:
        for batch in score_batches(prepared, engine):
            scores = [fold(document, job.rules) for document in batch.documents]
            part.write(to_rows(batch, scores, job))
            on_progress(len(scores), sum(score.num_tokens for score in scores))
        return part.close(job.run_id, shard.id, job.fingerprint, time.monotonic() - started)


def probe_shard(
    shard: Shard,
    job: ShardJob,
    first: int,
    end: int,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
) -> None:
    """Score the documents at positions [first, end) of a shard, and keep nothing.

    For finding out whether the engine survives them. Raises as `score_shard` does.
    """
    batches = read_batches(job.corpus, job.files, shard, job.columns)
    blanked = _replaced(batches, lambda at, d: d if first <= at < end else Document(d.row, None))
    for _ in score_batches((prepare(b, tokenizer, job.rules) for b in blanked), engine):
        pass


def _replaced(
    batches: Iterable[Batch], change: Callable[[int, Document], Document]
) -> Iterator[Batch]:
    """The batches with each document changed, given its position in the shard."""
    position = itertools.count()
    for batch in batches:
        documents = [change(next(position), document) for document in batch.documents]
        yield replace(batch, documents=documents)


def _deadly(document: Document) -> Document:
    return replace(document, error=document.error or "engine_died")


def prepare(batch: Batch, tokenizer: Tokenizer, rules: ScoringRules) -> PreparedBatch:
    """Tokenize a batch and cut its documents into windows."""
    texts = [document.text or "" for document in batch.documents]
    encoded = tokenizer.encode(texts)
    documents = [
        prepare_document(document, one.ids, tokenizer, rules)
        for document, one in zip(batch.documents, encoded, strict=True)
    ]
    return PreparedBatch(batch, documents, sum(len(d.windows) for d in documents))


def prepare_document(
    document: Document, ids: list[int], tokenizer: Tokenizer, rules: ScoringRules
) -> PreparedDocument:
    """Decide what of a document is scored; a row that has nothing to score is finished here."""
    text = document.text
    if document.error is not None:
        return PreparedDocument(document, unscored("error", text, error=document.error))
    if text is None:
        return PreparedDocument(document, unscored("null", text))
    if not ids:
        return PreparedDocument(document, unscored("empty", text))
    windows = plan_windows(
        ids,
        prefix=rules.prefix_token_id,
        window_tokens=rules.window_tokens,
        context_tokens=rules.context_tokens,
        only_first=rules.long_documents == "truncate",
    )
    if not windows:
        score = unscored("skipped", text, error="too_short", num_tokens=len(ids))
        return PreparedDocument(document, score)
    if rules.long_documents == "skip" and len(windows) > 1:
        score = unscored("skipped", text, error="too_long", num_tokens=len(ids))
        return PreparedDocument(document, score)
    # One token is given up at the front if no prefix stands before it; truncation gives up the end.
    first = 1 if rules.prefix_token_id in (None, ids[0]) else 0
    num_scored = sum(len(window.prompt) - window.num_context for window in windows)
    scored_text = text
    if num_scored < len(ids):
        scored_text = _covered(text, first, first + num_scored, tokenizer)
    return PreparedDocument(
        document,
        status="truncated" if first + num_scored < len(ids) else "ok",
        scored_text=scored_text,
        num_skipped_tokens=len(ids) - num_scored,
        scored_ids=ids if num_scored == len(ids) else ids[first : first + num_scored],
        windows=windows,
        logprobs=[None] * len(windows),
    )


def _covered(text: str, first: int, end: int, tokenizer: Tokenizer) -> str:
    """The characters of tokens [first, end), with the white space between them."""
    offsets = tokenizer.encode([text], offsets=True)[0].offsets
    assert offsets is not None
    # A character may be several tokens: it counts as soon as one of them is scored.
    start = min(offsets[first - 1][1], offsets[first][0]) if first else 0
    return text[start : offsets[end - 1][1]]


def _as_planned(batch: Batch, column: str, kind: pa.DataType) -> pa.Array:
    """A carried column in the type of the run. Raises UnreadableFileError if it does not fit."""
    try:
        # A large integer among floats is rounded, as its readers would; nothing else may change.
        safe = not pa.types.is_floating(kind)
        return readable(batch.table.column(column)).cast(kind, safe=safe)
    except pa.ArrowException as error:
        raise UnreadableFileError(
            f"{batch.file}: column '{column}' cannot be carried as {kind}: {first_line(error)}"
        ) from error


def score_batches(batches: Iterable[PreparedBatch], engine: Engine) -> Iterator[PreparedBatch]:
    """Feed the windows of all batches to the engine as one stream; yield batches in order.

    The engine may answer in any order, and works across batch borders: nothing waits for a long
    document except the batches behind it.
    """
    on_the_way: deque[PreparedBatch] = deque()
    owners: dict[int, tuple[PreparedBatch, PreparedDocument, int, int]] = {}

    def windows() -> Iterator[tuple[int, Window]]:
        key = 0
        for batch in batches:
            on_the_way.append(batch)
            for document in batch.documents:
                for position, window in enumerate(document.windows):
                    num_scored = len(window.prompt) - window.num_context
                    owners[key] = (batch, document, position, num_scored)
                    yield key, window
                    key += 1
                # The prompts are with the engine now; only their answers are still needed.
                document.windows = []

    for answer in engine.score(windows()):
        batch, document, position, num_scored = owners.pop(answer.key)
        if len(answer.logprobs) != num_scored:
            raise EngineError("the engine answered a window with another number of tokens")
        document.logprobs[position] = answer.logprobs
        batch.num_missing -= 1
        while on_the_way and not on_the_way[0].num_missing:
            yield on_the_way.popleft()
    if owners:
        raise EngineError(f"the engine left {len(owners)} windows unanswered")
    yield from on_the_way


def fold(prepared: PreparedDocument, rules: ScoringRules) -> DocumentScore:
    """The score row of a document whose windows are all back."""
    if prepared.score is not None:
        return prepared.score
    return fold_document(
        prepared.document.text or "",
        prepared.scored_text,
        prepared.token_logprobs(),
        status=prepared.status,
        num_windows=len(prepared.logprobs),
        num_skipped_tokens=prepared.num_skipped_tokens,
        min_k_percent=rules.min_k_percent,
    )


def to_rows(prepared: PreparedBatch, scores: list[DocumentScore], job: ShardJob) -> pa.Table:
    """Locator, id, carried columns and scores, as the part's schema has them."""
    batch = prepared.batch
    values: dict[str, pa.Array] = {
        "file": pa.array([batch.file] * len(scores), pa.string()),
        "row": pa.array([document.row for document in batch.documents], pa.int64()),
    }
    columns = zip(*map(attrgetter(*SCORE_NAMES), scores), strict=True)
    for name, column in zip(SCORE_NAMES, columns, strict=True):
        values[name] = pa.array(column, job.schema.field(name).type)
    sources = {name: name for name in job.columns.carried}
    if job.columns.doc_id is not None:
        sources["doc_id"] = job.columns.doc_id
    for name, source in sources.items():
        kind = job.schema.field(name).type
        if source in batch.table.schema.names:
            values[name] = _as_planned(batch, source, kind)
        else:
            values[name] = pa.nulls(len(scores), kind)
    for name in TOKEN_FIELDS.keys() & set(job.schema.names):
        kind = job.schema.field(name).type
        lists = [
            None
            if score.nll is None
            else document.scored_ids
            if name == "token_ids"
            else document.token_logprobs()
            for document, score in zip(prepared.documents, scores, strict=True)
        ]
        values[name] = pa.array(lists, kind)
    return pa.table([values[name] for name in job.schema.names], schema=job.schema)
