"""The start-up check sees a pooler that picks wrong rows or tokens; no engine is started here.

The pooler is the real one, over a toy model and the metadata that vLLM would give it for prompts in
one step or in several. test_engine.py has a real start with a wrong pooler.
"""

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vllm import PoolingParams
from vllm.v1.pool.metadata import PoolingMetadata, PoolingStates

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm import pooler
from pipeline.engine.vllm.pooler import LogprobPooler, scored_rows
from pipeline.engine.vllm.startup_check import check_engine, check_windows, find_disagreement
from pipeline.errors import EngineError, EngineMemoryError, ModelError
from pipeline.schema import Window, WindowScore
from tests.support.fakes import FakeEngine

VOCAB_SIZE, WINDOW_TOKENS = 300, 64
WHOLE_STEP, SMALL_STEP = 1000, 8
LATER, EARLIER = 1, -1


class ToyModel:
    """The state at a position depends on every token up to it, as in a causal model."""

    logits_processor = SimpleNamespace(vocab_size=VOCAB_SIZE)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.randn(VOCAB_SIZE, 16, generator=generator)
        self.head = torch.randn(16, VOCAB_SIZE, generator=generator)

    def states(self, prompt: list[int]) -> torch.Tensor:
        return self.embedding[prompt].cumsum(0) / torch.arange(1, len(prompt) + 1)[:, None].sqrt()

    def compute_logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.head


def answers(
    model: ToyModel, asked: list[tuple[Window, bool]], step_tokens: int
) -> list[np.ndarray]:
    """What the pooler answers to (window, whole rows), `step_tokens` of the prompts at a time."""
    scorer = LogprobPooler(model)
    states = [PoolingStates() for _ in asked]
    done = [0] * len(asked)
    found: dict[int, np.ndarray] = {}
    while len(found) < len(asked):
        room, lengths = step_tokens, {}
        for index, (window, _) in enumerate(asked):
            if (length := min(len(window.prompt) - done[index], room)) > 0:
                lengths[index] = length
                room -= length
        hidden, prompts = [], [asked[index][0].prompt for index in lengths]
        for index, prompt in zip(lengths, prompts, strict=True):
            hidden.append(model.states(prompt)[done[index] : done[index] + lengths[index]])
            done[index] += lengths[index]
        metadata = PoolingMetadata(
            prompt_lens=torch.tensor([len(prompt) for prompt in prompts]),
            prompt_token_ids=None,
            prompt_token_ids_cpu=None,
            pooling_params=[parameters(*asked[index]) for index in lengths],
            pooling_states=[states[index] for index in lengths],
        )
        scheduled, ends = list(lengths.values()), [done[index] for index in lengths]
        metadata.build_pooling_cursor(np.array(scheduled), torch.tensor(ends), torch.device("cpu"))
        answered = scorer.forward(torch.cat(hidden), metadata)
        for index, answer in zip(lengths, answered, strict=True):
            assert (answer is None) == (done[index] < len(asked[index][0].prompt))
            if answer is not None:
                found[index] = answer.numpy()
    return [found[index] for index in range(len(asked))]


def parameters(window: Window, whole_rows: bool) -> PoolingParams:
    options = {
        "num_context": window.num_context,
        "whole_rows": whole_rows,
        "token_ids": np.array(window.prompt, np.intc).tobytes(),
    }
    return PoolingParams(task="token_classify", extra_kwargs=options)


@pytest.fixture
def model(monkeypatch) -> ToyModel:
    monkeypatch.setattr(pooler, "get_tensor_model_parallel_world_size", lambda: 1)
    return ToyModel()


@pytest.fixture
def check(model) -> Callable[..., str | None]:
    """step tokens -> what a start-up says of the pooler."""
    windows = check_windows(VOCAB_SIZE, WINDOW_TOKENS)

    def run(step_tokens: int, dtype: str = "bfloat16") -> str | None:
        asked = [(window, whole) for whole in (False, True) for window in windows]
        found = answers(model, asked, step_tokens)
        return find_disagreement(windows, found[: len(windows)], found[len(windows) :], dtype)

    return run


def test_several_prompts_some_of_them_with_context_are_checked():
    windows = check_windows(VOCAB_SIZE, WINDOW_TOKENS)
    assert len(windows) == 3
    assert max(window.num_context for window in windows[1:]) > 1
    assert sum(len(window.prompt) for window in windows) * 262_144 * 4 < 36_000_000
    shortest = check_windows(VOCAB_SIZE, 2)
    assert [(len(window.prompt), window.num_context) for window in shortest] == [(2, 1)] * 3


