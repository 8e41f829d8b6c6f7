"""Quantized checkpoints: recognised, scored as what their weights stand for, and recorded."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError, model_validator
from transformers import AutoModelForCausalLM

from pipeline.engine.protocol import EngineSettings, ScoringPath
from pipeline.engine.rules import ModelRecord
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.model import load_model, weight_bytes
from pipeline.engine.vllm.quantization import multiplies_quantized, quantization_of, weight_bits
from pipeline.engine.vllm.reference import ReferenceScorer
from pipeline.engine.vllm.rules import CausalRules
from pipeline.engine.vllm.startup_check import HINT, cannot_start
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.errors import ModelError
from pipeline.schema import Window
from tests.support.quantized import FORMATS, save_quantized

WINDOW_TOKENS = 96
IN_WORDS = {
    "W8A8": "compressed-tensors W8A8 int",
    "FP8": "compressed-tensors W8A8 float",
    "GPTQ": "gptq W4",
    "AWQ": "awq W4",
}
HERE = ("W8A8", *(pytest.param(form, marks=pytest.mark.architectures) for form in ("GPTQ", "AWQ")))
"""Those that vLLM has kernels for on any CPU."""


GROUP = {"weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8}}
"""Of a checkpoint in 8-bit floating point by compressed-tensors."""


@pytest.mark.parametrize(
    ("config", "name", "bits", "multiplies"),
    [
        ({}, None, None, False),
        ({"quantization_config": None}, None, None, False),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4", 4, False),
        ({"quantization_config": {"quant_method": "awq", "w_bit": 4}}, "awq W4", 4, False),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, "gptq W8", 8, False),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "fp8", 8, True),
        ({"text_config": "?", "quantization_config": {}}, "unknown", 4, False),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            *("bitsandbytes", 8, False),
        ),
        (
            {"compression_config": {"config_groups": {"a": {"weights": {"num_bits": 4}}, "b": 1}}},
            *("compressed-tensors W4A16 int", 4, False),
        ),
        (
            {"quantization_config": {"config_groups": {"a": GROUP}}},
            *("compressed-tensors W8A8 float", 8, True),
        ),
        (
            {"quantization_config": {"config_groups": {"a": {}}}},
            *("compressed-tensors no weights", 4, False),
        ),
    ],
)
def test_a_quantization_has_a_name_and_bits(config, name, bits, multiplies):
    assert quantization_of(config) == name
    assert weight_bits(config) == bits
    assert multiplies_quantized(config) == multiplies


@pytest.mark.parametrize("form", FORMATS)
def test_a_checkpoint_is_recognised(form: str, tmp_path: Path):
    folder = tmp_path / "model"
    plain = save_quantized(folder, form)
    load = {"revision": None, "trust_remote_code": False}
    assert load_model(str(folder), **load).quantization == IN_WORDS[form]
    assert load_model(str(plain), **load).quantization is None
    # What is quantized stays so in memory: a half or a quarter of 16 bits, and scales.
    size, whole = (weight_bytes(str(one), "bfloat16") for one in (folder, plain))
    assert (0.3 if "W4" in IN_WORDS[form] else 0.5) * whole < size < 0.8 * whole


@pytest.mark.parametrize("scoring", get_args(ScoringPath))
@pytest.mark.parametrize("form", HERE)
def test_scores_are_those_of_the_weights(form: str, scoring: ScoringPath, tmp_path: Path):
    folder = tmp_path / "model"
    plain = save_quantized(folder, form)
    windows = [Window(list(range(2, 2 + n)), 1) for n in (5, 90)]
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
    if form == "W8A8":
        _round_activations(model)
    expected = [_reference(model, window) for window in windows]

    dtype = FORMATS[form][2]
    settings = EngineSettings(
        str(folder),
        dtype,
        WINDOW_TOKENS,
        model.config.vocab_size,
        scoring=scoring,
        architecture="LlamaForCausalLM",
        max_num_batched_tokens=32,
    )
    engine = VllmEngine(settings)
    try:
        scores = {score.key: score.logprobs for score in engine.score(enumerate(windows))}
    finally:
        engine.close()
    for key, logprobs in enumerate(expected):
        assert scores[key].sum() == pytest.approx(logprobs.sum(), rel=0.02)


RULES = CausalRules(
    dtype="bfloat16",
    prefix="bos",
    prefix_token_id=0,
    window_tokens=WINDOW_TOKENS,
    context_tokens=1,
    long_documents="window",
    min_k_percent=20,
)


def record(folder: Path) -> ModelRecord:
    return ModelRecord(
        name="tiny",
        folder=str(folder),
        revision=None,
        architecture="LlamaForCausalLM",
        vocab_size=258,
        trust_remote_code=False,
    )


def test_the_reference_is_of_the_same_quantized_weights(tmp_path: Path):
    text = "The capital of France is Paris."
    folder = tmp_path / "model"
    plain = save_quantized(folder, "W8A8")
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
    ids = HubTokenizer(str(folder)).encode([text])[0].ids

    scorer = ReferenceScorer(record(folder), RULES)
    nll, num_tokens = scorer.nll(text)
    weights = model.state_dict()
    for name, values in scorer._model.state_dict().items():
        if name.endswith("_proj.weight"):
            torch.testing.assert_close(values, weights[name], rtol=0, atol=0)
    # The activations too are of eight bits, in steps of 1/127.5 of the largest where vLLM has
    # 1/127: as far apart as rounding is.
    _round_activations(model)
    expected = -_reference(model, Window([0, *ids], 1)).sum()
    assert num_tokens == len(ids)
    assert nll == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("form", "needed"), [("GPTQ", "optimum"), ("AWQ", "gptqmodel")])
def test_a_reference_that_cannot_be_loaded_says_so(form: str, needed: str, tmp_path: Path):
    save_quantized(tmp_path / "model", form)
    with pytest.raises(ModelError, match=f"to rescore: .* requires {needed}") as refused:
        ReferenceScorer(record(tmp_path / "model"), RULES)
    assert str(refused.value.hint).startswith("check integrity alone")


def test_a_refusal_says_what_vllm_says(tmp_path: Path):
    class Config(BaseModel):
        dtype: int

        @model_validator(mode="after")
        def _refuse(self) -> None:
            raise ValueError("torch.float32 is not supported for quantization method awq.")

    save_quantized(tmp_path / "model", "AWQ")
    settings = EngineSettings(str(tmp_path / "model"), "float32", WINDOW_TOKENS, 258)
    with pytest.raises(ValidationError) as raised:
        Config(dtype=1)
    found = cannot_start(settings, raised.value)
    assert str(found) == (
        f"vLLM cannot score with {settings.folder}, quantized as awq W4: torch.float32 is not "
        "supported for quantization method awq."
    )
    assert "before it was quantized" in str(found.hint)
    plain = replace(settings, folder=f"{settings.folder}-plain")
    found = cannot_start(plain, RuntimeError("no kernel\nat all"))
    assert str(found) == f"vLLM cannot score with {plain.folder}: no kernel"
    assert found.hint == HINT


def test_rules_name_it_and_go_on_as_a_run_was_begun():
    quantized = RULES.model_copy(update={"quantization": "awq W4"})
    assert ("quantization", "awq W4") in quantized.in_words()
    assert quantized.model_dump()["quantization"] == "awq W4"
    assert "quantization" not in RULES.model_dump()
    # A run that was begun before they named it is the same run.
    assert quantized.as_begun(RULES) == RULES
    assert quantized.as_begun(quantized) == quantized


def _round_activations(model: torch.nn.Module) -> None:
    for name, module in model.named_modules():
        if name.endswith("_proj"):
            module.register_forward_pre_hook(_eight_bits)


def _eight_bits(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """Activations in eight bits, a scale for each token."""
    scale = inputs[0].abs().amax(-1, keepdim=True) / 127
    return ((inputs[0] / scale).round().clamp(-128, 127) * scale,)


def _reference(model: Any, window: Window) -> np.ndarray:
    ids = torch.tensor([window.prompt])
    with torch.no_grad():
        table = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
    return table[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
