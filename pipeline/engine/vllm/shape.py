"""The shape of a decoder, from its config.json alone: parameters, and memory per token.

Owns what can be said of a model before a byte of its weights is there. Counts what decoders of one
kind have (attention, a dense or routed MLP, norms, an embedding and a head); a configuration that
lacks a size of these, or names layers of another kind, has no shape, and nothing is claimed of it.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.vllm.model import ELEMENT_BYTES

WITHOUT_GATE = ("gpt2", "gpt_neox", "opt", "bloom", "falcon", "phi", "starcoder2", "gpt_bigcode")
"""Kinds of models whose MLP has two matrices; others have a third, the gate."""
TIED = ("gpt2", "gemma", "bloom", "falcon", "opt", "starcoder2", "smollm3")
"""Kinds whose head is the embedding unless their configuration says otherwise."""
OTHER_LAYERS = ("ssm_cfg", "state_size", "linear_num_key_heads", "kv_lora_rank", "mamba_d_state")
"""Keys of layers that are not attention with keys and values per head."""


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

    def cache_bytes_per_token(self, dtype: str) -> int:
        """Keys and values of a token in all layers."""
        each = self.kv_heads * self.head_dim * ELEMENT_BYTES[dtype]
        return 2 * self.num_layers * each

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
    if any(text.get(key) for key in OTHER_LAYERS):
        return None

    def size(*keys: str) -> int | None:
        found = (text[key] for key in keys if isinstance(text.get(key), int))
        return next(found, None)

    layers, hidden = size("num_hidden_layers", "n_layer"), size("hidden_size", "n_embd")
    heads, vocab_size = size("num_attention_heads", "n_head"), size("vocab_size")
    if not (layers and hidden and heads and vocab_size):
        return None
    experts = size("num_experts", "num_local_experts", "n_routed_experts") or 1
    inner = size("moe_intermediate_size") if experts > 1 else None
    inner = inner or size("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    kind = str(text.get("model_type", ""))
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return Shape(
        num_layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=size("num_key_value_heads") or heads,
        head_dim=size("head_dim") or hidden // heads,
        intermediate=inner,
        experts=experts,
        active_experts=size("num_experts_per_tok") or 1 if experts > 1 else 1,
        matrices=2 if kind in WITHOUT_GATE else 3,
        vocab_size=vocab_size,
        tied=kind.startswith(TIED) if tied is None else bool(tied),
        positions=(size("n_positions", "max_position_embeddings") or 0)
        if kind in ("gpt2", "opt", "gpt_bigcode")
        else 0,
    )