@pytest.mark.parametrize("step_tokens", [WHOLE_STEP, SMALL_STEP, 1])
def test_a_right_pooler_agrees_and_is_right(model, check, step_tokens):
    assert check(step_tokens, "float32") is None

    windows = check_windows(VOCAB_SIZE, WINDOW_TOKENS)
    scored = answers(model, [(window, False) for window in windows], step_tokens)
    tables = answers(model, [(window, True) for window in windows], step_tokens)
    for window, logprobs, table in zip(windows, scored, tables, strict=True):
        logits = (model.states(window.prompt) @ model.head).double().numpy()
        reference = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        np.testing.assert_allclose(table, reference, rtol=1e-5, atol=1e-5)
        expected = [reference[i, window.prompt[i + 1]] for i in range(len(window.prompt) - 1)]
        np.testing.assert_allclose(logprobs, expected[window.num_context - 1 :], rtol=1e-5)


def shift_rows(by: int, only: Callable[[int, int], bool] = lambda index, context: True):
    def wrong(lengths, ends, prompt_lengths, contexts, ids):
        rows, targets = scored_rows(lengths, ends, prompt_lengths, contexts, ids)
        chosen = [only(index, context) for index, context in enumerate(contexts)]
        last = sum(lengths) - 1
        return [
            (row + by).clamp(0, last) if shifted else row
            for row, shifted in zip(rows, chosen, strict=True)
        ], targets

    return wrong


def shift_ids(by: int):
    def wrong(lengths, ends, prompt_lengths, contexts, ids):
        shifted = [np.roll(one, by) for one in ids]
        return scored_rows(lengths, ends, prompt_lengths, contexts, shifted)

    return wrong


def take_ids_of_another_prompt(lengths, ends, prompt_lengths, contexts, ids):
    others = [np.resize(one, WINDOW_TOKENS) for one in [*ids[-1:], *ids[:-1]]]
    return scored_rows(lengths, ends, prompt_lengths, contexts, others)


def shift_both(lengths, ends, prompt_lengths, contexts, ids):
    """Right pairs, each the answer to the token before."""
    shifted = [np.roll(one, EARLIER) for one in ids]
    return shift_rows(LATER)(lengths, ends, prompt_lengths, contexts, shifted)


def forget_offsets(lengths, ends, prompt_lengths, contexts, ids):
    rows, targets = scored_rows(lengths, ends, prompt_lengths, contexts, ids)
    before = np.cumsum([0, *lengths[:-1]]).tolist()
    return [row - offset for row, offset in zip(rows, before, strict=True)], targets


def forget_context_in_rows(lengths, ends, prompt_lengths, contexts, ids):
    rows, targets = scored_rows(lengths, ends, prompt_lengths, contexts, ids)
    return [row - (context - 1) for row, context in zip(rows, contexts, strict=True)], targets


def swap_prompts(lengths, ends, prompt_lengths, contexts, ids):
    """Each prompt's log-probabilities at another's place."""
    rows, targets = scored_rows(lengths, ends, prompt_lengths, contexts, ids)
    sizes = [len(row) for row in rows]
    joined = torch.cat(rows).roll(sizes[0]), torch.cat(targets).roll(sizes[0])
    return list(joined[0].split(sizes)), list(joined[1].split(sizes))


def change_contexts(change: Callable[[int], int]):
    def wrong(lengths, ends, prompt_lengths, contexts, ids):
        return scored_rows(lengths, ends, prompt_lengths, list(map(change, contexts)), ids)

    return wrong


def begin_at_every_chunk(lengths, ends, prompt_lengths, contexts, ids):
    """Positions count from the chunk's first token."""
    return scored_rows(lengths, lengths, prompt_lengths, contexts, ids)


def score_no_last_row_of_a_chunk(lengths, ends, prompt_lengths, contexts, ids):
    return scored_rows(lengths, ends, ends, contexts, ids)


