"""READ FIRST: one shard, from Parquet rows to a committed part of scores.

    read_batches   rows of the corpus, a few megabytes at a time          corpus/reader.py
    prepare        text -> token ids -> windows, but for exact copies     preparing.py, copies.py
    engine.score   windows -> log-probabilities                           engine/
    fold           log-probabilities -> one score per document            fold.py
    part.write     scores beside their locators, in input order           runs/store.py

The first two run in a thread ahead of the engine. Rows leave in the order they came, one for one,
whatever they hold. The same function runs in a Ray actor and in a test.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import pyarrow as pa

from pipeline.corpus.columns import Columns
from pipeline.corpus.reader import Batch, carried_column, read_batches
from pipeline.engine.vllm_engine import Engine
from pipeline.errors import EngineError
from pipeline.runs.manifest import ScoringRules, Totals, Value
from pipeline.runs.store import RunStore
from pipeline.schema import TOKEN_FIELDS, Document, DocumentScore, Shard, Window
from pipeline.scoring.copies import RecentTexts
from pipeline.scoring.fold import fold_document
from pipeline.scoring.preparing import PreparedBatch, PreparedDocument, prepare
from pipeline.scoring.tokenizer import Tokenizer
from pipeline.storage.filesystem import Root
from pipeline.storage.prefetch import Prefetch
from pipeline.tracing import ShardTrace

BATCHES_AHEAD = 2
MOST_WAITING = 16
NO_TRACE = ShardTrace()

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


def score_shard(
    shard: Shard,
    job: ShardJob,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
    store: RunStore,
    poison: Collection[int] = (),
    dedup: bool = True,
    on_progress: OnProgress = lambda documents, tokens: None,
    trace: ShardTrace = NO_TRACE,
) -> Totals:
    """Score a shard and commit its part. Raises UnreadableFileError and EngineError.

    Nothing is visible in the run directory until the part is whole. The documents at the positions
    of `poison` are not shown to the engine: their rows say that it died of them. With `dedup`
    exact copies are not either: they take the score of the first.
    """
    started = time.monotonic()
    recent = RecentTexts(token_columns=_has_token_columns(job)) if dedup else None
    batches = read_batches(job.corpus, job.files, shard, job.columns)
    if poison:
        batches = _replaced(batches, lambda at, d: _deadly(d) if at in poison else d)
    batches = trace.each_read("reading", batches)
    documents = score_documents(
        batches, job.rules, engine=engine, tokenizer=tokenizer, recent=recent, trace=trace
    )
    with trace.scoring(f"shard {shard.id}"), closing(documents) as scored, ExitStack() as commit:
        part = commit.enter_context(store.writing_part(shard.id, job.schema))
        for batch, scores in scored:
            copied = [
                s.num_tokens for d, s in zip(batch.documents, scores, strict=True) if d.is_copy
            ]
            with trace.scoring("writing"):
                part.write(to_rows(batch, scores, job), copied)
            on_progress(len(scores), sum(score.num_tokens for score in scores) - sum(copied))
        with trace.scoring("committing"):
            seconds = time.monotonic() - started
            totals = part.close(job.run_id, shard.id, job.fingerprint, seconds)
            commit.close()
    return totals


def score_documents(
    batches: Iterable[Batch],
    rules: ScoringRules,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
    recent: RecentTexts | None = None,
    trace: ShardTrace = NO_TRACE,
) -> Generator[tuple[PreparedBatch, list[DocumentScore]], None, None]:
    """Score batches of documents, wherever they are from: each with its scores, in order.

    Preparing runs in a thread ahead of the engine, which ends with the generator. `recent` are the
    texts whose copies are not scored. Raises EngineError, and what `batches` raises.
    """

    def prepare_each() -> Iterator[PreparedBatch]:
        for batch in batches:
            with trace.reading("tokenizing"):
                made = prepare(batch, tokenizer, rules, recent)
            yield made

    with closing(Prefetch(prepare_each(), BATCHES_AHEAD)) as prepared:
        for batch in trace.each_scored("waiting for the engine", score_batches(prepared, engine)):
            with trace.scoring("folding"):
                scores = [fold(document, rules) for document in batch.documents]
            yield batch, scores


def probe_shard(
    shard: Shard,
    job: ShardJob,
    first: int,
    end: int,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
    dedup: bool = True,
) -> None:
    """Score the documents at positions [first, end) of a shard, and keep nothing.

    For finding out whether the engine survives them. As in `score_shard`, a copy is not shown to
    it, wherever in the shard the first is: of a deadly text only the first is found, and its
    copies share its row. Raises as `score_shard` does.
    """
    recent = RecentTexts(token_columns=_has_token_columns(job)) if dedup else None

    def blank(at: int, document: Document) -> Document:
        is_copy = recent is not None and recent.look_up(document)[1]
        return document if first <= at < end and not is_copy else Document(document.row, None)

    batches = _replaced(read_batches(job.corpus, job.files, shard, job.columns), blank)
    for _ in score_batches((prepare(b, tokenizer, job.rules) for b in batches), engine):
        pass


def _has_token_columns(job: ShardJob) -> bool:
    return bool(TOKEN_FIELDS.keys() & set(job.schema.names))


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


def score_batches(batches: Iterable[PreparedBatch], engine: Engine) -> Iterator[PreparedBatch]:
    """Feed the windows of all batches to the engine as one stream; yield batches in order.

    The engine may answer in any order, and works across batch borders: nothing waits for a long
    document except the batches behind it. Batches without windows (copies, empty rows) do not
    pile up: after MOST_WAITING of them in a row the answers are awaited, and what is ready leaves.
    """
    batches, is_over = iter(batches), False
    on_the_way: deque[PreparedBatch] = deque()
    owners: dict[int, tuple[PreparedBatch, PreparedDocument, int, int]] = {}

    def windows() -> Iterator[tuple[int, Window]]:
        nonlocal is_over
        key = num_waiting = 0
        for batch in batches:
            on_the_way.append(batch)
            num_waiting = 0 if batch.num_missing else num_waiting + 1
            if num_waiting == MOST_WAITING:
                return
            for document in batch.documents:
                for position, window in enumerate(document.windows):
                    num_scored = len(window.prompt) - window.num_context
                    owners[key] = (batch, document, position, num_scored)
                    yield key, window
                    key += 1
                # The prompts are with the engine now; only their answers are still needed.
                document.windows = []
        is_over = True

    while not is_over:
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
        while on_the_way:
            yield on_the_way.popleft()


def fold(prepared: PreparedDocument, rules: ScoringRules) -> DocumentScore:
    """The score row of a document whose windows are all back."""
    if prepared.is_copy:
        # Documents leave in order: the first of them has been here.
        assert prepared.answer is not None
        assert prepared.answer.score is not None
        return prepared.answer.score
    score = prepared.score or fold_document(
        prepared.document.text or "",
        prepared.scored_text,
        prepared.token_logprobs(),
        status=prepared.status,
        num_windows=len(prepared.logprobs),
        num_skipped_tokens=prepared.num_skipped_tokens,
        min_k_percent=rules.min_k_percent,
        text_hash=None if prepared.answer is None else prepared.answer.text_hash,
    )
    if prepared.answer is not None:
        prepared.answer.score = score
    return score


def to_rows(prepared: PreparedBatch, scores: list[DocumentScore], job: ShardJob) -> pa.Table:
    """Locator, id, carried columns and scores, as the part's schema has them."""
    batch = prepared.batch
    values = score_columns(prepared, scores, job.schema)
    values["file"] = pa.array([batch.file] * len(scores), pa.string())
    values["row"] = pa.array([document.row for document in batch.documents], pa.int64())
    sources = {name: name for name in job.columns.carried}
    if job.columns.doc_id is not None:
        sources["doc_id"] = job.columns.doc_id
    for name, source in sources.items():
        kind = job.schema.field(name).type
        if source in batch.table.schema.names:
            values[name] = carried_column(batch, source, kind)
        else:
            values[name] = pa.nulls(len(scores), kind)
    return pa.table([values[name] for name in job.schema.names], schema=job.schema)


def score_columns(
    prepared: PreparedBatch, scores: list[DocumentScore], schema: pa.Schema
) -> dict[str, pa.Array]:
    """The score columns of a batch by name, and of the token columns those that `schema` has."""
    values = {
        name: pa.array(column, schema.field(name).type)
        for name, column in zip(DocumentScore._fields, zip(*scores, strict=True), strict=True)
    }
    for name in TOKEN_FIELDS.keys() & set(schema.names):
        lists = [
            None if score.nll is None else document.token_list(name)
            for document, score in zip(prepared.documents, scores, strict=True)
        ]
        values[name] = pa.array(lists, schema.field(name).type)
    return values
