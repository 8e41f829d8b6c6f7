"""The pooler as vLLM's Model Runner V2 calls it, which pools on GPUs.

The runner's own class, request table and batch, on the CPU; scheduling is made up here: prompts of
mixed lengths in chunks, slots that are freed and taken again, preemption in the midst of a prompt.
The answers are compared with float64 over whole prompts.
"""

import random
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vllm import PoolingParams
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.v1.worker.gpu.input_batch import InputBatch
from vllm.v1.worker.gpu.pool.pooling_runner import PoolingRunner
from vllm.v1.worker.gpu.states import RequestState

from pipeline.engine.vllm import pooler
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.pooler import LogprobPooler, scored_rows
from pipeline.schema import Window

VOCAB_SIZE, WIDTH, SLOTS, STEP_TOKENS, LONGEST = 97, 16, 5, 24, 60
CPU = torch.device("cpu")
PREEMPTED_OF_TEN = 2


class CausalToy(torch.nn.Module):
    """The state at a position depends on every token up to it."""

    is_pooling_model = True

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.randn(VOCAB_SIZE, WIDTH, generator=generator)
        self.head = torch.randn(WIDTH, VOCAB_SIZE, generator=generator)
        self.logits_processor = LogitsProcessor.__new__(LogitsProcessor)
        torch.nn.Module.__init__(self.logits_processor)
        self.logits_processor.vocab_size = VOCAB_SIZE
        self.pooler = LogprobPooler(self)

    def states(self, prompt: list[int]) -> torch.Tensor:
        return self.embedding[prompt].cumsum(0) / torch.arange(1, len(prompt) + 1)[:, None].sqrt()

    def compute_logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.head

    def expected(self, window: Window) -> np.ndarray:
        logits = (self.states(window.prompt) @ self.head).double().numpy()
        table = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        positions = range(window.num_context, len(window.prompt))
        return np.array([table[at - 1, window.prompt[at]] for at in positions])

    def embed_input_ids(self, *_): ...

    def forward(self, *_): ...


@pytest.fixture
def runner(monkeypatch) -> PoolingRunner:
    monkeypatch.setattr(pooler, "get_tensor_model_parallel_world_size", lambda: 1)
    monkeypatch.setattr("vllm.v1.worker.gpu.buffer_utils.is_uva_available", lambda: False)
    # vLLM asks the class for what its interface has, and not for how it is called.
    monkeypatch.setattr("vllm.model_executor.models.interfaces_base.is_vllm_model", lambda _: True)
    config = SimpleNamespace(get_pooling_task=lambda tasks: tasks[0], pooler_config=None)
    scheduler = SimpleNamespace(max_num_seqs=SLOTS)
    return PoolingRunner(
        CausalToy(), SimpleNamespace(model_config=config, scheduler_config=scheduler)
    )


def parameters(window: Window) -> PoolingParams:
    """As the engine makes them."""
    engine = SimpleNamespace(_fused=True, _pooling=PoolingParams)
    return VllmEngine._parameters(engine, window)


def windows_of_mixed_lengths(rng: random.Random, count: int) -> list[Window]:
    lengths = [rng.choice((2, 3, rng.randint(4, 20), LONGEST)) for _ in range(count)]
    prompts = [[rng.randrange(VOCAB_SIZE) for _ in range(length)] for length in lengths]
    return [Window(prompt, rng.randint(1, min(5, len(prompt) - 1))) for prompt in prompts]


def scored(runner: PoolingRunner, windows: list[Window], rng: random.Random) -> dict:
    """Every window's answer; each step is as the GPU's model runner makes one."""
    states = RequestState(SLOTS, LONGEST + 1, STEP_TOKENS, 0, VOCAB_SIZE, CPU)
    waiting, done, answers = list(range(len(windows))), {}, {}
    num_preempted = num_chunked = 0
    while len(answers) < len(windows):
        begun = [index for index in done if done[index]]
        if begun and rng.randrange(10) < PREEMPTED_OF_TEN:
            index = rng.choice(begun)
            del done[index]
            runner.remove_request(states.remove_request(str(index)))
            waiting.insert(rng.randint(0, len(waiting)), index)
            num_preempted += 1
        while waiting and len(done) < SLOTS:
            index = waiting.pop(0)
            prompt = windows[index].prompt
            states.add_request(str(index), len(prompt), prompt, 0, 1)
            slot = states.req_id_to_index[str(index)]
            runner.add_request(str(index), slot, parameters(windows[index]), prompt)
            done[index] = 0
        room, lengths = STEP_TOKENS, {}
        for index in done:
            if length := min(len(windows[index].prompt) - done[index], room):
                lengths[index] = length
                room -= length
        batch, hidden = step(runner, states, windows, done, lengths)
        found, finished = runner.pool(hidden, batch, states)
        for index, answer, is_finished in zip(lengths, found, finished, strict=True):
            done[index] += lengths[index]
            assert is_finished == (done[index] == len(windows[index].prompt))
            num_chunked += not is_finished
            if is_finished:
                answers[index] = answer.numpy()
                del done[index]
                runner.remove_request(states.remove_request(str(index)))
            else:
                assert answer is None
    assert num_preempted > 1
    assert num_chunked > 5
    assert not runner.pooling_states
    return answers