WRONG = {
    "rows one later": shift_rows(LATER),
    "rows one earlier": shift_rows(EARLIER),
    "tokens one later": shift_ids(EARLIER),
    "tokens one earlier": shift_ids(LATER),
    "rows and tokens one later": shift_both,
    "tokens of another prompt": take_ids_of_another_prompt,
    "the first prompt's rows one later": shift_rows(LATER, lambda index, _: index == 0),
    "the second prompt's rows one later": shift_rows(LATER, lambda index, _: index == 1),
    "the second prompt's rows one earlier": shift_rows(EARLIER, lambda index, _: index == 1),
    "the third prompt's rows one earlier": shift_rows(EARLIER, lambda index, _: index == 2),
    "every prompt's rows from the first prompt on": forget_offsets,
    "rows one later where there is context": shift_rows(LATER, lambda _, context: context > 1),
    "rows from the first token where there is context": forget_context_in_rows,
    "another prompt's answer": swap_prompts,
    "a token more of context": change_contexts(lambda context: context + 1),
    "a token less of context": change_contexts(lambda context: max(1, context - 1)),
    "no context": change_contexts(lambda context: 1),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_index_is_seen(check, monkeypatch, wrong):
    monkeypatch.setattr(pooler, "scored_rows", wrong)
    said = check(WHOLE_STEP)
    assert said is not None
    assert said.startswith(("is inaccurate: ln p of token ", "returned "))


@pytest.mark.parametrize("wrong", [begin_at_every_chunk, score_no_last_row_of_a_chunk])
def test_a_wrong_index_of_a_chunk_is_seen_where_the_check_has_chunks(check, monkeypatch, wrong):
    monkeypatch.setattr(pooler, "scored_rows", wrong)
    assert check(WHOLE_STEP) is None
    assert check(SMALL_STEP) is not None


@pytest.mark.parametrize("factor", [1.2, float("nan")])
def test_a_wrong_value_of_one_token_is_seen(factor):
    """Not only the sum."""
    windows = check_windows(VOCAB_SIZE, WINDOW_TOKENS)
    tables = [np.full((len(w.prompt), VOCAB_SIZE), -5, np.float32) for w in windows]
    scored = [np.full(len(w.prompt) - w.num_context, -5, np.float32) for w in windows]
    assert find_disagreement(windows, scored, tables, "bfloat16") is None
    scored[2][3] *= factor
    said = find_disagreement(windows, scored, tables, "bfloat16")
    assert said == (
        f"is inaccurate: ln p of token 8 of 11 is {-5 * factor:.6g}, and by the model's unfused "
        "output -5"
    )


class Answers:
    """An engine whose answers are made by a rule."""

    def __init__(self, answer: Callable[[Window], np.ndarray]) -> None:
        self._answer = answer

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        for key, window in windows:
            yield WindowScore(key, self._answer(window))


def refuse(window: Window) -> np.ndarray:
    raise EngineError("the engine failed: Unsupported CPU attention configuration: head_dim=16")


UNABLE = {
    "it fails": (refuse, r"(?m)^vLLM cannot score with m: Unsupported CPU .* head_dim=16$"),
    "NaN": (lambda w: np.full(len(w.prompt) - w.num_context, np.nan), r"(?m)are not finite$"),
    "nothing": (lambda w: np.empty(0), r"(?m)0 log-probabilities for 5 tokens$"),
}


@pytest.mark.parametrize(("answer", "said"), UNABLE.values(), ids=UNABLE)
def test_an_engine_that_cannot_score_is_refused(answer, said):
    settings = EngineSettings("m", "float32", WINDOW_TOKENS, VOCAB_SIZE)
    with pytest.raises(ModelError, match=said) as caught:
        check_engine(Answers(answer), settings)
    assert caught.value.hint
    check_engine(FakeEngine(), settings)


def test_memory_that_runs_out_at_the_check_is_for_smaller_steps():
    def run_out(window: Window) -> np.ndarray:
        raise EngineMemoryError("the engine failed: out of memory")

    with pytest.raises(EngineMemoryError):
        check_engine(Answers(run_out), EngineSettings("m", "float32", WINDOW_TOKENS, VOCAB_SIZE))


def test_rows_of_another_shape_are_no_answer():
    [window, *_] = check_windows(VOCAB_SIZE, WINDOW_TOKENS)
    scored = np.zeros(len(window.prompt) - 1, np.float32)
    table = np.zeros((len(window.prompt) - 1, VOCAB_SIZE), np.float32)
    said = find_disagreement([window], [scored], [table], "float32")
    assert said == "returned rows of shape (4, 300) for a prompt of 5 tokens"
