"""Window log-probabilities to the metrics of a document. Pure.

Sums are stored and ratios derived from them, so that any grouping can be recomputed later:
corpus perplexity is exp(sum nll / sum tokens), never a mean of perplexities.
"""

import math
from typing import TypedDict

import numpy as np

from pipeline.schema import LARGEST_EXPONENT, DocumentScore, Logprobs, Status
from pipeline.statistics.hashing import hash_bytes


class TextFacts(TypedDict):
    """Sizes and identity of a document's text."""

    num_bytes: int
    """Number of UTF-8 bytes."""
    num_chars: int
    """Number of code points."""
    num_words: int
    """Number of words, split at white space."""
    text_hash: int | None
    """8 bytes of BLAKE2b of the UTF-8, equal for equal texts, as a little-endian signed integer
    (many readers of Parquet have no unsigned ones)."""


class Ratios(TypedDict):
    """The derived metrics; None where there is no such ratio."""

    perplexity: float | None
    bits_per_token: float | None
    bits_per_byte: float | None
    word_perplexity: float | None


class TokenStatistics(TypedDict):
    """Spread of the token log-probabilities."""

    nll_std: float
    max_nll: float
    min_k_logprob: float


SPACE, INK = b" ", b"x"
ASCII_SPACES = b"".join(SPACE if chr(code).isspace() else INK for code in range(256))
"""A table for `bytes.translate`; of ASCII alone, the bytes above it are never looked up."""


def ratios(nll: float, num_tokens: int, num_scored_bytes: int, num_scored_words: int) -> Ratios:
    """Every derived metric from the sums. `nll` is in nats; None where there is no such ratio.

    perplexity       exp(nll / tokens)
    bits_per_token   nll / ln 2 / tokens: the cross-entropy, perplexity = 2 ** bits_per_token
    bits_per_byte    nll / ln 2 / UTF-8 bytes: the one that compares across tokenizers
                     (Gao et al. 2020, "The Pile", section 3.1)
    word_perplexity  exp(nll / words), words split at white space, as WikiText reports it

    A text of one endless word can exceed what a float64 holds as word perplexity: None, as
    infinity would poison every mean.
    """
    bits = nll / math.log(2)
    return {
        "perplexity": _exp_ratio(nll, num_tokens),
        "bits_per_token": bits / num_tokens if num_tokens else None,
        "bits_per_byte": bits / num_scored_bytes if num_scored_bytes else None,
        "word_perplexity": _exp_ratio(nll, num_scored_words),
    }


def _exp_ratio(nll: float, count: int) -> float | None:
    if not count or nll / count > LARGEST_EXPONENT:
        return None
    return math.exp(nll / count)


def token_statistics(logprobs: Logprobs, min_k_percent: float) -> TokenStatistics:
    """What the spread of a document's token log-probabilities says. `logprobs` is not empty.

    nll_std        standard deviation of -ln p over the tokens (of the population), nats
    max_nll        the most surprising token's -ln p, nats
    min_k_logprob  mean ln p of the k% least likely tokens, at least one: Min-K% Prob of Shi et al.
                   2023, "Detecting Pretraining Data from Large Language Models"
                   (arXiv:2310.16789); text seen in training has few very unlikely tokens, so a
                   value near 0 hints at memorisation or contamination
    """
    return _spread(logprobs, np.sort(logprobs).tolist(), min_k_percent)


def _spread(logprobs: Logprobs, ascending: list[float], min_k_percent: float) -> TokenStatistics:
    # What np.std does, to the last bit, without its checks: they took twice as long as the sums.
    deviations = logprobs - np.add.reduce(logprobs) / len(ascending)
    variance = np.add.reduce(np.multiply(deviations, deviations, out=deviations)) / len(ascending)
    count = max(1, int(len(ascending) * min_k_percent / 100))
    return {
        "nll_std": math.sqrt(variance),
        "max_nll": 0.0 - ascending[0],  # not -0.0, of a text known by heart
        "min_k_logprob": math.fsum(ascending[:count]) / count,
    }


def fold_document(
    text: str,
    scored_text: str,
    logprobs: Logprobs,
    *,
    status: Status,
    num_windows: int,
    num_skipped_tokens: int,
    min_k_percent: float,
    num_scored_bytes: int | None = None,
    text_hash: int | None = None,
) -> DocumentScore:
    """The score row of a document whose windows have all been scored.

    `logprobs` are of all scored tokens, in document order: shape [num_tokens], in nats, not empty.
    `scored_text` is the part of `text` that they cover: per-byte and per-word metrics divide by
    that, for a sum over the beginning divided by the length of the whole would flatter a truncated
    document. `num_scored_bytes` is given where only some bytes of `scored_text` are covered,
    `text_hash` where that of the text is known already.
    """
    ordered = logprobs.copy()
    ordered.sort()
    ascending: list[float] = ordered.tolist()
    if not (math.isfinite(ascending[0]) and math.isfinite(ascending[-1])):  # NaN sorts last
        num_tokens = len(logprobs) + num_skipped_tokens
        return unscored("error", text, error="nonfinite", num_tokens=num_tokens)
    # fsum: exact, so that the number of windows and their order cannot matter.
    nll = 0.0 - math.fsum(ascending)
    facts = measure(text, text_hash)
    num_covered_bytes, num_scored_words = facts["num_bytes"], facts["num_words"]
    if scored_text is not text:
        num_covered_bytes, num_scored_words = len(scored_text.encode()), len(scored_text.split())
    if num_scored_bytes is None:
        num_scored_bytes = num_covered_bytes
    return DocumentScore(
        status=status,
        num_tokens=len(logprobs),
        num_skipped_tokens=num_skipped_tokens,
        **facts,
        num_scored_bytes=num_scored_bytes,
        num_scored_words=num_scored_words,
        num_windows=num_windows,
        nll=nll,
        **_spread(logprobs, ascending, min_k_percent),
        **ratios(nll, len(logprobs), num_scored_bytes, num_scored_words),
    )


def unscored(
    status: Status, text: str | None, *, error: str | None = None, num_tokens: int = 0
) -> DocumentScore:
    """The row of a document that has no score: its counts, and null metrics."""
    return DocumentScore(status=status, error=error, num_skipped_tokens=num_tokens, **measure(text))


def measure(text: str | None, text_hash: int | None = None) -> TextFacts:
    """Count and hash a text, unless its hash is given; a missing text has none."""
    if text is None:
        return {"num_bytes": 0, "num_chars": 0, "num_words": 0, "text_hash": None}
    content = text.encode()
    return {
        "num_bytes": len(content),
        "num_chars": len(text),
        "num_words": _count_words(text, content),
        "text_hash": hash_bytes(content) if text_hash is None else text_hash,
    }


def _count_words(text: str, content: bytes) -> int:
    """What len(text.split()) is; `content` is its UTF-8."""
    if not text.isascii():
        return len(text.split())
    # A word begins wherever ink follows space: a third of the time of making the words.
    shape = content.translate(ASCII_SPACES)
    return shape.count(SPACE + INK) + shape.startswith(INK)
