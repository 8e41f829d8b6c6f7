"""What fits on which GPU: counted against transformers' own models, and refused with a way out."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.engine.devices import DEVICES
from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm import pooler, sizing
from pipeline.engine.vllm.fitting import BYTES_PER_LOGIT, PIECE_BYTES, require_fit
from pipeline.engine.vllm.shape import read_shape, shape_of
from pipeline.engine.vllm.sizing import Machine, engine_arguments
from pipeline.errors import ModelError
from tests.support.gpu_models import CONFIGS, save_config

GIB = 1 << 30
MORE_KINDS = {
    "gpt_neox": {"vocab_size": 50304, "hidden_size": 512, "num_hidden_layers": 6},
    "olmo2": {"vocab_size": 100352, "num_hidden_layers": 4},
    "phi3": {"num_hidden_layers": 4},
    "smollm3": {"num_hidden_layers": 4},
    "granite": {"num_hidden_layers": 4},
    "opt": {"num_hidden_layers": 6},
    "bloom": {"n_layer": 6, "hidden_size": 512, "n_head": 8},
    "qwen3_moe": {"num_hidden_layers": 2},
    "mixtral": {"num_hidden_layers": 1, "num_local_experts": 4},
}


def num_parameters(folder) -> int:
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        return sum(one.numel() for one in AutoModelForCausalLM.from_config(config).parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_counted_as_transformers_makes_them(tmp_path, name):
    folder = save_config(tmp_path, name)
    shape = read_shape(str(folder))
    assert shape is not None
    # Norms and biases are left out.
    assert shape.num_parameters == pytest.approx(num_parameters(folder), rel=2e-3)


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_other_kinds_are_counted_too(tmp_path, kind):
    AutoConfig.for_model(kind, **MORE_KINDS[kind]).save_pretrained(tmp_path)
    shape = read_shape(str(tmp_path))
    assert shape is not None
    assert shape.num_parameters == pytest.approx(num_parameters(tmp_path), rel=1e-2)


@pytest.mark.parametrize(
    "config", [{}, {"hidden_size": 8}, {**CONFIGS["gpt2"], "model_type": "mamba"}]
)
def test_another_kind_of_model_has_no_shape(config):
    assert shape_of(config) is None


def test_the_pooler_makes_the_pieces_that_are_planned_for():
    assert (pooler.GPU_LOGITS_BYTES, pooler.BYTES_PER_LOGIT) == (PIECE_BYTES, BYTES_PER_LOGIT)


def settings(folder, name: str, **changes) -> EngineSettings:
    config = CONFIGS[name]
    wanted = EngineSettings(str(folder), "bfloat16", 2048, config["vocab_size"], scoring="fused")
    return replace(wanted, architecture=config["architectures"][0], **changes)


@pytest.mark.parametrize(
    ("name", "device", "num_gpus", "hint"),
    [
        # 131.4 GiB of weights: half of them fit into 72.8, a quarter into 40.8, none alone.
        ("Llama-3.1-70B", "h100", 1, "use tensor_parallel_size 2, or a larger GPU (b200, 178 GiB)"),
        ("Llama-3.1-70B", "l40s", 2, "use tensor_parallel_size 4, or a larger GPU (a100-80gb,"),
        ("Qwen2.5-32B", "l4", 1, "use tensor_parallel_size 4, or a larger GPU (a100-80gb, 79 GiB)"),
        ("Llama-3.1-70B", "h100", 2, None),
        ("Llama-3.1-8B", "l4", 1, None),
        ("gemma-2-2b", "rtx4090", 1, None),
    ],
)
def test_what_cannot_fit_is_refused_with_what_would(tmp_path, name, device, num_gpus, hint):
    wanted = settings(save_config(tmp_path, name), name, tensor_parallel_size=num_gpus)
    total = int(DEVICES[device].memory_gib * GIB)
    if hint is None:
        require_fit(wanted, total)
        return
    with pytest.raises(ModelError, match=f"does not fit on {device}: weights of") as refused:
        require_fit(wanted, total, DEVICES[device])
    assert str(refused.value.hint).startswith(hint)


def test_no_engine_is_started_with_it(tmp_path, monkeypatch):
    wanted = settings(save_config(tmp_path, "Llama-3.1-70B"), "Llama-3.1-70B")
    monkeypatch.setattr(sizing, "this_machine", lambda: Machine(79 * GIB, 64 * GIB, 16))
    with pytest.raises(ModelError, match=r"does not fit on a GPU of 79 GiB"):
        engine_arguments(wanted)


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, 8),
        ({"quant_method": "gptq", "bits": 4}, 4),
        ({"config_groups": {"all": {"weights": {"num_bits": 8}}}}, 8),
    ],
)
def test_quantized_weights_are_counted_in_their_bits(tmp_path, quantization, bits):
    """131.4 GiB in 16 bits: in 8 too much for 60 GiB, in 4 not."""
    name = "Llama-3.1-70B"
    folder = save_config(tmp_path, name)
    changed = CONFIGS[name] | {"quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(changed))
    wanted = settings(folder, name)
    if bits == 4:
        require_fit(wanted, 60 * GIB)
        return
    with pytest.raises(ModelError, match=r"weights of 65\.7 GiB"):
        require_fit(wanted, 60 * GIB)


def test_eight_are_not_enough(tmp_path):
    name = "Llama-3.1-70B"
    wanted = settings(save_config(tmp_path, name), name, dtype="float32")
    with pytest.raises(ModelError) as refused:
        require_fit(wanted, 22 * GIB)
    assert refused.value.hint == "use dtype bfloat16"


def test_a_model_without_a_shape_is_left_to_the_engine(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    require_fit(EngineSettings(str(tmp_path), "bfloat16", 2048, 50_000), GIB)


@pytest.mark.parametrize(("gib", "step"), [(24, 16384), (20, 8192), (19, 4096), (18, 1024)])
def test_a_step_is_what_the_weights_leave_room_for(tmp_path, gib, step):
    """Of 15 GiB of weights: not the largest step where that would leave no memory for it."""
    wanted = settings(save_config(tmp_path, "Llama-3.1-8B"), "Llama-3.1-8B")
    sizes = sizing.choose_sizes(wanted, Machine(int(gib * GIB), 64 * GIB, 16))
    assert sizes.step_tokens.value == step
