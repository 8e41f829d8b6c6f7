"""Tiny configurations of many architectures, each with what makes its scores its own.

Windows of attention shorter than the documents, heads with a bias, a scale or a soft cap, layers of
several kinds, experts: a mistake in any of them moves the scores far beyond the noise of float32.
"""

from typing import Any, NamedTuple

COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "tie_word_embeddings": False,
}
WIDE = COMMON | {"head_dim": 32}
TIED = WIDE | {"tie_word_embeddings": True}
GEMMA = TIED | {"sliding_window": 32}
OLD = {"initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 1}
GPT2 = OLD | {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128}
OPT = {
    "hidden_size": 64,
    "ffn_dim": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "init_std": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
FALCON = OLD | {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
}
LAYERS_IN_TURN = ["sliding_attention", "sliding_attention", "full_attention"]
GEMMA_4 = {
    "num_hidden_layers": 3,
    "layer_types": LAYERS_IN_TURN,
    "global_head_dim": 32,
    "vocab_size_per_layer_input": 258,
    "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 0,
}


class Tiny(NamedTuple):
    """A model to be made."""

    architecture: str
    config: dict[str, Any]
    always: bool = True
    """Scored by every run of the tests; the others by `make test-architectures`."""
    tolerance: float = 1e-3
    """Largest difference of a token's ln p.

    Bloom's is wider: vLLM computes its GELU exactly, transformers by the formula with tanh that the
    model was trained with. With that formula exchanged in transformers the two agree.
    """


TINY: dict[str, Tiny] = {
    "Llama": Tiny("LlamaForCausalLM", WIDE),
    "GPT-2": Tiny("GPT2LMHeadModel", GPT2),
    "Qwen2": Tiny("Qwen2ForCausalLM", COMMON),
    "Qwen3": Tiny("Qwen3ForCausalLM", WIDE),
    "Gemma": Tiny("GemmaForCausalLM", TIED),
    "Gemma 2": Tiny("Gemma2ForCausalLM", GEMMA),
    "Mistral": Tiny("MistralForCausalLM", WIDE | {"sliding_window": None}),
    "OLMo": Tiny("OlmoForCausalLM", COMMON | {"num_key_value_heads": 2}),
    "OLMo 2": Tiny("Olmo2ForCausalLM", COMMON | {"num_key_value_heads": 2}),
    "Pythia": Tiny(
        "GPTNeoXForCausalLM", {k: v for k, v in COMMON.items() if k != "num_key_value_heads"}
    ),
    "Granite": Tiny(
        "GraniteForCausalLM",
        COMMON
        | {"logits_scaling": 8.0, "residual_multiplier": 0.5, "embedding_multiplier": 2.0}
        | {"attention_multiplier": 0.2},
    ),
    "Phi": Tiny("PhiForCausalLM", COMMON, False),
    "Qwen3 MoE": Tiny(
        "Qwen3MoeForCausalLM",
        WIDE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        False,
    ),
    "OLMo 3": Tiny(
        "Olmo3ForCausalLM",
        COMMON | {"num_key_value_heads": 2, "num_hidden_layers": 4, "sliding_window": 32},
        False,
    ),
    "SmolLM3": Tiny("SmolLM3ForCausalLM", COMMON | {"num_hidden_layers": 4}, False),
    "Gemma 3": Tiny(
        "Gemma3ForCausalLM",
        GEMMA | {"num_hidden_layers": 3, "layer_types": LAYERS_IN_TURN},
        False,
    ),
    "Gemma 3 with a cap": Tiny(
        "Gemma3ForCausalLM", GEMMA | {"final_logit_softcapping": 5.0}, False
    ),
    "Gemma 4": Tiny("Gemma4ForCausalLM", GEMMA | GEMMA_4, False),
    "GPT-OSS": Tiny(
        "GptOssForCausalLM",
        WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 32},
        False,
    ),
    "Falcon": Tiny(
        "FalconForCausalLM", FALCON | {"multi_query": True, "parallel_attn": True}, False
    ),
    "Phi 3": Tiny("Phi3ForCausalLM", COMMON, False),
    "OPT": Tiny("OPTForCausalLM", OPT | {"word_embed_proj_dim": 64}, False),
    "OPT 350M": Tiny(
        "OPTForCausalLM",
        OPT | {"word_embed_proj_dim": 32, "do_layer_norm_before": False},
        False,
    ),
    "StableLM": Tiny("StableLmForCausalLM", COMMON | {"num_key_value_heads": 2}, False),
    "Bloom": Tiny(
        "BloomForCausalLM",
        OLD | {"hidden_size": 64, "n_layer": 2, "n_head": 2},
        False,
        tolerance=5e-3,
    ),
    "GPT-J": Tiny("GPTJForCausalLM", GPT2 | {"rotary_dim": 16}, False),
}
