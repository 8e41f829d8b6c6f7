"""Sizes follow from model and machine, and an engine is started with those that are shown."""

from dataclasses import replace

import pytest

from pipeline.engine.vllm import sizing
from pipeline.engine.vllm.sizing import (
    EngineSettings,
    Machine,
    choose_sizes,
    engine_arguments,
    prepare_process,
)
from pipeline.errors import ModelError

GIB = 1 << 30
CPU = Machine(None, 16 * GIB, 6)
H100 = Machine(80 * GIB, 100 * GIB, 16)


def settings(tiny_model, **changes) -> EngineSettings:
    wanted = {"dtype": "float32", "window_tokens": 100, "vocab_size": 128_256, **changes}
    return EngineSettings(folder=str(tiny_model), **wanted)


@pytest.mark.parametrize(
    ("machine", "wanted", "tokens"),
    [
        (CPU, {"scoring": "fused"}, 4096),
        (H100, {"scoring": "fused"}, 16384),
        # 1 GiB of 8-byte logits for 128,256 entries: 1046 tokens, cut to a multiple of 256.
        (CPU, {}, 1024),
        (H100, {}, 4096),
        (Machine(None, 2 * GIB, 2), {}, 256),
        (Machine(None, 2 * GIB, 2), {"vocab_size": 1000}, 4096),
        (CPU, {"max_num_batched_tokens": 100}, 100),
    ],
)
def test_the_step_is_what_fits(tiny_model, machine, wanted, tokens):
    sizes = choose_sizes(settings(tiny_model, **wanted), machine)
    assert sizes.step_tokens.value == tokens
    most = 512 if machine is H100 and wanted.get("scoring") == "fused" else 256
    assert sizes.num_seqs.value == min(most, tokens)
    assert sizes.step_tokens.setting == "max_num_batched_tokens"


def test_the_public_path_leaves_room_for_its_logits(tiny_model):
    fused = choose_sizes(settings(tiny_model, scoring="fused"), H100).memory
    public = choose_sizes(settings(tiny_model), H100).memory
    assert fused.value == 0.92
    assert public.value == pytest.approx(0.92 - 4096 * 8 * 128_256 / (80 * GIB))


@pytest.mark.parametrize("scoring", ["fused", "prompt_logprobs"])
@pytest.mark.parametrize("asked", [None, 512])
def test_an_engine_is_started_with_what_is_shown(tiny_model, monkeypatch, scoring, asked):
    wanted = settings(
        tiny_model, scoring=scoring, max_num_batched_tokens=asked, architecture="LlamaForCausalLM"
    )
    for machine in (CPU, H100):
        monkeypatch.setattr(sizing, "this_machine", lambda machine=machine: machine)
        sizes, arguments = choose_sizes(wanted, machine), engine_arguments(wanted)
        assert arguments["max_num_batched_tokens"] == sizes.step_tokens.value
        assert arguments["max_num_seqs"] == sizes.num_seqs.value
        memory = "kv_cache_memory_bytes" if machine is CPU else "gpu_memory_utilization"
        assert arguments[memory] == sizes.memory.value


def test_engines_that_share_a_gpu_divide_its_memory(tiny_model, monkeypatch):
    """And size their cache themselves: vLLM would measure while the others start."""
    monkeypatch.setattr(sizing, "this_machine", lambda: H100)
    for scoring, alone in (("fused", 0.92), ("prompt_logprobs", None)):
        wanted = settings(
            tiny_model, scoring=scoring, engines_per_gpu=2, architecture="LlamaForCausalLM"
        )
        arguments = engine_arguments(wanted)
        tokens = arguments["max_num_batched_tokens"]
        # 2 layers, keys and values of 1 head of 32 float32 numbers.
        assert arguments["kv_cache_memory_bytes"] == max(64 << 20, (100 + 4 * tokens) * 512)
        logits = 0 if alone else tokens * 8 * 128_256
        assert 2 * arguments["gpu_memory_utilization"] == pytest.approx(
            0.92 - 2 * logits / (80 * GIB)
        )
        assert "kv_cache_memory_bytes" not in engine_arguments(replace(wanted, engines_per_gpu=1))


def test_engines_that_do_not_fit_on_one_gpu_are_refused(tiny_model, monkeypatch):
    monkeypatch.setattr(sizing, "this_machine", lambda: Machine(4 * GIB, 16 * GIB, 4))
    monkeypatch.setattr("pipeline.engine.vllm.fitting.model_bytes", lambda *_: int(1.5 * GIB))
    engine_arguments(settings(tiny_model, engines_per_gpu=2, vocab_size=1000))
    with pytest.raises(ModelError, match="a GPU that 3 engines share, each with 1") as raised:
        engine_arguments(settings(tiny_model, engines_per_gpu=3, vocab_size=1000))
    assert raised.value.hint == "use fewer engines_per_gpu"


@pytest.mark.parametrize(
    ("plugins", "loaded"),
    [(None, True), ("winnow", True), ("theirs,winnow", True), ("theirs", False), ("", False)],
)
def test_our_kernels_are_asked_for_where_vllm_loads_them(tiny_model, monkeypatch, plugins, loaded):
    """Or an engine of the public path, which needs no plugin, would not start."""
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    if plugins is not None:
        monkeypatch.setenv("VLLM_PLUGINS", plugins)
    monkeypatch.setattr(sizing, "this_machine", lambda: CPU)
    assert ("ir_op_priority" in engine_arguments(settings(tiny_model))) == loaded


def test_threads_are_those_asked_for_or_all(tiny_model):
    assert choose_sizes(settings(tiny_model), CPU).num_threads.value == 6
    assert choose_sizes(settings(tiny_model, num_threads=2), CPU).num_threads.value == 2


def test_nothing_is_compiled_on_a_cpu_even_where_dynamo_was_imported_before(monkeypatch):
    """As in a Ray worker: the compiler's own run would be in the first step of every engine."""
    import torch._dynamo.config

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch._dynamo.config, "disable", False)
    for name in ("TORCH_CPP_LOG_LEVEL", "VLLM_LOGGING_LEVEL", "TORCH_COMPILE_DISABLE"):
        monkeypatch.setenv(name, "")  # put back what prepare_process sets
        monkeypatch.delenv(name)
    prepare_process()
    assert torch._dynamo.config.disable