def step(runner, states, windows, done, lengths) -> tuple[InputBatch, torch.Tensor]:
    scheduled = np.array(list(lengths.values()), np.int32)
    ends = [done[index] + length for index, length in lengths.items()]
    hidden = [
        runner.model.states(windows[index].prompt)[end - length : end]
        for (index, length), end in zip(lengths.items(), ends, strict=True)
    ]
    batch = InputBatch(
        **{field.name: None for field in fields(InputBatch)}
        | {
            "req_ids": [str(index) for index in lengths],
            "num_reqs": len(lengths),
            "num_tokens": int(scheduled.sum()),
            "idx_mapping_np": np.array([states.req_id_to_index[str(index)] for index in lengths]),
            "num_scheduled_tokens": scheduled,
            # Longer than the batch, as the runner's buffers are.
            "seq_lens_cpu_upper_bound": torch.tensor([*ends, 99], dtype=torch.int32),
            "query_start_loc": torch.tensor([0, *np.cumsum(scheduled), 99], dtype=torch.int32),
        }
    )
    padding = torch.full((3, WIDTH), float("nan"))  # of a captured graph
    return batch, torch.cat([*hidden, padding])


@pytest.mark.parametrize("seed", range(5))
def test_answers_are_those_of_whole_prompts(runner, seed):
    rng = random.Random(seed)
    windows = windows_of_mixed_lengths(rng, 60)
    answers = scored(runner, windows, rng)
    for index, window in enumerate(windows):
        np.testing.assert_allclose(answers[index], runner.model.expected(window), 1e-5, 1e-5)


def test_a_prompt_that_begins_again_keeps_nothing_of_before(runner):
    """Model Runner V2 drops a request's state when it is preempted; V1, on CPUs, keeps it."""
    window = Window(list(range(20)), 1)
    states = RequestState(SLOTS, LONGEST + 1, STEP_TOKENS, 0, VOCAB_SIZE, CPU)
    states.add_request("0", 20, window.prompt, 0, 1)
    runner.add_request("0", states.req_id_to_index["0"], parameters(window), window.prompt)
    for begun, length in ((0, 8), (8, 7), (0, 12), (12, 8)):
        batch, hidden = step(runner, states, [window], {0: begun}, {0: length})
        (answer,), _ = runner.pool(hidden, batch, states)
    np.testing.assert_allclose(answer, runner.model.expected(window), 1e-5, 1e-5)


@pytest.mark.parametrize("shifted", ["rows", "targets", "ids"])
def test_a_shifted_index_is_seen(runner, monkeypatch, shifted):
    def wrong(lengths, ends, prompt_lengths, contexts, ids):
        if shifted == "ids":
            ids = [np.roll(one, 1) for one in ids]
        rows, targets = scored_rows(lengths, ends, prompt_lengths, contexts, ids)
        if shifted == "rows":
            rows = [(row + 1).clamp(0, sum(lengths) - 1) for row in rows]
        if shifted == "targets":
            targets = list(torch.cat(targets).roll(1).split([len(one) for one in targets]))
        return rows, targets

    monkeypatch.setattr(pooler, "scored_rows", wrong)
    rng = random.Random(0)
    windows = windows_of_mixed_lengths(rng, 60)
    answers = scored(runner, windows, rng)
    wanted = [runner.model.expected(window) for window in windows]
    off = [not np.allclose(answers[index], each, rtol=1e-3) for index, each in enumerate(wanted)]
    assert sum(off) > len(windows) / 2


def test_no_matrix_of_ids_is_made(runner):
    window = Window([1, 2, 3], 1)
    states = RequestState(SLOTS, LONGEST + 1, STEP_TOKENS, 0, VOCAB_SIZE, CPU)
    states.add_request("0", 3, window.prompt, 0, 1)
    runner.add_request("0", states.req_id_to_index["0"], parameters(window), window.prompt)
    batch, _ = step(runner, states, [window], {0: 0}, {0: 3})
    metadata = runner._get_pooling_metadata(batch, states, CPU)
    assert metadata.prompt_token_ids is None
    assert metadata.prompt_token_ids_cpu is None


def test_the_memory_profile_makes_the_logits_of_a_step(runner, monkeypatch):
    """Its requests are made up by vLLM, and have none of ours' options."""
    seen = []
    compute = runner.model.compute_logits
    monkeypatch.setattr(
        runner.model, "compute_logits", lambda states: seen.append(len(states)) or compute(states)
    )
    monkeypatch.setattr(PoolingParams, "verify", lambda *_: None)
    runner.dummy_pooler_run(torch.randn(STEP_TOKENS, WIDTH))
    assert sum(seen) == STEP_TOKENS - SLOTS
