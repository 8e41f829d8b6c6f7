"""What was the fastest is remembered for one model on one device, and for nothing else."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm import measured, sizing
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.measured import remembered_step, steps_to_try
from pipeline.engine.vllm.sharing import choose_engines_per_gpu
from pipeline.engine.vllm.sizing import Machine, choose_sizes

HERE = Machine(None, 16 << 30, 4, "a CPU")


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSettings:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sizing, "this_machine", lambda: HERE)
    monkeypatch.setattr(measured, "device_name", lambda: HERE.device)
    return EngineSettings(str(tiny_model), "float32", 100, 258, scoring="fused")


def step(settings: EngineSettings, machine: Machine = HERE) -> float:
    return choose_sizes(settings, machine).step_tokens.value


def test_the_default_is_tried_first_and_smaller_ones_after_it(settings):
    steps = [one.max_num_batched_tokens for one in VllmBackend().variants(settings)]
    assert steps == [4096, 2048, 1024]
    asked = replace(settings, max_num_batched_tokens=300)
    assert VllmBackend().variants(asked) == [asked]


@pytest.mark.parametrize(
    ("default", "steps"), [(16384, [16384, 8192, 4096]), (512, [512, 256]), (200, [200])]
)
def test_no_step_is_tried_twice_or_is_too_small(settings, default, steps):
    found = steps_to_try(settings, default, 256)
    assert [one.max_num_batched_tokens for one in found] == steps


def test_the_preferred_step_is_taken_by_engines_like_it(settings, tiny_model):
    assert step(settings) == 4096
    VllmBackend().prefer(replace(settings, max_num_batched_tokens=1024), 1)
    assert step(settings) == 1024
    assert "measured on this machine" in choose_sizes(settings, HERE).step_tokens.reason
    # By a run too, which always says how many threads.
    assert step(replace(settings, num_threads=len(os.sched_getaffinity(0)))) == 1024
    # Asked for, or of another engine, or of another machine, or of a machine that is pretended.
    assert step(replace(settings, max_num_batched_tokens=2048)) == 2048
    assert step(replace(settings, dtype="bfloat16")) == 4096
    assert step(replace(settings, num_threads=1)) == 4096
    assert step(settings, HERE._replace(device="another CPU")) == 4096
    assert step(settings, HERE._replace(device="")) == 4096
    # What is measured next is measured from the default on.
    assert VllmBackend().variants(settings)[0].max_num_batched_tokens == 4096


H200 = Machine(139 << 30, 100 << 30, 16, "a GPU")


def test_two_engines_per_gpu_are_tried_where_a_small_model_may_leave_room(settings, monkeypatch):
    monkeypatch.setattr(sizing, "this_machine", lambda: H200)
    *alone, shared = VllmBackend().variants(settings)
    assert [one.engines_per_gpu for one in alone] == [1, 1, 1]
    assert (shared.engines_per_gpu, shared.max_num_batched_tokens) == (2, 16384)
    # Not where an engine has several GPUs, a model is large, or half a GPU is too little for it.
    for asked, weights, machine in [
        (replace(settings, tensor_parallel_size=2), 1 << 20, H200),
        (settings, 3 << 30, H200),
        (settings, 1 << 20, H200._replace(gpu_bytes=200_000)),
    ]:
        monkeypatch.setattr(sizing, "this_machine", lambda machine=machine: machine)
        monkeypatch.setattr(VllmBackend, "memory_bytes", lambda *_, size=weights: size)
        assert all(one.engines_per_gpu == 1 for one in VllmBackend().variants(asked))


def test_the_engines_per_gpu_that_were_the_fastest_are_what_auto_takes(settings, monkeypatch):
    backend = VllmBackend()
    monkeypatch.setattr(sizing, "has_gpu", lambda: True)
    assert backend.preferred_engines_per_gpu(settings) is None
    backend.prefer(replace(settings, max_num_batched_tokens=1024), 2)
    assert backend.preferred_engines_per_gpu(settings) == 2
    assert backend.preferred_engines_per_gpu(replace(settings, dtype="bfloat16")) is None
    assert step(settings) == 1024
    assert step(replace(settings, engines_per_gpu=2)) == 4096
    large = 10 << 30
    assert choose_engines_per_gpu("auto", large).value == 1
    found = choose_engines_per_gpu("auto", large, measured=2)
    assert (found.value, found.reason) == (2, "the fastest of those measured on this machine")
    assert choose_engines_per_gpu("auto", 1, gpus_per_engine=2, measured=2).value == 1
    assert choose_engines_per_gpu(3, 1, measured=2).value == 3
    backend.prefer(replace(settings, max_num_batched_tokens=1024), 1)
    assert backend.preferred_engines_per_gpu(settings) == 1
    monkeypatch.setattr(sizing, "has_gpu", lambda: False)
    assert backend.preferred_engines_per_gpu(settings) is None


def test_a_step_that_does_not_fit_any_more_is_not_taken(settings):
    public = replace(settings, scoring="prompt_logprobs", vocab_size=128_256)
    VllmBackend().prefer(replace(public, max_num_batched_tokens=1024), 1)
    assert step(public) == 1024
    assert step(public, HERE._replace(free_bytes=2 << 30)) == 256


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"step_tokens": "many"}', '{"step_tokens": 0}']
)
def test_a_damaged_record_is_none(settings, tmp_path, content):
    VllmBackend().prefer(replace(settings, max_num_batched_tokens=1024), 1)
    (record,) = (tmp_path / "cache" / "calibrations").iterdir()
    record.write_text(content)
    assert remembered_step(settings, HERE.device) is None
    assert step(settings) == 4096


def test_a_cache_that_cannot_be_written_is_no_error(settings, tmp_path):
    (tmp_path / "cache").write_text("a file")
    VllmBackend().prefer(replace(settings, max_num_batched_tokens=1024), 1)
    assert step(settings) == 4096
