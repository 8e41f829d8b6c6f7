"""Tiny random models of several architectures score the same through vLLM as in transformers.

Each has its own way with positions, norms, heads and biases; a mistake in any of them moves the
scores far beyond the noise of float32.
"""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers

from pipeline.engine.protocol import EngineSettings, ScoringPath
from pipeline.engine.vllm import fused
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows
from pipeline.schema import Window
from tests.support.tiny import save_tokenizer

WINDOW_TOKENS = 96
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
    "tie_word_embeddings": False,
}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.3}
GEMMA = COMMON | {"head_dim": 32, "pad_token_id": 1, "tie_word_embeddings": True}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", COMMON | {"head_dim": 32}),
    "GPT-2": ("GPT2LMHeadModel", GPT2 | {"bos_token_id": 0, "eos_token_id": 1}),
    "Qwen2": ("Qwen2ForCausalLM", COMMON),
    "Qwen3": ("Qwen3ForCausalLM", COMMON | {"head_dim": 32}),
    "Gemma": ("GemmaForCausalLM", GEMMA),
    "Gemma 2": ("Gemma2ForCausalLM", GEMMA | {"sliding_window": 32}),
    "Mistral": ("MistralForCausalLM", COMMON | {"head_dim": 32, "sliding_window": None}),
    "OLMo": ("OlmoForCausalLM", COMMON | {"num_key_value_heads": 2, "pad_token_id": 1}),
    "OLMo 2": ("Olmo2ForCausalLM", COMMON | {"num_key_value_heads": 2, "pad_token_id": 1}),
}
TEXTS = ["x", "The capital of France is Paris.", "Σ😀 " * 9, "one two three four " * 12]


def test_every_fused_architecture_is_scored_here():
    assert {name for name, _ in ARCHITECTURES.values()} >= set(fused.ARCHITECTURES)


@pytest.mark.parametrize(
    ("architecture", "values", "scoring"),
    [
        pytest.param(architecture, values, scoring, id=f"{name}, {scoring}")
        for name, (architecture, values) in ARCHITECTURES.items()
        for scoring in get_args(ScoringPath)
        if scoring == "prompt_logprobs" or architecture in fused.ARCHITECTURES
    ],
)
def test_scores_equal_transformers(
    architecture: str, values: dict[str, Any], scoring: ScoringPath, tmp_path: Path
):
    vocab_size = save_tokenizer(tmp_path)
    kind = getattr(transformers, architecture)
    torch.manual_seed(0)
    config = kind.config_class(vocab_size=vocab_size, **values)
    # Eager attention: the fused one of PyTorch has no soft cap (Gemma 2).
    model = kind._from_config(config, attn_implementation="eager").to(torch.float32).eval()
    model.save_pretrained(tmp_path)
    tokenizer = HubTokenizer(str(tmp_path))
    prefix = tokenizer.prefix("auto").token_id
    windows = [
        window
        for encoded in tokenizer.encode(TEXTS)
        for window in plan_windows(
            encoded.ids, prefix=prefix, window_tokens=WINDOW_TOKENS, context_tokens=1
        )
    ]
    assert len(windows) > len(TEXTS)

    # Before the engine: where vLLM has no implementation of its own it runs that of transformers,
    # and alters its classes in this process.
    expected = [reference(model, window) for window in windows]
    settings = EngineSettings(
        str(tmp_path),
        "float32",
        WINDOW_TOKENS,
        vocab_size,
        scoring=scoring,
        architecture=architecture,
    )
    engine = VllmEngine(settings)
    try:
        scores = {score.key: score.logprobs for score in engine.score(enumerate(windows))}
    finally:
        engine.close()

    for key, logprobs in enumerate(expected):
        np.testing.assert_allclose(scores[key], logprobs, rtol=1e-3, atol=1e-3)
        assert scores[key].sum() == pytest.approx(logprobs.sum(), rel=1e-4)


def reference(model: Any, window: Window) -> np.ndarray:
    ids = torch.tensor([window.prompt])
    with torch.no_grad():
        table = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
    return table[:-1].gather(1, ids[0, 1:, None])[window.num_context - 1 :, 0].numpy()
