"""Models by their config.json alone, 0.1 to 70 billion parameters, as their makers publish them.

Vocabularies of 32 to 262 thousand entries, tied and not, with sliding windows and soft caps.
"""

import json
from pathlib import Path
from typing import Any


def _llama_like(kind: str, architecture: str, *sizes: int, tied: bool, **more: Any) -> Any:
    vocab, hidden, layers, heads, kv_heads, inner, positions = sizes
    return {
        "architectures": [architecture],
        "model_type": kind,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
        "dtype": "bfloat16",
        **more,
    }


GEMMA_2 = {
    "head_dim": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "query_pre_attn_scalar": 256,
    "hidden_activation": "gelu_pytorch_tanh",
}
LLAMA, QWEN = ("llama", "LlamaForCausalLM"), ("qwen2", "Qwen2ForCausalLM")
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": 50257,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
        "dtype": "bfloat16",
    },
    "SmolLM2-135M": _llama_like(*LLAMA, 49152, 576, 30, 9, 3, 1536, 8192, tied=True),
    "Qwen2.5-0.5B": _llama_like(*QWEN, 151936, 896, 24, 14, 2, 4864, 32768, tied=True),
    "gemma-2-2b": _llama_like(
        *("gemma2", "Gemma2ForCausalLM"),
        *(256000, 2304, 26, 8, 4, 9216, 8192),
        tied=True,
        **GEMMA_2,
    ),
    "gemma-3-1b": _llama_like(
        *("gemma3_text", "Gemma3ForCausalLM"),
        *(262144, 1152, 26, 4, 1, 6912, 32768),
        tied=True,
        head_dim=256,
        sliding_window=512,
        sliding_window_pattern=6,
        query_pre_attn_scalar=256,
    ),
    "Mistral-7B-v0.1": _llama_like(
        *("mistral", "MistralForCausalLM"),
        *(32000, 4096, 32, 32, 8, 14336, 32768),
        tied=False,
        sliding_window=4096,
    ),
    "Llama-3.1-8B": _llama_like(*LLAMA, 128256, 4096, 32, 32, 8, 14336, 131072, tied=False),
    "Qwen3-14B": _llama_like(
        *("qwen3", "Qwen3ForCausalLM"),
        *(151936, 5120, 40, 40, 8, 17408, 40960),
        tied=False,
        head_dim=128,
    ),
    "Qwen2.5-32B": _llama_like(*QWEN, 152064, 5120, 64, 40, 8, 27648, 131072, tied=False),
    "Llama-3.1-70B": _llama_like(*LLAMA, 128256, 8192, 80, 64, 8, 28672, 131072, tied=False),
}


def save_config(folder: Path, name: str) -> Path:
    """A folder with nothing but the model's config.json."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps(CONFIGS[name], indent=1))
    return target
