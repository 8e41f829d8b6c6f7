"""The sum over windows is one long forward pass when the context covers all that a model sees.

A model with sliding-window attention sees only so far back: two layers of 16 tokens reach 30 back.
With that much context nothing that matters is cut off, so windows must change nothing.
"""

import math

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from pipeline.engine.windows import plan_windows

LAYERS, SLIDING = 2, 16
REACH = LAYERS * (SLIDING - 1)
PREFIX = 0


@pytest.fixture(scope="module")
def logprobs():
    """Token ids -> ln p of each after the first."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        sliding_window=SLIDING,
        initializer_range=0.4,
    )
    model = MistralForCausalLM._from_config(config, attn_implementation="eager")
    model = model.to(torch.float64).eval()

    def forward(ids: list[int]) -> list[float]:
        with torch.no_grad():
            table = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
        return table[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()

    return forward


def windowed(logprobs, ids: list[int], window_tokens: int, context_tokens: int) -> float:
    windows = plan_windows(
        ids, prefix=PREFIX, window_tokens=window_tokens, context_tokens=context_tokens
    )
    assert len(windows) > 2
    return -math.fsum(
        value for window in windows for value in logprobs(window.prompt)[window.num_context - 1 :]
    )


@pytest.mark.parametrize("num_tokens", [120, 121, 200])
@pytest.mark.parametrize("window_tokens", [REACH + 2, 47, 64])
def test_context_that_covers_the_reach_changes_nothing(logprobs, num_tokens, window_tokens):
    ids = [1 + 7 * i * i % 48 for i in range(num_tokens)]
    whole = -math.fsum(logprobs([PREFIX, *ids]))
    # The token before a scored one is part of what it sees.
    # Rotary angles are float32 whatever the model is: positions that differ move the 7th digit.
    assert windowed(logprobs, ids, window_tokens, REACH + 1) == pytest.approx(whole, rel=1e-6)


def test_context_that_does_not_cover_it_shows(logprobs):
    """Otherwise the test above could not fail."""
    ids = [1 + 7 * i * i % 48 for i in range(200)]
    whole = -math.fsum(logprobs([PREFIX, *ids]))
    assert windowed(logprobs, ids, 47, 1) != pytest.approx(whole, rel=1e-4)
