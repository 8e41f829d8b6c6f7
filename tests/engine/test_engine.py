"""The real vLLM engine against a plain transformers float32 forward pass.

The tiny model has random weights far from uniform, so that any shift by one token shows.
"""

import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.sizing import choose_step_tokens, engine_arguments
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows
from pipeline.errors import EngineError, ModelError
from pipeline.schema import Window
from tests.support.tiny import save_llama

WINDOW_TOKENS = 200
TEXTS = {
    "one character": "x",
    "short": "The capital of France is Paris.",
    "emoji": "Σ😀 \u0645\u0631\u062d\u0628\u0627 \x00 end",
    "special tokens": "<s></s>" * 9,
    "repeats": "ab" * 300,
    "long": " ".join(f"word{i}" for i in range(700)),
}


@pytest.fixture(scope="module")
def vocab_size(tiny_model: Path) -> int:
    return AutoModelForCausalLM.from_pretrained(tiny_model).config.vocab_size


@pytest.fixture(scope="module", params=["fused", "prompt_logprobs"])
def engine(
    tiny_model: Path, vocab_size: int, request: pytest.FixtureRequest
) -> Iterator[VllmEngine]:
    # A step far smaller than a window: every longer prompt is prefilled in chunks.
    settings = EngineSettings(
        str(tiny_model),
        "float32",
        WINDOW_TOKENS,
        vocab_size,
        scoring=request.param,
        architecture="LlamaForCausalLM",
        max_num_batched_tokens=48,
    )
    engine = VllmEngine(settings)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> HubTokenizer:
    return HubTokenizer(str(tiny_model))


