"""What is counted from config.json alone, held against transformers' own models of every kind.

Parameters against its tensors, products against torch's own count, keys and values and
the reach of attention token by token.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from pipeline.engine.vllm.roofline import operations_of
from pipeline.engine.vllm.shape import WITH_GATE, WITHOUT_GATE, read_shape, shape_of
from pipeline.schema import Window
from tests.support.gpu_models import CONFIGS

LENGTH = 16
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 128,
    "intermediate_size": 160,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
OLD_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "n_embd": 128,
    "n_layer": 8,
    "n_head": 4,
    "n_positions": 64,
    "hidden_size": 128,
}
CHANGES: dict[str, dict[str, Any]] = {
    "falcon": {"multi_query": True, "num_kv_heads": 4, "ffn_hidden_size": 350},
    "gpt_bigcode": {"multi_query": True, "n_inner": 350},
    "gptj": {"n_inner": 350, "rotary_dim": 16},
    "gpt2": {"n_inner": 350},
    "opt": {"ffn_dim": 350, "word_embed_proj_dim": 128},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "phimoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 80},
}
WITHOUT_GROUPS = ("gpt_neox", "opt", "bloom", "persimmon", "phi")
"""Kinds whose keys have as many heads as queries."""


def config_of(kind: str) -> dict[str, Any]:
    """As a maker publishes it: sizes, and nothing that transformers would fill in."""
    old = kind in ("gpt2", "gptj", "gpt_bigcode", "bloom")
    sizes = OLD_SIZES if old else SIZES
    if kind in (*WITHOUT_GROUPS, "falcon"):
        sizes = {key: value for key, value in sizes.items() if key != "num_key_value_heads"}
    unknown = {"opt": ("intermediate_size",), "falcon": ("intermediate_size", "head_dim")}
    sizes = {key: value for key, value in sizes.items() if key not in unknown.get(kind, ())}
    return {"model_type": kind, **sizes, **CHANGES.get(kind, {})}


def made(folder: Path, config: dict[str, Any]) -> PreTrainedConfig:
    (folder / "config.json").write_text(json.dumps(config))
    return AutoConfig.from_pretrained(folder)


def reach(config: PreTrainedConfig) -> list[int | None]:
    """Of each layer, as transformers reads its configuration."""
    span = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return [span if kind == "sliding_attention" else None for kind in kinds]


@pytest.fixture(params=(*WITH_GATE, *WITHOUT_GATE))
def kind(request) -> str:
    return str(request.param)


def test_parameters_and_products_are_those_of_transformers(kind, tmp_path):
    layers = {"n_layer": 2, "num_hidden_layers": 2}
    asked = {key: layers.get(key, value) for key, value in config_of(kind).items()}
    config = made(tmp_path, asked)
    shape = read_shape(str(tmp_path))
    assert shape is not None
    # Of its other ways to route, torch counts no product.
    config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    counted = sum(one.numel() for one in model.parameters())
    assert shape.num_parameters == pytest.approx(counted, rel=0.02)  # norms and biases
    assert shape.tied == bool(config.tie_word_embeddings)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.arange(LENGTH)[None] + 1, use_cache=False)
    operations = operations_of(str(tmp_path))
    assert operations is not None
    # transformers computes every pair of tokens, whether one may look at the other or not.
    pairs = shape.num_layers * LENGTH * LENGTH * operations.per_pair
    wanted = pairs + operations._replace(spans=()).of(Window([0] * LENGTH, 0))
    assert 0 <= counter.get_total_flops() - wanted <= 4 * LENGTH * 128 * shape.num_layers


READ = [(kind, span) for kind in (*WITH_GATE, "starcoder2") for span in (5, None)]
READ.remove(("exaone4", None))  # where transformers itself divides by 0


@pytest.mark.parametrize(("kind", "span"), READ)
def test_each_layer_looks_back_as_transformers_reads_it(kind, span, tmp_path):
    config = made(tmp_path, config_of(kind) | {"sliding_window": span})
    shape = read_shape(str(tmp_path))
    assert shape is not None
    assert list(shape.spans) == reach(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 3},
        {"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 0},
        {"model_type": "qwen3", "use_sliding_window": True},
        {"model_type": "gemma3_text", "sliding_window_pattern": 3},
        {"model_type": "cohere2", "sliding_window_pattern": 2},
        {"model_type": "olmo3", "layer_types": ["full_attention", "sliding_attention"] * 4},
    ],
)
def test_layers_that_a_configuration_names_are_those(changes, tmp_path):
    config = made(tmp_path, SIZES | {"sliding_window": 5} | changes)
    shape = read_shape(str(tmp_path))
    assert shape is not None
    assert list(shape.spans) == reach(config)


@pytest.mark.parametrize("name", ["gpt2", "gemma-2-2b", "gemma-3-1b", "Mistral-7B-v0.1"])
@pytest.mark.parametrize("tokens", [1, 700, 5000])
def test_the_cache_is_counted_layer_by_layer_and_token_by_token(name, tokens, tmp_path):
    config = made(tmp_path, CONFIGS[name])
    shape = shape_of(CONFIGS[name])
    assert shape is not None
    numbers = 0
    for span in reach(config):
        for position in range(tokens):
            if span is None or position >= tokens - span:
                numbers += 2 * shape.kv_heads * shape.head_dim
    assert shape.cache_bytes(tokens, "bfloat16") == 2 * numbers


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "mamba"},
        {"model_type": "qwen2_moe"},  # with a shared expert
        {"model_type": "gemma4_text"},  # with layers of two kinds and a table for each
        {"model_type": ""},
        {"layer_types": ["conv", "full_attention"] * 4},
        {"model_type": "qwen3_moe", "num_experts": 4, "mlp_only_layers": [0]},
        {"model_type": "qwen3_moe", "num_experts": 4, "decoder_sparse_step": 2},
        {"model_type": "opt", "word_embed_proj_dim": 64},
        {"hidden_size": None},
    ],
)
def test_what_is_not_counted_here_has_no_shape(changes):
    assert shape_of({"model_type": "llama"} | SIZES) is not None
    assert shape_of({"model_type": "llama"} | SIZES | changes) is None
