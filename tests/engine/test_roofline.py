"""Floating-point operations against torch's own count, and the peak that they are divided by."""

import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from jobs.run.score import finish_run
from pipeline.engine.protocol import EngineSettings, Work
from pipeline.engine.vllm import roofline
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.roofline import Meter, measure_peak, operations_of, peak_of
from pipeline.runs.manifest import Reuse, Totals
from pipeline.schema import Window
from pipeline.verification.integrity import check_integrity
from tests.support.fakes import FakeEngine
from tests.support.runs import make_run

LENGTH, VOCAB_SIZE = 24, 300
COMMON = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
MODELS = {
    "Llama": ("LlamaConfig", {}),
    "Llama, head tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "Qwen2": ("Qwen2Config", {}),
    "Qwen3, wide heads": ("Qwen3Config", {"head_dim": 32}),
    "Gemma 2": ("Gemma2Config", {"head_dim": 32, "sliding_window": 8}),
    "GPT-NeoX": ("GPTNeoXConfig", {"num_key_value_heads": 4}),
    "OLMo 2": ("Olmo2Config", {}),
    "Qwen3 MoE": (
        "Qwen3MoeConfig",
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
    "GPT-2": (
        "GPT2Config",
        {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": VOCAB_SIZE},
    ),
}


@pytest.fixture(params=MODELS)
def model(request) -> torch.nn.Module:
    name, changes = MODELS[request.param]
    common = {} if name == "GPT2Config" else COMMON
    config = getattr(transformers, name)(**common | changes, attn_implementation="eager")
    # Of its other ways to route, torch counts no product.
    config._experts_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def counted(model: torch.nn.Module, length: int) -> int:
    """By torch, as transformers computes it: attention in full, every token through the head."""
    ids = torch.arange(length)[None] % VOCAB_SIZE
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(ids, use_cache=False)
    return counter.get_total_flops()


def test_operations_are_those_that_torch_counts(model, tmp_path):
    model.config.save_pretrained(tmp_path)
    operations = operations_of(str(tmp_path))
    wanted = operations._replace(spans=())
    full = len(operations.spans) * LENGTH * LENGTH * operations.per_pair
    # Of angles: a product with the positions, once for all layers, which no peak is about.
    angles = counted(model, LENGTH) - full - wanted.of(Window([0] * LENGTH, 0))
    assert 0 <= angles <= 4 * LENGTH * 64
    # Twice the tokens: twice of all but attention.
    once, twice = counted(model, LENGTH), counted(model, 2 * LENGTH)
    assert twice - 2 * once == 2 * full


@pytest.mark.parametrize(
    ("config", "spans"),
    [
        ({}, [None, None, None]),
        ({"sliding_window": 5}, [5, 5, 5]),
        ({"sliding_window": 5, "use_sliding_window": False}, [None, None, None]),
        (
            {
                "sliding_window": 5,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            },
            [5, None, 5],
        ),
        ({"sliding_window": 4096}, [4096, 4096, 4096]),
    ],
)
@pytest.mark.parametrize(("length", "num_context"), [(2, 1), (5, 1), (24, 7)])
def test_attention_is_counted_by_what_each_token_looks_at(
    tmp_path, config, spans, length, num_context
):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral"} | COMMON | config))
    operations = operations_of(str(tmp_path))
    pairs = sum(min(at + 1, span or length) for span, at in itertools.product(spans, range(length)))
    head = 2 * VOCAB_SIZE * 64 * (length - num_context)
    body = 2 * 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96) * length
    assert operations.of(Window([0] * length, num_context)) == body + head + pairs * 4 * 64


def test_a_model_of_another_kind_has_no_count(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(COMMON | {"model_type": "deepseek_v3"}))
    assert operations_of(str(tmp_path)) is None


def test_a_model_that_multiplies_in_8_bits_has_no_share_of_a_peak_in_16(tmp_path, monkeypatch):
    monkeypatch.setattr(roofline, "peak_of", lambda *_: 3e9)
    window = Window([0] * 8, 1)
    for quantization, is_counted in (({"bits": 4}, True), ({"quant_method": "fp8"}, False)):
        config = {"model_type": "llama", "quantization_config": quantization} | COMMON
        (tmp_path / "config.json").write_text(json.dumps(config))
        meter = Meter(settings(folder=str(tmp_path)))
        meter.add(window)
        assert (meter.take(1.0).flops > 0) == is_counted


class Counting(FakeEngine):
    """Counts as the engine does, and says that each shard took two seconds."""

    def __init__(self, model: Path) -> None:
        self.meter = Meter(settings(folder=str(model), dtype="float32"))
        self.windows: list[Window] = []
        self.seconds = 0.0

    def _answer(self, entry):
        self.meter.add(entry[1])
        self.windows.append(entry[1])
        return super()._answer(entry)

    def take_work(self) -> Work:
        self.seconds += 2
        return self.meter.take(self.seconds)


@pytest.fixture
def counting(monkeypatch, tiny_model) -> Counting:
    monkeypatch.setattr(roofline, "peak_of", lambda *_: 3e9)
    return Counting(tiny_model)


def test_a_run_says_what_its_engines_reached(tmp_path, tiny_model, counting):
    texts = ["word " * count for count in range(1, 9)]
    store = make_run(tmp_path, tiny_model, [*texts, texts[0], None], engine=counting)
    manifest, success = store.require_manifest(), store.success()
    operations = operations_of(str(tiny_model))
    needed = sum(operations.of(window) for window in counting.windows)
    assert len(manifest.shards) > 2
    assert success.totals.flops == needed
    assert success.totals.peak_flops == 3e9 * counting.seconds == 6e9 * len(manifest.shards)
    assert success.mfu == pytest.approx(needed / success.totals.peak_flops, abs=1e-4)
    # Each part has its own.
    assert {store.footer(shard.id).totals.peak_flops for shard in manifest.shards} == {6e9}
    assert all(check.passed for check in check_integrity(store, manifest))
    # Parts that are taken over say nothing of this run's engines.
    shards = {shard.id: shard.id for shard in manifest.shards}
    reuse = Reuse(run=store.location, run_id=manifest.run_id, shards=shards)
    other = manifest.model_copy(update={"run_id": "0" * 32, "reuse": reuse})
    assert finish_run(store, other, Totals(), 1.0, 1.0).mfu is None


class Stepping:
    """What an engine needs of vLLM: every prompt is finished by the next step."""

    engine_core = SimpleNamespace(shutdown=lambda: None)

    def __init__(self) -> None:
        self.added = []

    def add_request(self, request_id, prompt, params):
        size = len(prompt) - params.extra_kwargs["num_context"]
        outputs = SimpleNamespace(data=torch.full((size,), -1.0))
        self.added.append(SimpleNamespace(request_id=request_id, outputs=outputs, finished=True))

    def step(self):
        time.sleep(0.01)
        added, self.added = self.added, []
        return added


def test_an_engine_counts_what_it_scores_and_not_its_checks(monkeypatch, tiny_model):
    """vLLM itself is not started: tests/engine/test_engine.py does that."""

    def start(engine, _):
        engine._fused, engine.step_tokens, engine._llm = True, 64, Stepping()
        engine._num_seqs, engine._prompt, engine._pooling = 8, list, SimpleNamespace

    monkeypatch.setattr(VllmEngine, "_start", start)
    monkeypatch.setattr("pipeline.engine.vllm.engine.check_fused", lambda *_: None)
    monkeypatch.setattr(roofline, "peak_of", lambda *_: 1e9)
    monkeypatch.setattr("pipeline.engine.vllm.lifetimes.unfreeze_gc", lambda: None)
    engine = VllmEngine(
        settings(folder=str(tiny_model), dtype="float32", scoring="fused", vocab_size=258)
    )
    assert engine.take_work() == (0, 0)
    windows = [Window([1, 2, 3, 4], 1), Window([5, 6], 1)]
    assert len(list(engine.score(enumerate(windows)))) == 2
    operations = operations_of(str(tiny_model))
    first = engine.take_work()
    assert first.flops == sum(operations.of(window) for window in windows)
    assert first.peak_flops == pytest.approx(1e9 * engine.usage().seconds)
    assert first.peak_flops >= 1e7
    # Since then: nothing, and after another step what that was.
    assert engine.take_work() == (0, 0)
    list(engine.score([(0, windows[1])]))
    second = engine.take_work()
    assert second.flops == operations.of(windows[1])
    assert first.peak_flops + second.peak_flops == pytest.approx(1e9 * engine.usage().seconds)
    engine.close()


def test_an_engine_that_counts_nothing_has_no_utilization(tmp_path, tiny_model):
    store = make_run(tmp_path, tiny_model, ["a", "b"])
    assert store.success().mfu is None


def settings(**changes) -> EngineSettings:
    return EngineSettings(
        **{"folder": "m", "dtype": "bfloat16", "window_tokens": 9, "vocab_size": 9} | changes
    )


@pytest.mark.parametrize(
    ("name", "changes", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", {}, 989.4),
        ("NVIDIA H100 80GB HBM3", {"engines_per_gpu": 2}, 494.7),
        ("NVIDIA H100 80GB HBM3", {"tensor_parallel_size": 4}, 4 * 989.4),
        ("NVIDIA H100 80GB HBM3", {"dtype": "float32"}, None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", {}, None),
    ],
)
def test_the_peak_of_a_gpu_is_its_data_sheets(monkeypatch, name, changes, tflops):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    found = peak_of(settings(**changes), 1)
    assert found == (None if tflops is None else pytest.approx(tflops * 1e12))


def test_the_peak_of_a_cpu_is_the_best_that_was_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    found = iter([5e9, 7e9, 6e9, 1e9, 2e9])
    monkeypatch.setattr(roofline, "measure_peak", lambda _: next(found))
    assert [peak_of(settings(), 2) for _ in range(3)] == [5e9, 7e9, 7e9]
    # Another dtype or number of threads has another.
    assert peak_of(settings(dtype="float32"), 2) == 1e9
    assert peak_of(settings(), 1) == 2e9


@pytest.mark.parametrize("damage", ["", "[1]", '{"a": "b"}', "{"])
def test_a_damaged_record_of_peaks_is_made_anew(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    (tmp_path / roofline.PEAKS).write_text(damage)
    monkeypatch.setattr(roofline, "measure_peak", lambda _: 3e9)
    assert peak_of(settings(), 2) == 3e9
    assert 3e9 in json.loads((tmp_path / roofline.PEAKS).read_text()).values()


def test_a_cache_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(roofline, "measure_peak", lambda _: 3e9)
    assert peak_of(settings(), 2) == 3e9


def test_a_peak_is_the_fastest_product_of_several(monkeypatch):
    monkeypatch.setattr(roofline, "PRODUCT", (8, 16, 32))
    times = iter([0, 2, 10, 10.5])
    assert measure_peak("float32", lambda: next(times)) == 2 * 8 * 16 * 32 / 0.5
    assert next(times, None) is None
