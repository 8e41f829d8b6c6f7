"""How fast this machine scores this corpus: a short run of the real engine on sampled documents.

Owns the stream of documents, the measurement, and which of several ways is the fastest. Documents
go the way they go in a run (tokenized ahead, cut into windows, scored as one stream, folded), and
nothing is written. Loading the model and the first answers, for which the engine warms up, are not
counted.
"""

import bisect
import itertools
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import pyarrow as pa
from pydantic import BaseModel

from pipeline.corpus.reader import Batch
from pipeline.engine.protocol import Engine, EngineSettings, Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.errors import CorpusError
from pipeline.planning.estimate import CONFIDENCE, Sample
from pipeline.schema import Document
from pipeline.scoring.preparing import PreparedBatch, fold, prepare
from pipeline.scoring.stream import score_batches
from pipeline.storage.prefetch import Prefetch

SECONDS = 30.0
FEWEST_CHUNKS = 4
MOST_CHUNKS = 10
LONGEST = 8
"""Times SECONDS, after which a machine that is too slow for FEWEST_CHUNKS is measured by less."""
DOCUMENTS_AHEAD = 64

Moment = tuple[float, int]
"""Seconds, and the prompt tokens answered since the previous moment."""


class Calibration(BaseModel):
    """The speed of one worker on this machine."""

    tokens_per_second: float
    """Prompt tokens, prefixes and repeated context included."""
    spread: float
    """Half the 95% interval of the speed, relative to it, from the spread over chunks; 1 with a
    single chunk."""
    num_chunks: int
    num_tokens: int
    seconds: float

    @property
    def slowest(self) -> float:
        """Tokens per second, at the lower end of the interval."""
        return self.tokens_per_second * (1 - self.spread)

    @property
    def fastest(self) -> float:
        """Tokens per second, at the upper end of the interval."""
        return self.tokens_per_second * (1 + self.spread)


class Trial(NamedTuple):
    """One way to start the engine, and its speed."""

    settings: EngineSettings
    speed: Calibration


def fastest(trials: Sequence[Trial]) -> Trial:
    """The first, which is the default, unless another is faster beyond what both vary."""
    first = trials[0]
    best = max(trials, key=lambda one: one.speed.tokens_per_second)
    return best if best.speed.slowest > first.speed.fastest else first


def calibrate(
    engine: Engine,
    tokenizer: Tokenizer,
    rules: ScoringRules,
    sample: Sample,
    *,
    vocab_size: int | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Calibration:
    """Score documents of the sample for so many seconds. Raises CorpusError if there is no text.

    The documents are drawn so that their lengths are those of the corpus.
    """
    prepared = partial(_prepared, tokenizer=tokenizer, rules=rules, vocab_size=vocab_size)
    found = zip(sample.texts, sample.weights, strict=True)
    scored = [(text, weight) for text, weight in found if prepared(text)[1]]
    if not scored:
        raise CorpusError("no sampled document has a token to score, so no speed can be measured")
    texts, weights = zip(*scored, strict=True)
    sizes: deque[int] = deque()

    def documents() -> Iterator[tuple[PreparedBatch, int]]:
        rng = random.Random(f"calibration {seed}")
        while True:
            yield prepared(rng.choices(texts, weights)[0])

    def measured(sent: Iterator[tuple[PreparedBatch, int]]) -> Iterator[PreparedBatch]:
        # Noted in the order in which batches come back: it is that in which they went.
        for batch, size in sent:
            sizes.append(size)
            yield batch

    moments: list[Moment] = []
    with closing(Prefetch(documents(), DOCUMENTS_AHEAD)) as ahead:
        # Left before its end: what the engine still computes is not needed.
        for batch in score_batches(measured(ahead), engine):
            for document in batch.documents:
                fold(document, rules)
            moments.append((clock(), sizes.popleft()))
            elapsed = moments[-1][0] - moments[0][0]
            enough = elapsed >= seconds and len(chunks_of(moments)) >= FEWEST_CHUNKS
            if enough or elapsed >= LONGEST * seconds:
                break
    return speed_of(moments)


def _prepared(
    text: str, tokenizer: Tokenizer, rules: ScoringRules, vocab_size: int | None
) -> tuple[PreparedBatch, int]:
    """A batch of one document, and the tokens of its prompts."""
    alone = Batch("", [Document(0, text)], pa.RecordBatch.from_pydict({}))
    batch = prepare(alone, tokenizer, rules, vocab_size=vocab_size)
    windows = [window for document in batch.documents for window in document.windows]
    return batch, sum(len(window.prompt) for window in windows)


def chunks_of(moments: list[Moment]) -> list[tuple[float, int]]:
    """(seconds, tokens) of up to MOST_CHUNKS stretches of about equal length.

    A step of the engine answers many documents at nearly the same time. A stretch ends before the
    longest pause near its end, so that it has whole steps; what came with the first answers was
    done before them, and a step whose answers are still coming is left out.
    """
    times = [at for at, _ in moments]
    width = (times[-1] - times[0]) / MOST_CHUNKS
    pauses = [b - a for a, b in itertools.pairwise(times)]
    found = list[int]()
    for number in range(MOST_CHUNKS + 1):
        target = times[0] + number * width
        near = range(
            bisect.bisect_left(times, target - width / 2),
            min(bisect.bisect_left(times, target + width / 2), len(pauses)),
        )
        found += [max(near, key=pauses.__getitem__)] if near else []
    ends = list[int]()
    for end in found:
        is_pause = pauses[end] >= statistics.median(pauses[i] for i in found) / 4
        if is_pause and (not ends or times[end] - times[ends[-1]] > width / 2):
            ends.append(end)
    return [
        (times[b] - times[a], sum(size for _, size in moments[a + 1 : b + 1]))
        for a, b in itertools.pairwise(ends)
    ]


def speed_of(moments: list[Moment]) -> Calibration:
    """Tokens per second over all chunks, and how much that varies (batch means, Student's t)."""
    from scipy import stats

    whole = (moments[-1][0] - moments[0][0], sum(size for _, size in moments[1:]))
    chunks = chunks_of(moments) or [whole]
    seconds, tokens = (math.fsum(column) for column in zip(*chunks, strict=True))
    spread = 1.0
    if len(chunks) > 1:
        rates = [size / duration for duration, size in chunks]
        quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(chunks) - 1))
        error = statistics.stdev(rates) / math.sqrt(len(chunks))
        spread = min(1.0, quantile * error / (tokens / seconds))
    return Calibration(
        tokens_per_second=tokens / seconds,
        spread=spread,
        num_chunks=len(chunks),
        num_tokens=int(tokens),
        seconds=seconds,
    )
