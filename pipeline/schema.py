"""The types that flow, one per hop, and the Arrow schema of what is written.

    Shard -> Document -> Window -> WindowScore -> DocumentScore -> a row of RUN/scores

Owns names, units and the on-disk schema. DocumentScore is the registry of metrics: whoever needs a
list of them reads it off there. It computes nothing.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SCORE_VERSION = 2
"""Number of the meaning and columns of a score, in every fingerprint as `schema_version`. Scores
with different numbers are never mixed."""

Status = Literal["ok", "truncated", "skipped", "empty", "null", "error"]

STATUSES: tuple[Status, ...] = get_args(Status)

SCORED: tuple[Status, ...] = ("ok", "truncated")
"""Statuses of rows that have a score."""

Logprobs = npt.NDArray[np.float64]
"""Natural-log probabilities, one per scored token, in document order."""


class Span(NamedTuple):
    """Consecutive row groups of one file."""

    file: int
    """Index of the file in the manifest; in a ShardTask, in the task's own list."""
    row_groups: tuple[int, ...]
    first_row: int
    """0-based row, in the file, of the first row group's first row."""
    num_rows: int
    """Rows from `first_row` on; fewer than the row groups hold if there is a limit."""


class Shard(NamedTuple):
    """The unit of work, of loss and of commit: one shard makes one part."""

    id: int
    """Number of the shard in the plan, from 0; it names the part."""
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
    """0-based row in the file."""
    text: str | None
    error: str | None = None
    """Why the text cannot be scored; None if it can."""


class Window(NamedTuple):
    """One prompt for the engine.

    prompt   [c0 c1 | t0 t1 t2]      num_context = 2
    scored           ^  ^  ^         one log-probability for each t, none for c
    """

    prompt: list[int]
    num_context: int
    """Number of leading tokens that are context and not scored; at least 1."""


