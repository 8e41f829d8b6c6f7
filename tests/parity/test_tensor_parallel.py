"""A model that two ranks share scores as one that a process has for itself.

In a process of its own: the ranks are child processes that begin by importing its main module.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.schema import Window

WINDOW_TOKENS = 200


def score(model: str, vocab_size: int, ranks: int) -> None:
    """Child process: print {key: log-probabilities} of a few random windows."""
    from pipeline.engine.vllm.engine import VllmEngine

    random = np.random.default_rng(1)
    windows = [Window(random.integers(0, vocab_size, n).tolist(), 1) for n in (5, 50, 190)]
    settings = EngineSettings(
        model,
        "float32",
        WINDOW_TOKENS,
        vocab_size,
        scoring="fused",
        architecture="LlamaForCausalLM",
        tensor_parallel_size=ranks,
        max_num_batched_tokens=64,
    )
    scores = VllmEngine(settings).score(enumerate(windows))
    print(json.dumps({score.key: score.logprobs.tolist() for score in scores}))


@pytest.mark.parity
def test_two_ranks_score_as_one(tiny_model: Path):
    vocab_size = json.loads((tiny_model / "config.json").read_text())["vocab_size"]
    answers = []
    for ranks in (1, 2):
        arguments = [str(tiny_model), str(vocab_size), str(ranks)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.parity.test_tensor_parallel", *arguments],
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = answers
    assert one.keys() == two.keys()
    for key, logprobs in one.items():
        np.testing.assert_allclose(two[key], logprobs, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    score(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
