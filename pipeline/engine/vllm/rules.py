"""The rules by which a causal language model scores."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.engine.rules import ScoringRules
from pipeline.engine.windows import plan_windows
from pipeline.schema import Window

AS_WRITTEN = (
    *("dtype", "prefix", "prefix_token_id", "window_tokens", "context_tokens"),
    *("long_documents", "min_k_percent", "scored_bytes"),
)
"""The order in which 0.1.0 wrote these keys, so that a manifest stays the same byte for byte. Later
keys follow."""


class CausalRules(ScoringRules):
    """A prefix token before the text, and rolling windows over it."""

    kind: ClassVar[str] = "causal"

    prefix: str
    """bos, eos or none."""
    prefix_token_id: int | None
    context_tokens: int
    scored_bytes: Literal["exact"] | None = Field(
        default=None, exclude_if=lambda counted: counted is None
    )
    """How `num_scored_bytes` counts where part of a document is not scored: None is as 0.1.0 did,
    characters as wholes. Left out where all of every document is scored: there it cannot matter."""
    quantization: str | None = Field(default=None, exclude_if=lambda named: named is None)
    """How the model's weights are stored; None where they are plain, and in earlier runs."""

    @model_serializer(mode="wrap")
    def _in_order(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        return {name: found.pop(name) for name in AS_WRITTEN if name in found} | found

    def plan_windows(self, token_ids: list[int]) -> list[Window]:
        return plan_windows(
            token_ids,
            prefix=self.prefix_token_id,
            window_tokens=self.window_tokens,
            context_tokens=self.context_tokens,
            only_first=self.long_documents == "truncate",
        )

    def first_scored(self, token_ids: list[int]) -> int:
        # One token is given up at the front if no prefix stands before it.
        return 1 if self.prefix_token_id in (None, token_ids[0]) else 0

    @property
    def counts_whole_characters(self) -> bool:
        in_part = self.prefix_token_id is None or self.long_documents == "truncate"
        return in_part and self.scored_bytes is None

    def as_begun(self, earlier: ScoringRules) -> Self:
        later = ("scored_bytes", "quantization")
        missing = [name for name in later if getattr(earlier, name, self) is None]
        return self.model_copy(update=dict.fromkeys(missing))

    def in_words(self) -> list[tuple[str, str]]:
        return [
            ("dtype", self.dtype),
            *([("quantization", self.quantization)] if self.quantization else []),
            ("prefix", f"{self.prefix} (token {self.prefix_token_id})"),
            ("windows", f"{self.window_tokens} tokens, {self.context_tokens} of context"),
            ("long documents", self.long_documents),
        ]
