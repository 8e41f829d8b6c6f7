"""The types that flow, one per hop, and the Arrow schema of what is written.

    Shard -> Document -> Window -> WindowScore -> DocumentScore -> a row of RUN/scores

Owns names, units and the on-disk schema. It computes nothing.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SCORE_VERSION = 2
"""What a score means and which columns it has; in every fingerprint, as `schema_version`. Scores
of another number are never mixed."""

Status = Literal["ok", "truncated", "skipped", "empty", "null", "error"]

SCORED: tuple[Status, ...] = ("ok", "truncated")
"""The statuses of rows that have a score."""

Logprobs = npt.NDArray[np.float64]
"""Natural-log probabilities, one per scored token, in document order."""


class Span(NamedTuple):
    """Consecutive row groups of one file."""

    file: int
    """Index into the manifest's files; in a ShardTask into its own."""
    row_groups: tuple[int, ...]
    first_row: int
    """0-based row, in the file, of the first row group's first row."""
    num_rows: int
    """Rows to take, from `first_row` on; fewer than the row groups hold under `--limit`."""


class Shard(NamedTuple):
    """The unit of work, of loss and of commit: one shard makes one part."""

    id: int
    """Its place in the plan, from 0; names its part."""
    spans: tuple[Span, ...]
    num_rows: int
    text_bytes: int


class ShardTask(NamedTuple):
    """A shard by itself, with the names of its files, as a worker is handed it."""

    shard: Shard
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One input row."""

    row: int
    """0-based position in its file."""
    text: str | None
    error: str | None = None
    """Why the text cannot be scored, when it cannot; it is not looked at then."""


class Window(NamedTuple):
    """One prompt for the engine.

    prompt   [c0 c1 | t0 t1 t2]      num_context = 2
    scored           ^  ^  ^         one log-probability for each t, none for c
    """

    prompt: list[int]
    num_context: int
    """Leading tokens that are given, not scored; at least 1."""


class WindowScore(NamedTuple):
    """What the engine answers for one window."""

    key: int
    """The key the window was handed in with."""
    logprobs: Logprobs
    """Shape [len(prompt) - num_context]."""


class DocumentScore(NamedTuple):
    """One score row, without its locator. Counts are of this document; nll is in nats."""

    status: Status
    error: str | None = None
    num_tokens: int = 0
    num_skipped_tokens: int = 0
    num_bytes: int = 0
    num_chars: int = 0
    num_words: int = 0
    num_scored_bytes: int = 0
    num_scored_words: int = 0
    text_hash: int | None = None
    num_windows: int = 0
    nll: float | None = None
    nll_std: float | None = None
    max_nll: float | None = None
    min_k_logprob: float | None = None
    perplexity: float | None = None
    bits_per_token: float | None = None
    bits_per_byte: float | None = None
    word_perplexity: float | None = None


LOCATOR_FIELDS = [
    pa.field("file", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
]

SCORE_FIELDS = [
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", pa.string()),
    pa.field("num_tokens", pa.int64(), nullable=False),
    pa.field("num_skipped_tokens", pa.int64(), nullable=False),
    pa.field("num_bytes", pa.int64(), nullable=False),
    pa.field("num_chars", pa.int64(), nullable=False),
    pa.field("num_words", pa.int64(), nullable=False),
    pa.field("num_scored_bytes", pa.int64(), nullable=False),
    pa.field("num_scored_words", pa.int64(), nullable=False),
    pa.field("text_hash", pa.int64()),
    pa.field("num_windows", pa.int64(), nullable=False),
    pa.field("nll", pa.float64()),
    pa.field("nll_std", pa.float64()),
    pa.field("max_nll", pa.float64()),
    pa.field("min_k_logprob", pa.float64()),
    pa.field("perplexity", pa.float64()),
    pa.field("bits_per_token", pa.float64()),
    pa.field("bits_per_byte", pa.float64()),
    pa.field("word_perplexity", pa.float64()),
]

TOKEN_FIELDS = {
    "token_logprobs": pa.field("token_logprobs", pa.list_(pa.float32())),
    "token_ids": pa.field("token_ids", pa.list_(pa.int32())),
}
"""One list a document, one value per scored token, in document order; only if asked for."""

METRICS = ("perplexity", "bits_per_token", "bits_per_byte", "word_perplexity")
"""Derived per-document columns, all "higher is more surprising"."""

OWN_COLUMNS = frozenset(
    ["doc_id", *TOKEN_FIELDS, *(field.name for field in LOCATOR_FIELDS + SCORE_FIELDS)]
)
"""Names a carried column may not take."""


def part_schema(
    doc_id: pa.DataType | None, carried: list[pa.Field], token_columns: tuple[str, ...] = ()
) -> pa.Schema:
    """The columns of a part.

    Locator, doc_id where the corpus has one, carried columns, scores, and those of TOKEN_FIELDS
    that are named.
    """
    own_id = [] if doc_id is None else [pa.field("doc_id", doc_id)]
    return pa.schema(
        [
            *LOCATOR_FIELDS,
            *own_id,
            *carried,
            *SCORE_FIELDS,
            *(TOKEN_FIELDS[name] for name in token_columns),
        ]
    )
