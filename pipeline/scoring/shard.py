"""READ FIRST: one shard, from Parquet rows to a committed part of scores.

    read_batches    rows of the corpus, a few megabytes at a time          corpus/reader.py
    prepare         text -> token ids -> windows, but for exact copies     preparing.py, copies.py
    score_batches   windows -> the engine -> log-probabilities             stream.py, engine/
    fold            log-probabilities -> one score per document            preparing.py, fold.py
    to_rows         scores beside their locators, in input order           rows.py
    part.write      rows -> a part, visible when it is whole               runs/store.py

The first two run in a thread ahead of the engine. Rows leave in the order they came, one for one,
whatever they hold. The same function runs in a Ray actor and in a test.
"""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

import pyarrow as pa

from pipeline.corpus.reader import Batch, read_batches
from pipeline.engine.protocol import Engine, Tokenizer, work_done
from pipeline.runs.corpus import open_corpus
from pipeline.runs.manifest import Manifest, Totals
from pipeline.runs.store import RunStore
from pipeline.schema import TOKEN_FIELDS, Document, ShardTask
from pipeline.scoring.copies import RecentTexts
from pipeline.scoring.preparing import prepare
from pipeline.scoring.rows import to_rows
from pipeline.scoring.stream import score_batches, score_documents
from pipeline.tracing import NO_TRACE, ShardTrace

OnProgress = Callable[[int, int], None]
"""A function called with the (documents, tokens) just finished."""


def score_shard(
    task: ShardTask,
    manifest: Manifest,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
    store: RunStore,
    poison: Collection[int] = (),
    reasons: Mapping[int, str] | None = None,
    dedup: bool = True,
    on_progress: OnProgress = lambda documents, tokens: None,
    trace: ShardTrace = NO_TRACE,
) -> Totals:
    """Score a shard and commit its part. Raises UnreadableFileError and EngineError.

    Nothing is visible in the run directory until the part is whole. `manifest` may be without its
    plan: the task has what is needed of it. The documents at the positions of `poison` are not
    shown to the engine: their rows say that it died of them, and what it said where `reasons` has
    it. With `dedup`, neither are exact copies: they take the score of the first.
    """
    started = time.monotonic()
    schema = manifest.arrow_schema()
    batches = _read(task, manifest)
    if poison:
        said = reasons or {}
        batches = _replaced(batches, lambda at, d: _deadly(d, said.get(at)) if at in poison else d)
    documents = score_documents(
        batches,
        manifest.rules,
        engine=engine,
        tokenizer=tokenizer,
        recent=_recent_texts(schema) if dedup else None,
        vocab_size=manifest.model.vocab_size,
        trace=trace,
    )
    with closing(documents) as scored, ExitStack() as commit:
        part = commit.enter_context(store.writing_part(task.shard.id, schema))
        write = trace.scoring("writing", part.write)
        for batch, scores in scored:
            copied = [
                s.num_tokens for d, s in zip(batch.documents, scores, strict=True) if d.is_copy
            ]
            write(to_rows(batch, scores, manifest.columns, schema), copied)
            on_progress(len(scores), sum(score.num_tokens for score in scores) - sum(copied))

        def finish() -> Totals:
            seconds = time.monotonic() - started
            about = (manifest.run_id, task.shard.id, manifest.fingerprint)
            totals = part.close(*about, seconds, work_done(engine))
            commit.close()
            return totals

        return trace.scoring("committing", finish)()


def probe_shard(
    task: ShardTask,
    manifest: Manifest,
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
    recent = _recent_texts(manifest.arrow_schema()) if dedup else None

    def blank(at: int, document: Document) -> Document:
        is_copy = recent is not None and recent.look_up(document)[1]
        return document if first <= at < end and not is_copy else Document(document.row, None)

    batches = _replaced(_read(task, manifest), blank)
    rules, vocab_size = manifest.rules, manifest.model.vocab_size
    prepared = (prepare(b, tokenizer, rules, vocab_size=vocab_size) for b in batches)
    for _ in score_batches(prepared, engine):
        pass


def _read(task: ShardTask, manifest: Manifest) -> Iterator[Batch]:
    return read_batches(open_corpus(manifest), task.files, task.shard, manifest.columns)


def _recent_texts(schema: pa.Schema) -> RecentTexts:
    return RecentTexts(token_columns=bool(TOKEN_FIELDS.keys() & set(schema.names)))


def _replaced(
    batches: Iterable[Batch], change: Callable[[int, Document], Document]
) -> Iterator[Batch]:
    """The batches with each document changed, given its position in the shard."""
    position = itertools.count()
    for batch in batches:
        documents = [change(next(position), document) for document in batch.documents]
        yield replace(batch, documents=documents)


def _deadly(document: Document, reason: str | None) -> Document:
    died = f"engine_died: {reason}" if reason else "engine_died"
    return replace(document, error=document.error or died)
