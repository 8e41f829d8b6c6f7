"""Figures that others published, where the model can be had.

Name a folder with the model in the environment; without it the test is skipped and says so.
"""

import math
import os
from pathlib import Path

import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows

GPT2 = os.environ.get("WINNOW_TEST_GPT2", "")


@pytest.mark.skipif(
    not Path(GPT2, "config.json").is_file(),
    reason="needs WINNOW_TEST_GPT2: a folder with openai-community/gpt2 (124M) in safetensors",
)
def test_gpt2_of_hugging_face_evaluate():
    """README of huggingface/evaluate, measurements/perplexity, add_start_token=False.

    ["lorem ipsum", "Happy Birthday!", "Bienvenue"]: mean 646.74, the first 32.25. The first token
    is not scored, which is `--prefix none`.
    """
    tokenizer = HubTokenizer(GPT2)
    engine = VllmEngine(EngineSettings(GPT2, "float32", 1023, 50257))
    perplexities = []
    for encoded in tokenizer.encode(["lorem ipsum", "Happy Birthday!", "Bienvenue"]):
        windows = plan_windows(encoded.ids, prefix=None, window_tokens=1023, context_tokens=1)
        [score] = engine.score(enumerate(windows))
        perplexities.append(math.exp(-score.logprobs.mean()))
    engine.close()
    assert perplexities[0] == pytest.approx(32.25, abs=0.01)
    assert sum(perplexities) / 3 == pytest.approx(646.74, abs=0.1)
