"""The arithmetic of the fused path that needs no engine; tests/test_engine.py has the rest."""

import os
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.logits_processor import LogitsProcessor

from pipeline.engine.vllm import pooler
from pipeline.engine.vllm.pooler import join_shards, local_logits, shard_logprobs

NUM_ROWS, VOCAB_SIZE = 7, 60


@pytest.mark.parametrize("cuts", [(0, 60), (0, 20, 40, 60), (0, 1, 59, 60)], ids=str)
def test_shards_of_the_vocabulary_join_to_the_whole(cuts: tuple[int, ...]):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(NUM_ROWS, VOCAB_SIZE, generator=generator) * 30
    targets = torch.randint(0, VOCAB_SIZE, (NUM_ROWS,), generator=generator)
    padding = torch.full((NUM_ROWS, 3), 1e4)  # what pads a shard must never count
    pairs = []
    for start, end in pairwise(cuts):
        shard = torch.cat([logits[:, start:end], padding], 1)
        pairs.append(torch.stack(shard_logprobs(shard, targets, start, end), -1))

    found = join_shards(torch.stack(pairs, 1))

    table = logits.double().numpy()
    table -= np.logaddexp.reduce(table, axis=1, keepdims=True)
    np.testing.assert_allclose(found, table[np.arange(NUM_ROWS), targets], rtol=1e-5, atol=1e-5)


class Rank(torch.nn.Module):
    """A model's head as one of two ranks has it, with a bias, a scale and a soft cap."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, start: int, end: int) -> None:
        super().__init__()
        with set_current_vllm_config(VllmConfig()):
            self.logits_processor = LogitsProcessor(VOCAB_SIZE, scale=0.5, soft_cap=20.0)
        linear = torch.nn.functional.linear
        self.part = SimpleNamespace(
            tp_size=2,
            quant_method=SimpleNamespace(
                apply=lambda _, states, bias: linear(states, weight[start:end], bias)
            ),
            shard_indices=SimpleNamespace(org_vocab_start_index=start, org_vocab_end_index=end),
        )
        self.bias = bias[start:end]

    def compute_logits(self, states: torch.Tensor) -> torch.Tensor | None:
        found: torch.Tensor | None = self.logits_processor(self.part, states, self.bias)
        return found


def test_a_rank_scores_with_the_whole_head():
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(NUM_ROWS, 16, generator=generator)
    weight = torch.randn(VOCAB_SIZE, 16, generator=generator)
    bias = torch.randn(VOCAB_SIZE, generator=generator) * 5
    targets = torch.randint(0, VOCAB_SIZE, (NUM_ROWS,), generator=generator)
    pairs = []
    for start, end in ((0, 20), (20, VOCAB_SIZE)):
        logits, shard = local_logits(Rank(weight, bias, start, end), states)
        places = (shard.org_vocab_start_index, shard.org_vocab_end_index)
        pairs.append(torch.stack(shard_logprobs(logits, targets, *places), -1))

    table = (states.double() @ weight.double().T + bias) / 20
    table = torch.log_softmax(0.5 * 20 * torch.tanh(table), -1)
    wanted = table[torch.arange(NUM_ROWS), targets].float()
    torch.testing.assert_close(join_shards(torch.stack(pairs, 1)), wanted, rtol=1e-5, atol=1e-5)


def test_logits_taken_a_few_rows_at_a_time_add_up_as_they_do_whole(monkeypatch):
    logits = torch.randn(7, VOCAB_SIZE, generator=torch.Generator().manual_seed(1)).bfloat16() * 30
    targets = torch.arange(7)
    before = logits.clone()
    found = []
    for rows in (1, 3, 7):
        monkeypatch.setattr(pooler, "CPU_PIECE_BYTES", rows * 4 * VOCAB_SIZE)
        found.append(torch.stack(shard_logprobs(logits, targets, 0, VOCAB_SIZE)))

    wanted = torch.logsumexp(before.double(), -1)
    for value, total in found:
        assert value.dtype == total.dtype == torch.float32
        torch.testing.assert_close(total.double(), wanted, rtol=1e-6, atol=0)
        assert torch.equal(value, before[torch.arange(7), targets].float())
    assert torch.equal(logits, before)


WITH_TRITON = """
import triton
import triton.language
import vllm.triton_utils

# Its CPU build does without: nothing there is compiled by Triton.
vllm.triton_utils.triton, vllm.triton_utils.tl = triton, triton.language

import torch
from pipeline.engine.vllm.pooler import _whole_vocabulary


class OnGpu(torch.Tensor):
    is_cuda = True


class Model:
    def compute_logits(self, states):
        return states[:, :4999].as_subclass(OnGpu)  # as vLLM cuts the padding off


logits = 6 * torch.randn(7, 5120, generator=torch.Generator().manual_seed(2)).bfloat16()
targets = torch.tensor([0, 1, 2, 1023, 1024, 3000, 4998])
logits[3, 7] = -torch.inf  # as masked tokens have it
found = _whole_vocabulary(Model(), logits, targets).as_subclass(torch.Tensor)
assert found.dtype == torch.float32
whole = torch.log_softmax(logits[:, :4999].double(), -1)
wanted = whole.gather(-1, targets[:, None]).squeeze(-1)
torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-6)
"""


def test_a_gpus_kernel_gives_the_same_by_tritons_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", WITH_TRITON]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
