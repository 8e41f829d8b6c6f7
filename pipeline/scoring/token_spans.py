"""A text in the stretches that its tokens stand for, each with their log-probabilities.

Owns merging tokens that share a character: a byte-level tokenizer splits one that it does not know
into tokens of its bytes, which all have the offsets of the whole character.

    text      'a 👩'            offsets (0,1) (1,3) (2,3) (2,3)
    spans     'a' ' 👩'         logprobs [a] [b, c, d]
"""

from collections.abc import Sequence

from pydantic import BaseModel


class TokenSpan(BaseModel):
    """A stretch of a text."""

    text: str
    logprobs: list[float]
    """ln p of each token of the span, in order; empty if no token was scored."""

    @property
    def nll(self) -> float | None:
        """How surprising it is as a whole, in nats; None where nothing of it was scored."""
        return -sum(self.logprobs) if self.logprobs else None


def merge_tokens(
    text: str, offsets: Sequence[tuple[int, int]], logprobs: Sequence[float | None]
) -> list[TokenSpan]:
    """Spans that make up the whole text; None is the log-probability of a token without one.

    What no token covers is a span of its own, and a token that covers nothing is part of the span
    before it, or of the first.
    """
    spans: list[tuple[int, int, list[float]]] = []
    end = 0
    for (start, stop), logprob in zip(offsets, logprobs, strict=True):
        if start > end:
            _put(spans, end, start, [])
        _put(spans, start, stop, [] if logprob is None else [logprob])
        end = max(end, stop)
    if end < len(text):
        _put(spans, end, len(text), [])
    return [TokenSpan(text=text[first:last], logprobs=scored) for first, last, scored in spans]


def _put(
    spans: list[tuple[int, int, list[float]]], start: int, stop: int, scored: list[float]
) -> None:
    """Add a token: to the last span if they share a character, or if one of them has none."""
    first, last, others = spans[-1] if spans else (start, start, [])
    if spans and (start < last or start >= stop or first == last):
        spans[-1] = (first, max(last, stop), others + scored)
    else:
        spans.append((start, stop, scored))
