"""How many tokens a corpus has, from a sample of its documents, with an interval.

Owns the draw and the estimator. Footers give the bytes of every row group; what a byte comes to in
tokens is measured on documents that are drawn in proportion to their bytes, in two stages:

    the corpus, in order, cut into zones of equally many bytes
    a row group a zone         drawn in proportion to its bytes there
    a few documents of it      drawn with replacement, in proportion to their bytes

A draw's tokens per byte are unbiased for the zone's, whatever the sizes of documents and row groups
(Cochran 1977, "Sampling Techniques", sections 9A.3 and 11.9). The interval is that of draws from
anywhere, which the zones can only improve on (Wolter 2007, section 8.2): in a corpus that is sorted
by source it is too wide, never too narrow. A small corpus is counted whole.
"""

import bisect
import itertools
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from pipeline.corpus.columns import Columns
from pipeline.corpus.files import Footer
from pipeline.corpus.reader import read_batches
from pipeline.engine.protocol import Tokenizer
from pipeline.engine.rules import ScoringRules
from pipeline.errors import UnreadableFileError
from pipeline.schema import Document, Shard, Span
from pipeline.scoring.preparing import prepare_document
from pipeline.storage.filesystem import Root

CONFIDENCE = 0.95
NUM_ZONES = 32
DOCUMENTS_A_DRAW = 16
WHOLE_BYTES = 2 << 20
"""Bytes of text up to which a corpus is counted instead of sampled."""
READERS = 8


class Quantity(BaseModel):
    """A total over the corpus, and where it lies with 95% confidence."""

    value: int
    low: int
    high: int


class Estimate(BaseModel):
    """What scoring a corpus comes to."""

    tokens: Quantity
    """Number of scored tokens."""
    prompt_tokens: Quantity
    """Number of tokens that engines compute: scored ones, prefixes, and context that windows
    repeat."""
    windows: Quantity
    is_exact: bool
    """True if every document was counted."""
    num_row_groups: int
    """Number of row groups that were read."""
    num_documents: int
    """Number of documents that were tokenized; each counts once, however often it was drawn."""
    seed: int
    source: str
    """How the figures were made, for people."""
    unreadable: dict[str, str]
    """Files with row groups that could not be read, which count as empty."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The documents of an estimate, with how often each occurs in the corpus, relatively."""

    texts: list[str]
    weights: list[float]


class Unit(NamedTuple):
    """A row group, or what the limit takes of it."""

    file: int
    group: int
    first_row: int
    num_rows: int
    num_bytes: int
    """Bytes of the text column by the footer: uncompressed, but encoded."""


class Work(NamedTuple):
    """What a text comes to, or a byte of it."""

    tokens: float
    prompt_tokens: float
    windows: float


NOTHING = Work(0.0, 0.0, 0.0)


class Drawn(NamedTuple):
    """What reading a row group for some draws gave."""

    ratios: list[Work]
    """Ratio per byte of the unit, for each draw."""
    texts: list[str]


def estimate_work(
    root: Root,
    footers: list[Footer],
    num_rows: int,
    text_column: str,
    *,
    tokenizer: Tokenizer,
    rules: ScoringRules,
    covered: Collection[tuple[int, int]] = (),
    seed: int = 0,
) -> tuple[Estimate, Sample]:
    """Estimate what the first `num_rows` rows come to, without row groups that are `covered`, by
    (file, row group). The same seed gives the same answer.
    """
    units = [u for u in units_of(footers, num_rows) if (u.file, u.group) not in covered]
    reader = _Reader(root, footers, text_column, tokenizer, rules, seed)
    total_bytes = sum(unit.num_bytes for unit in units)
    if total_bytes <= WHOLE_BYTES and (counted := reader.count(units)) is not None:
        totals, texts = counted
        sample = Sample(texts, [1.0] * len(texts))
        return reader.estimate(
            [Quantity(value=int(x), low=int(x), high=int(x)) for x in totals],
            is_exact=True,
            num_row_groups=len(units),
            num_documents=len(texts),
            source="every document counted",
        ), sample
    places = draw_units([unit.num_bytes for unit in units], random.Random(f"zones {seed}"))
    draws = defaultdict(list)
    for number, index in enumerate(places):
        draws[index].append(number)
    with ThreadPoolExecutor(READERS) as readers:
        jobs = [readers.submit(reader.draw, units[i], len(draws[i])) for i in draws]
        drawn = [job.result() for job in jobs]
    ratios = [NOTHING] * len(places)
    for numbers, one in zip(draws.values(), drawn, strict=True):
        for number, ratio in zip(numbers, one.ratios, strict=True):
            ratios[number] = ratio
    texts = [text for one in drawn for text in one.texts]
    # Drawn in proportion to its bytes, a document stands for others in inverse proportion to them.
    sample = Sample(texts, [1 / len(text.encode()) for text in texts])
    return reader.estimate(
        [total_of([ratio[i] for ratio in ratios], total_bytes) for i in range(len(NOTHING))],
        is_exact=False,
        num_row_groups=len(draws),
        num_documents=len(texts),
        source=f"{len(texts):,} documents tokenized, drawn by their bytes from {len(draws):,} of "
        f"{len(units):,} row groups, seed {seed}",
    ), sample


