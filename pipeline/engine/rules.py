"""Which model scores and by which rules: what a run's manifest says of its scorer.

Owns what the rules of every kind of scorer have. A kind has rules of its own, a subclass in its
folder; which kind a record is of says its key `kind`, and one without is of the first, `causal`.
"""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from pipeline.schema import Window

_AS_RECORDED = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ModelRecord(BaseModel):
    """Which model scored, for people; what identifies it is in the fingerprint."""

    model_config = _AS_RECORDED

    name: str
    folder: str
    revision: str | None
    architecture: str
    vocab_size: int
    trust_remote_code: bool


class ScoringRules(BaseModel):
    """Everything that decides a score besides the model and the text, of any kind of scorer."""

    model_config = _AS_RECORDED

    kind: ClassVar[str]
    """Kind of scorer. Rules of a kind other than `causal` have it as a field, so that records name
    it."""

    dtype: str
    window_tokens: int
    """Number of tokens of the longest prompt."""
    long_documents: str
    """window, truncate or skip."""
    min_k_percent: float
    """Percentage of tokens, the least likely ones, that `min_k_logprob` averages."""

    def plan_windows(self, token_ids: list[int]) -> list[Window]:
        """The prompts of a document, in order; empty if there is nothing to score."""
        raise NotImplementedError

    def first_scored(self, token_ids: list[int]) -> int:
        """The position of the first token that is scored: 0, unless it serves as context."""
        return 0

    @property
    def counts_whole_characters(self) -> bool:
        """Whether a character of which some bytes were scored counts with all of them."""
        return False

    def as_begun(self, earlier: "ScoringRules") -> Self:
        """These, as a run that was begun by `earlier` rules goes on: what they knew, they keep."""
        return self

    def in_words(self) -> list[tuple[str, str]]:
        """Names and values, for people."""
        return [
            ("dtype", self.dtype),
            ("windows", f"{self.window_tokens} tokens"),
            ("long documents", self.long_documents),
        ]
