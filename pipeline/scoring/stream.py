"""Documents to scores through one stream of windows, across batches.

Owns keeping the engine full: preparing runs ahead of it in a thread, its answers may come in any
order, and no batch waits for another except to leave in order.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial

from pipeline.corpus.reader import Batch
from pipeline.engine.protocol import Engine, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.errors import EngineError
from pipeline.schema import DocumentScore, Window
from pipeline.scoring.copies import RecentTexts
from pipeline.scoring.preparing import PreparedBatch, PreparedDocument, fold, prepare
from pipeline.storage.prefetch import Prefetch
from pipeline.tracing import NO_TRACE, ShardTrace

BATCHES_AHEAD = 2
MOST_WAITING = 16


def score_documents(
    batches: Iterable[Batch],
    rules: ScoringRules,
    *,
    engine: Engine,
    tokenizer: Tokenizer,
    recent: RecentTexts | None = None,
    vocab_size: int | None = None,
    trace: ShardTrace = NO_TRACE,
) -> Generator[tuple[PreparedBatch, list[DocumentScore]], None, None]:
    """Score batches of documents, wherever they are from: each with its scores, in order.

    Preparing runs in a thread ahead of the engine, which ends with the generator. `recent` are the
    texts whose copies are not scored, `vocab_size` is the model's. Raises EngineError, and
    what `batches` raises.
    """
    make = partial(prepare, tokenizer=tokenizer, rules=rules, recent=recent, vocab_size=vocab_size)
    read = trace.each_read("reading", batches)
    ahead = map(trace.reading("tokenizing", make), read)
    fold_batch = trace.scoring("folding", lambda batch: [fold(d, rules) for d in batch.documents])
    with closing(Prefetch(ahead, BATCHES_AHEAD)) as prepared:
        for batch in trace.each_scored("waiting for the engine", score_batches(prepared, engine)):
            yield batch, fold_batch(batch)


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
                raise EngineError(
                    f"the engine returned {len(answer.logprobs)} log-probabilities for a "
                    f"window of {num_scored} scored tokens"
                )
            document.logprobs[position] = answer.logprobs
            batch.num_missing -= 1
            while on_the_way and not on_the_way[0].num_missing:
                yield on_the_way.popleft()
        if owners:
            raise EngineError(f"the engine returned nothing for {len(owners)} windows")
        while on_the_way:
            yield on_the_way.popleft()
