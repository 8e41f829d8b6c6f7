"""The fastest step is remembered for one model on one device, and for nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm import sizing
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.engine.vllm.measured import remembered_step, steps_to_try
from pipeline.engine.vllm.sizing import Machine, choose_sizes

HERE = Machine(None, 16 << 30, 4, "a CPU")


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSettings:
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sizing, "this_machine", lambda: HERE)
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
    VllmBackend().prefer(replace(settings, max_num_batched_tokens=1024))
    assert step(settings) == 1024
    assert "measured on this machine" in choose_sizes(settings, HERE).step_tokens.reason
    # By a run too, which always says how many threads.
    assert step(replace(settings, num_threads=HERE.num_cpus)) == 1024
    # Asked for, or of another engine, or of another machine, or of a machine that is pretended.
    assert step(replace(settings, max_num_batched_tokens=2048)) == 2048
    assert step(replace(settings, dtype="bfloat16")) == 4096
    assert step(replace(settings, num_threads=1)) == 4096
    assert step(settings, HERE._replace(device="another CPU")) == 4096
    assert step(settings, HERE._replace(device="")) == 4096
    # What is measured next is measured from the default on.
    assert VllmBackend().variants(settings)[0].max_num_batched_tokens == 4096


def test_a_step_that_does_not_fit_any_more_is_not_taken(settings):
    public = replace(settings, scoring="prompt_logprobs", vocab_size=128_256)
    VllmBackend().prefer(replace(public, max_num_batched_tokens=1024))
    assert step(public) == 1024
    assert step(public, HERE._replace(free_bytes=2 << 30)) == 256


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"step_tokens": "many"}', '{"step_tokens": 0}']
)
def test_a_damaged_record_is_none(settings, tmp_path, content):
    VllmBackend().prefer(replace(settings, max_num_batched_tokens=1024))
    (record,) = (tmp_path / "cache" / "calibrations").iterdir()
    record.write_text(content)
    assert remembered_step(settings, HERE.device) is None
    assert step(settings) == 4096


def test_a_cache_that_cannot_be_written_is_no_error(settings, tmp_path):
    (tmp_path / "cache").write_text("a file")
    VllmBackend().prefer(replace(settings, max_num_batched_tokens=1024))
    assert step(settings) == 4096