class WindowScore(NamedTuple):
    """What the engine answers for one window."""

    key: int
    """Key that the window was passed with."""
    logprobs: Logprobs
    """Shape [len(prompt) - num_context]."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a score column holds."""

    meaning: str
    """Meaning in words, as Markdown; docs/reference/columns.md is made from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Column):
    """A score column that is a number of a document."""

    unit: str = ""
    per: str | None = None
    """For a ratio: the column of counts that `nll` is divided by; null if the count is 0."""
    is_perplexity: bool = False
    """For a ratio: whether the metric is exp of it, null beyond a float64; otherwise it is in
    bits."""
    total: str | None = None
    """For a ratio: the name of the figure of many documents, sum nll / sum counts, if it
    differs."""
    is_charted: bool = False
    """Whether reports show its quantiles and distribution over documents."""
    is_signed: bool = False
    """Whether the metric may be negative."""


def _one_of(words: Sequence[str]) -> str:
    *first, last = (f"`{word}`" for word in words)
    return f"{', '.join(first)} or {last}"


class DocumentScore(NamedTuple):
    """One score row, without its locator, and the registry of what its columns are.

    Arrow fields, names in filters and requirements, figures and docs/reference follow from it.
    """

    status: Annotated[Status, Column(_one_of(STATUSES))]
    error: Annotated[
        str | None,
        Column(
            "why there is no score: `too_long`, `too_short`, `too_large`, `nonfinite`, `not "
            "UTF-8`, `token_out_of_vocabulary`, `engine_died` and what the engine said: "
            "`engine_died: …`"
        ),
    ] = None
    num_tokens: Annotated[int, Metric("number of scored tokens", unit="tokens")] = 0
    num_skipped_tokens: Annotated[int, Metric("number of tokens not scored", unit="tokens")] = 0
    num_bytes: Annotated[int, Metric("size of the text in UTF-8 bytes", unit="bytes")] = 0
    num_chars: Annotated[int, Metric("size in code points", unit="code points")] = 0
    num_words: Annotated[int, Metric("size in words split at white space", unit="words")] = 0
    num_scored_bytes: Annotated[
        int,
        Metric(
            "bytes of the scored text, fewer than `num_bytes` only if tokens were skipped",
            unit="bytes",
        ),
    ] = 0
    num_scored_words: Annotated[int, Metric("words of the scored text", unit="words")] = 0
    text_hash: Annotated[
        int | None, Column("equal texts have equal hashes: 64 bits of BLAKE2b")
    ] = None
    num_windows: Annotated[
        int,
        Metric("number of prompts that the document was scored in", unit="windows"),
    ] = 0
    nll: Annotated[
        float | None, Metric("sum of -ln p over the scored tokens, in nats", unit="nats")
    ] = None
    nll_std: Annotated[
        float | None,
        Metric("standard deviation of -ln p over these tokens", unit="nats"),
    ] = None
    max_nll: Annotated[float | None, Metric("-ln p of the most surprising token", unit="nats")] = (
        None
    )
    min_k_logprob: Annotated[
        float | None,
        Metric(
            "mean ln p of the least likely 20% of tokens (setting `min_k_percent`): Min-K% Prob of "
            "Shi et al. 2023, for memorisation and contamination checks",
            unit="nats",
            is_signed=True,
        ),
    ] = None
    perplexity: Annotated[
        float | None,
        Metric(
            "exp(`nll` / `num_tokens`)",
            per="num_tokens",
            is_perplexity=True,
            total="corpus_perplexity",
            is_charted=True,
        ),
    ] = None
    bits_per_token: Annotated[
        float | None,
        Metric("`nll` / ln 2 / `num_tokens`", unit="bits", per="num_tokens"),
    ] = None
    bits_per_byte: Annotated[
        float | None,
        Metric(
            "`nll` / ln 2 / `num_scored_bytes`, which compares across tokenizers",
            unit="bits",
            per="num_scored_bytes",
            is_charted=True,
        ),
    ] = None
    word_perplexity: Annotated[
        float | None,
        Metric(
            "exp(`nll` / `num_scored_words`); null where a float64 cannot hold it. It tells "
            "nothing of texts that white space does not divide into words, as Chinese and base64",
            per="num_scored_words",
            is_perplexity=True,
        ),
    ] = None


LOCATOR_FIELDS = [
    pa.field("file", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
]

_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def _score_field(name: str, hint: Any) -> tuple[pa.Field, Column]:
    kind, column = get_args(hint)
    kinds = {str} if kind == Status else set(get_args(kind) or [kind])
    (python_type,) = kinds - {type(None)}
    return pa.field(name, _ARROW_TYPES[python_type], nullable=type(None) in kinds), column


_REGISTERED = [
    _score_field(name, hint)
    for name, hint in get_type_hints(DocumentScore, include_extras=True).items()
]

SCORE_FIELDS = [field for field, _ in _REGISTERED]
"""The columns of DocumentScore on disk."""

COLUMNS = {field.name: column for field, column in _REGISTERED}
"""Meaning of each score column."""

METRICS = {name: column for name, column in COLUMNS.items() if isinstance(column, Metric)}
"""Columns that filters and requirements may use as numbers."""

RATIOS = {name: metric for name, metric in METRICS.items() if metric.per is not None}
"""Metrics derived from `nll` and a count; higher is more surprising."""

COUNTS = tuple(dict.fromkeys(str(metric.per) for metric in RATIOS.values()))
"""Counts that the ratios are divided by."""

LARGEST = sys.float_info.max
LARGEST_EXPONENT = math.log(LARGEST)
"""Largest exponent of e whose power fits into a float64."""

TOKEN_FIELDS = {
    "token_logprobs": pa.field("token_logprobs", pa.list_(pa.float32())),
    "token_ids": pa.field("token_ids", pa.list_(pa.int32())),
}
"""Token columns: one list per document with one value per scored token, in order; written on
request only."""

OWN_COLUMNS = frozenset(
    ["doc_id", *TOKEN_FIELDS, *(field.name for field in LOCATOR_FIELDS + SCORE_FIELDS)]
)
"""Names that a carried column may not have."""


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