@pytest.fixture(scope="module")
def reference(tiny_model: Path):
    """window -> log-probabilities of its scored tokens, by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()

    def logprobs(window: Window) -> np.ndarray:
        ids = torch.tensor([window.prompt])
        with torch.no_grad():
            table = torch.log_softmax(model(ids).logits[0].double(), dim=-1)
        targets = ids[0, 1:]
        return table[:-1].gather(1, targets[:, None])[window.num_context - 1 :, 0].numpy()

    return logprobs


def windows_of(text: str, tokenizer: HubTokenizer, context_tokens: int = 1) -> list[Window]:
    return plan_windows(
        tokenizer.encode([text])[0].ids,
        prefix=tokenizer.prefix("auto").token_id,
        window_tokens=WINDOW_TOKENS,
        context_tokens=context_tokens,
    )


@pytest.mark.parametrize("context_tokens", [1, 64], ids=["context 1", "context 64"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_nll_equals_transformers(engine, tokenizer, reference, text, context_tokens):
    windows = windows_of(text, tokenizer, context_tokens)

    scores = {score.key: score.logprobs for score in engine.score(enumerate(windows))}

    assert sorted(scores) == list(range(len(windows)))
    for key, window in enumerate(windows):
        assert scores[key].shape == (len(window.prompt) - window.num_context,)
        np.testing.assert_allclose(scores[key], reference(window), rtol=1e-3, atol=1e-4)
    nll = -math.fsum(value for values in scores.values() for value in values)
    expected = -math.fsum(value for window in windows for value in reference(window))
    assert nll == pytest.approx(expected, rel=1e-4)


def test_the_model_is_far_from_uniform(reference, tokenizer, vocab_size):
    """Otherwise a shift by one token would pass unseen."""
    logprobs = reference(windows_of(TEXTS["long"], tokenizer)[0])
    assert np.std(logprobs) > 1.0
    assert abs(-np.mean(logprobs) - math.log(vocab_size)) > 0.5


def test_two_callers_get_their_own_scores(engine, tokenizer):
    """As two shards in flight do; each must see all of its windows and nobody else's."""
    first = windows_of(TEXTS["long"], tokenizer)
    second = windows_of(TEXTS["repeats"], tokenizer)
    alone = [{s.key: s.logprobs for s in engine.score(enumerate(w))} for w in (first, second)]
    together: list[dict[int, np.ndarray]] = [{}, {}]

    def score(index: int, windows: list[Window]) -> None:
        together[index] = {s.key: s.logprobs for s in engine.score(enumerate(windows * 4))}

    threads = [threading.Thread(target=score, args=(i, w)) for i, w in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()

    for index, windows in enumerate((first, second)):
        assert sorted(together[index]) == list(range(4 * len(windows)))
        for key, logprobs in together[index].items():
            expected = alone[index][key % len(windows)]
            np.testing.assert_allclose(logprobs, expected, rtol=1e-4, atol=1e-5)


def test_windows_are_pulled_only_as_needed(engine, tokenizer):
    """A corpus streams through: the engine never asks for all of it."""
    window = windows_of(TEXTS["short"], tokenizer)[0]
    pulled = 0

    def endless() -> Iterator[tuple[int, Window]]:
        nonlocal pulled
        for key in range(3000):
            pulled += 1
            yield key, window

    scores = engine.score(endless())
    next(scores)
    in_flight = pulled
    assert in_flight * len(window.prompt) <= 4 * engine.step_tokens + len(window.prompt)
    assert sum(1 for _ in scores) == 3000 - 1


def test_an_engine_that_fails_says_so(engine, tokenizer, monkeypatch):
    def broken() -> None:
        raise RuntimeError("the accelerator fell off\nand more")

    window = windows_of(TEXTS["short"], tokenizer)[0]
    with monkeypatch.context() as patch:
        patch.setattr(engine._llm, "step", broken)
        with pytest.raises(EngineError, match=r"(?m)the engine failed: the accelerator fell off$"):
            list(engine.score([(0, window)]))
    # The request was with the engine, which drops it: the next caller is served.
    assert [score.key for score in engine.score([(7, window)])] == [7]


@pytest.mark.timeout(180)
def test_a_call_that_is_interrupted_leaves_nothing_to_do(engine, tokenizer, monkeypatch):
    """Ctrl-C in a notebook: the next call waits for a step that has begun, and for no other."""
    window = windows_of(TEXTS["short"], tokenizer)[0]
    result = Future.result

    def interrupted(future, timeout=None):
        found = result(future, timeout)
        # vLLM waits for futures of its own, in its thread.
        if found and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(engine.score((key, window) for key in range(4)))
    answered = count_answers(engine, monkeypatch)
    assert [score.key for score in engine.score([(7, window)])] == [7]
    assert len(answered) <= 2, "its own, and that of the step"
    assert_idle(engine)


@pytest.mark.timeout(180)
def test_a_caller_that_wants_no_more_leaves_nothing_to_do(engine, tokenizer, monkeypatch):
    """Nor do others, who wait meanwhile, lose an answer by it."""
    window = windows_of(TEXTS["short"], tokenizer)[0]
    expected = next(engine.score([(0, window)])).logprobs
    first = engine.score((key, window) for key in range(4))
    second = engine.score((key, window) for key in range(3))
    next(first)
    answered = count_answers(engine, monkeypatch)
    first.close()
    found = list(second)
    assert sorted(score.key for score in found) == [0, 1, 2]
    for score in found:
        np.testing.assert_allclose(score.logprobs, expected, rtol=1e-4, atol=1e-5)
    assert len(answered) == 3
    assert_idle(engine)


def test_an_engine_that_is_closed_while_it_scores_says_so(tiny_model, vocab_size, tokenizer):
    """As from another thread: what then fails would be named in words of Python."""
    engine = VllmEngine(EngineSettings(str(tiny_model), "float32", WINDOW_TOKENS, vocab_size))
    window = windows_of(TEXTS["short"], tokenizer)[0]
    scores = engine.score((key, window) for key in range(2000))
    next(scores)
    engine.close()
    with pytest.raises(EngineError, match=r"(?m)^the engine was closed while it scored$"):
        list(scores)


def count_answers(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """From now on, what vLLM answers to anybody."""
    answered, deliver = [], engine._deliver
    monkeypatch.setattr(engine, "_deliver", lambda one: answered.append(one) or deliver(one))
    return answered


def assert_idle(engine: VllmEngine) -> None:
    assert not engine._added
    assert not engine._waiting
    assert engine._in_flight_tokens == 0
    assert engine._llm.get_num_unfinished_requests() == 0


def test_closed_engines_let_go_of_their_models_and_leave_others_alone(tiny_model):
    """In a process of its own, where no engine of another test is open."""
    done = subprocess.run(
        [sys.executable, "-c", TWO_ENGINES, tiny_model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "0"]


TWO_ENGINES = """
import gc, sys, time, weakref
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.schema import Window
from pipeline.engine.protocol import EngineSettings

usual = gc.get_threshold()
engines = [VllmEngine(EngineSettings(sys.argv[1], "float32", 64, 258)) for _ in range(2)]

def score(engine):
    return [answer.logprobs.tolist() for answer in engine.score([(0, Window([0, 9, 8, 7], 1))])]

def model(engine):
    worker = engine._llm.engine_core.engine_core.model_executor.driver_worker.worker
    return weakref.ref(next(worker.get_model().parameters()))

before, models = score(engines[1]), [model(engine) for engine in engines]
engines[0].close()
print(score(engines[1]) == before)
# As where a notebook's cell is run again: nobody closes the one before.
engines[0] = VllmEngine(EngineSettings(sys.argv[1], "float32", 64, 258))
models.append(model(engines[0]))
del engines[0]
gc.collect()
print(score(engines[0]) == before)
del engines[0]
gc.collect()
deadline = time.monotonic() + 20
while gc.get_threshold() != usual and time.monotonic() < deadline:
    time.sleep(0.05)
gc.collect()
print(sum(found() is not None for found in models) + gc.get_freeze_count())
assert gc.get_threshold() == usual
"""


def test_answers_about_other_tokens_are_refused(engine, tokenizer, monkeypatch):
    window = windows_of(TEXTS["short"], tokenizer)[0]
    num_tokens = len(window.prompt)
    step = engine._llm.step

    def lying() -> list:
        outputs = step()
        for output in outputs:
            if hasattr(output, "prompt_logprobs"):
                output.prompt_logprobs.token_ids[0] += 1
            else:
                output.outputs.data = output.outputs.data[1:]
        return outputs

    expected = (
        rf"^the engine returned {num_tokens - 2} log-probabilities, where {num_tokens - 1} of the "
        rf"{num_tokens} tokens of a window were to be scored$"
        r"|^the engine returned log-probabilities of other tokens than those of the window$"
    )
    with monkeypatch.context() as patch:
        patch.setattr(engine._llm, "step", lying)
        with pytest.raises(EngineError, match=expected):
            list(engine.score([(0, window)]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs have kernels for these heads")
@pytest.mark.parametrize("scoring", ["fused", "prompt_logprobs"])
def test_a_model_that_cannot_be_computed_with_is_refused_in_the_engines_words(tmp_path, scoring):
    """It loads, and the CPU's attention has no kernel for its heads."""
    save_llama(tmp_path, head_dim=16)
    settings = EngineSettings(
        str(tmp_path),
        "float32",
        WINDOW_TOKENS,
        258,
        scoring=scoring,
        architecture="LlamaForCausalLM",
    )
    with pytest.raises(ModelError, match=r"vLLM cannot score with .*head_dim=16"):
        VllmEngine(settings)


def test_a_fused_path_that_disagrees_is_refused_at_the_start(tiny_model, vocab_size, monkeypatch):
    """test_startup_check.py has the other ways to be wrong."""
    from pipeline.engine.vllm import pooler

    right = pooler.scored_rows

    def shifted(*arguments):
        rows, targets = right(*arguments)
        return [row + 1 for row in rows], targets

    monkeypatch.setattr(pooler, "scored_rows", shifted)
    settings = EngineSettings(
        str(tiny_model),
        "float32",
        WINDOW_TOKENS,
        vocab_size,
        scoring="fused",
        architecture="LlamaForCausalLM",
    )
    with pytest.raises(
        ModelError, match=r"fused scoring .* is inaccurate: ln p of token \d of 5 is -"
    ):
        VllmEngine(settings)


def test_a_model_that_vllm_cannot_score_is_refused(tiny_model, tmp_path):
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("LlamaForCausalLM", "NoSuchForCausalLM"))
    with pytest.raises(ModelError, match="vLLM cannot score with "):
        VllmEngine(EngineSettings(str(tmp_path), "float32", 64, 300))


@pytest.mark.parametrize(
    ("vocab_size", "memory", "expected"),
    [
        pytest.param(50_000, 1 << 30, 2560, id="fits 2684 tokens"),
        pytest.param(256_000, 1 << 30, 512, id="large vocabulary"),
        pytest.param(256_000, 1 << 20, 256, id="never below one step's least"),
        pytest.param(300, 1 << 30, 4096, id="never above the largest"),
    ],
)
def test_step_size_follows_vocabulary_and_memory(vocab_size, memory, expected):
    assert choose_step_tokens(vocab_size, memory, 4096) == expected


def test_arguments_are_explicit(tiny_model):
    arguments = engine_arguments(EngineSettings(str(tiny_model), "float32", 100, 300))
    assert arguments["dtype"] == "float32"
    assert arguments["enable_prefix_caching"] is False
    assert arguments["max_model_len"] == 101


def test_the_engine_knows_how_busy_it_was(engine, tokenizer):
    list(engine.score(enumerate(windows_of(TEXTS["long"], tokenizer))))
    before = engine.usage()
    time.sleep(0.3)
    list(engine.score(enumerate(windows_of(TEXTS["short"], tokenizer))))
    after = engine.usage()

    assert 0 < before.busy <= before.seconds
    # The pause is time in use, and not time computing.
    assert after.seconds - before.seconds >= 0.3
    assert after.seconds - after.busy >= before.seconds - before.busy + 0.29