def units_of(footers: list[Footer], num_rows: int) -> Iterator[Unit]:
    """The row groups that have the first `num_rows` rows, the last one cut."""
    left = num_rows
    for file, footer in enumerate(footers):
        first = 0
        for group, (rows, size) in enumerate(footer.row_groups):
            if taken := min(rows, left):
                yield Unit(file, group, first, taken, size * taken // rows)
            first += rows
            left -= taken


def draw_units(sizes: Sequence[int], rng: random.Random) -> list[int]:
    """The index of a unit for each of NUM_ZONES zones of equally many bytes, in order."""
    ends = list(itertools.accumulate(sizes))
    places = ((number + rng.random()) / NUM_ZONES * ends[-1] for number in range(NUM_ZONES))
    return [min(bisect.bisect_right(ends, place), len(ends) - 1) for place in places]


def total_of(ratios: Sequence[float], size: float) -> Quantity:
    """The total of a quantity whose ratio to `size` was drawn: Student's interval of the mean."""
    from scipy import stats

    mean = math.fsum(ratios) / len(ratios)
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(ratios) - 1)) * error
    low, high = max(0.0, mean - half), mean + half
    return Quantity(value=round(mean * size), low=round(low * size), high=round(high * size))


class _Reader:
    """Reads row groups and tokenizes what is drawn of them."""

    def __init__(
        self,
        root: Root,
        footers: list[Footer],
        text_column: str,
        tokenizer: Tokenizer,
        rules: ScoringRules,
        seed: int,
    ) -> None:
        self._root, self._columns = root, Columns(text_column, None, ())
        self._files = tuple(footer.name for footer in footers)
        self._tokenizer, self._rules, self._seed = tokenizer, rules, seed
        self._unreadable: dict[str, str] = {}

    def estimate(self, quantities: list[Quantity], **facts: Any) -> Estimate:
        totals: dict[str, Any] = dict(zip(Work._fields, quantities, strict=True))
        return Estimate(**totals, **facts, seed=self._seed, unreadable=self._unreadable)

    def count(self, units: list[Unit]) -> tuple[Work, list[str]] | None:
        """The totals of all units and their texts; None if they hold much more than footers say.

        A column that is encoded by a dictionary may be a thousand times its size there.
        """
        totals, texts, size = NOTHING, list[str](), 0
        for unit in units:
            try:
                for text, num_bytes in self._texts(unit):
                    size += num_bytes
                    if size > 2 * WHOLE_BYTES:
                        return None
                    texts.append(text)
            except UnreadableFileError as error:
                self._unreadable[self._files[unit.file]] = str(error)
        for work in self._work(texts):
            totals = Work(*(a + b for a, b in zip(totals, work, strict=True)))
        return totals, texts

    def draw(self, unit: Unit, draws: int) -> Drawn:
        """Read a row group once, for `draws` independent draws of documents.

        Chao's reservoir (1982) of one place, once for every document wanted: each row so far has
        been kept in proportion to its bytes.
        """
        rng = random.Random(f"{self._seed} {unit.file} {unit.group}")
        wanted = draws * DOCUMENTS_A_DRAW
        kept: list[tuple[int, str, int] | None] = [None] * wanted
        total = 0
        try:
            for row, (text, num_bytes) in enumerate(self._texts(unit)):
                total += num_bytes
                share = num_bytes / total
                # The places that take this row, without a random number for each that does not.
                place = _skip(rng, share)
                while place < wanted:
                    kept[place] = (row, text, num_bytes)
                    place += 1 + _skip(rng, share)
        except UnreadableFileError as error:
            self._unreadable[self._files[unit.file]] = str(error)
            kept = []
        # Either every place has a document, or there is none.
        chosen = [one for one in kept if one is not None]
        if not chosen:
            return Drawn([NOTHING] * draws, [])
        texts = {row: text for row, text, _ in chosen}
        work = dict(zip(texts, self._work(list(texts.values())), strict=True))
        ratios = []
        for start in range(0, wanted, DOCUMENTS_A_DRAW):
            own = chosen[start : start + DOCUMENTS_A_DRAW]
            scale = total / unit.num_bytes / len(own)
            sums = (math.fsum(work[row][i] / size for row, _, size in own) for i in range(3))
            ratios.append(Work(*(scale * x for x in sums)))
        return Drawn(ratios, list(texts.values()))

    def _texts(self, unit: Unit) -> Iterator[tuple[str, int]]:
        """(text, its UTF-8 bytes) of every row that has any text."""
        span = Span(unit.file, (unit.group,), unit.first_row, unit.num_rows)
        shard = Shard(0, (span,), unit.num_rows, unit.num_bytes)
        for batch in read_batches(self._root, self._files, shard, self._columns):
            for document in batch.documents:
                if document.text and not document.error:
                    yield document.text, len(document.text.encode())

    def _work(self, texts: list[str]) -> list[Work]:
        found = []
        for text, encoded in zip(texts, self._tokenizer.encode(texts), strict=True):
            document = Document(0, text)
            windows = prepare_document(document, encoded.ids, self._tokenizer, self._rules).windows
            prompts = sum(len(window.prompt) for window in windows)
            context = sum(window.num_context for window in windows)
            found.append(Work(prompts - context, prompts, len(windows)))
        return found


def _skip(rng: random.Random, share: float) -> int:
    """Failures before the first success of probability `share`: the geometric distribution."""
    return 0 if share >= 1 else int(math.log(1 - rng.random()) / math.log1p(-share))
