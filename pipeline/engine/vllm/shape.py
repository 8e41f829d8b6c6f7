"""The shape of a decoder, from its config.json alone: parameters, and memory per token.

Owns what can be said of a model before a byte of its weights is there. Counts what decoders of one
kind have (attention, a dense or routed MLP, norms, an embedding and a head), for the model types
that a test holds against transformers' own models. Any other has no shape: an MLP without a gate,
a shared expert or a convolution would be counted wrongly without a word.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.vllm.model import ELEMENT_BYTES

WITH_GATE = (
    *("cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4"),
    *("gpt_oss", "granite", "granitemoe", "helium", "llama", "ministral", "mistral", "mixtral"),
    *("olmo", "olmo2", "olmo3", "olmoe", "phi3", "phimoe", "qwen2", "qwen3", "qwen3_moe"),
    *("seed_oss", "smollm3", "stablelm"),
)
"""Model types whose MLP has three matrices."""
WITHOUT_GATE = (
    *("apertus", "arcee", "bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "nemotron"),
    *("opt", "persimmon", "phi", "starcoder2"),
)
"""Those whose MLP has two."""
TIED = (
    *("bloom", "cohere", "cohere2", "ernie4_5", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2"),
    *("gpt_bigcode", "opt", "smollm3", "starcoder2"),
)
"""Those whose head is the embedding unless their configuration says otherwise."""
FULL_ATTENTION_EVERY = {
    "gemma2": 2,
    "gpt_oss": 2,
    "cohere2": 4,
    "exaone4": 4,
    "olmo3": 4,
    "gemma3_text": 6,
}
"""Of layers with a sliding window, which one is without, unless the configuration says so."""
SPANS_ASKED_FOR = ("qwen2", "qwen3", "qwen3_moe", "smollm3")
"""Those that name a sliding window and use it only where their configuration says so."""
ATTENTION = ("full_attention", "sliding_attention")


class Shape(NamedTuple):
    """Sizes of a decoder."""

    num_layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Of one expert, where there are several."""
    experts: int
    """1 where the MLP is dense."""
    active_experts: int
    matrices: int
    """Of an MLP: 3 with a gate, 2 without."""
    vocab_size: int
    tied: bool
    positions: int
    """Rows of a learned table of positions."""
    spans: tuple[int | None, ...]
    """How far back each layer looks, itself included; None where it looks at all before it."""

    @property
    def layer_parameters(self) -> int:
        """Of one layer, all experts: what is multiplied, and no norms or biases."""
        return self._attention + self.experts * self._mlp + self._router

    @property
    def active_layer_parameters(self) -> int:
        """Of one layer, those that one token is multiplied by."""
        return self._attention + self.active_experts * self._mlp + self._router

    @property
    def head_parameters(self) -> int:
        """Of the head, or the embedding that serves as one."""
        return self.vocab_size * self.hidden

    @property
    def num_parameters(self) -> int:
        """All that take memory."""
        tables = self.head_parameters * (1 if self.tied else 2) + self.positions * self.hidden
        return self.num_layers * self.layer_parameters + tables

    def cache_bytes(self, num_tokens: int, dtype: str) -> int:
        """Keys and values of a prompt, at least: a layer keeps what it may still look at."""
        kept = sum(min(num_tokens, span or num_tokens) for span in self.spans)
        return 2 * kept * self.kv_heads * self.head_dim * ELEMENT_BYTES[dtype]

    @property
    def _attention(self) -> int:
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def _mlp(self) -> int:
        return self.matrices * self.hidden * self.intermediate

    @property
    def _router(self) -> int:
        return self.hidden * self.experts if self.experts > 1 else 0


def read_shape(folder: str) -> Shape | None:
    """The shape of the model in a folder."""
    return shape_of(json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")))


def shape_of(config: dict[str, Any]) -> Shape | None:
    """What a config.json says; None where it is not a decoder of the kind that is counted here."""
    text = config.get("text_config") or config
    kind = str(text.get("model_type", ""))
    if kind not in WITH_GATE + WITHOUT_GATE:
        return None

    def size(*keys: str) -> int | None:
        found = (text[key] for key in keys if isinstance(text.get(key), int))
        return next(found, None)

    layers, hidden = size("num_hidden_layers", "n_layer"), size("hidden_size", "n_embd")
    heads, vocab_size = size("num_attention_heads", "n_head"), size("vocab_size")
    if not (layers and hidden and heads and vocab_size):
        return None
    spans = _spans(text, kind, layers)
    some_are_dense = text.get("mlp_only_layers") or (size("decoder_sparse_step") or 1) > 1
    if spans is None or some_are_dense or size("word_embed_proj_dim") not in (None, hidden):
        return None
    experts = size("num_experts", "num_local_experts") or 1
    inner = size("moe_intermediate_size") if experts > 1 else None
    inner = inner or size("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return Shape(
        num_layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads_of(text.get, heads),
        head_dim=size("head_dim") or hidden // heads,
        intermediate=inner or 4 * hidden,
        experts=experts,
        active_experts=size("num_experts_per_tok") or 1 if experts > 1 else 1,
        matrices=2 if kind in WITHOUT_GATE else 3,
        vocab_size=vocab_size,
        tied=kind in TIED if tied is None else bool(tied),
        positions=(size("n_positions", "max_position_embeddings") or 0)
        if kind in ("gpt2", "opt", "gpt_bigcode")
        else 0,
        spans=spans,
    )


def kv_heads_of(said: Callable[[str], Any], heads: int) -> int:
    """Heads of keys and values, by what a configuration has said under a name."""
    # Falcon's first generation names a number of them and has one.
    if said("multi_query") and not said("new_decoder_architecture"):
        return 1
    return int(said("num_key_value_heads") or said("num_kv_heads") or heads)


def _spans(text: dict[str, Any], kind: str, layers: int) -> tuple[int | None, ...] | None:
    """None where a layer is of a kind that is not counted here."""
    span, kinds = text.get("sliding_window"), text.get("layer_types")
    if kinds and not set(kinds) <= set(ATTENTION):
        return None
    if not isinstance(span, int) or not text.get("use_sliding_window", kind not in SPANS_ASKED_FOR):
        return (None,) * layers
    if not kinds:
        asked = text.get("sliding_window_pattern")
        every = asked if isinstance(asked, int) else FULL_ATTENTION_EVERY.get(kind, layers + 1)
        first = text.get("max_window_layers", 28) if kind in SPANS_ASKED_FOR else 0
        is_full = [number <= first or number % every == 0 for number in range(1, layers + 1)]
        kinds = [ATTENTION[not full] for full in is_full]
    return tuple(span if one == "sliding_attention" else None for one in kinds)
