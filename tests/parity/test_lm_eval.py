"""`context_tokens = 1` is `loglikelihood_rolling` of lm-evaluation-harness, run for real.

Its transformers backend scores the same texts with the same model in float32, in a process of its
own whose packages `make test-parity` puts into .venv-lm-eval.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows

PACKAGES = Path(__file__).parents[2] / ".venv-lm-eval"
WINDOW_TOKENS = 129
"""Small, so that most documents take several windows, and the last one looks back."""
NUM_DOCUMENTS = 12
TOLERANCE = 1e-5

pytestmark = [
    pytest.mark.skipif(not PACKAGES.is_dir(), reason="needs .venv-lm-eval: run make test-parity"),
    pytest.mark.timeout(1200),
]


def test_equals_loglikelihood_rolling(smollm2: Path, demo_corpus: Path):
    documents = pl.read_parquet(demo_corpus / "*.parquet").filter(pl.col("source") != "base64")
    # The harness reads special-token strings as control tokens; these texts have none.
    texts = documents.sort("doc_id").gather_every(documents.height // NUM_DOCUMENTS)["text"]
    texts = texts.to_list()

    child = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("lm_eval_rolling.py")),
            str(smollm2),
            str(WINDOW_TOKENS - 1),
        ],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGES), "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    theirs = json.loads(child.stdout.splitlines()[-1])

    tokenizer = HubTokenizer(str(smollm2))
    prefix = tokenizer.prefix("auto").token_id
    engine = VllmEngine(EngineSettings(str(smollm2), "float32", WINDOW_TOKENS, 49152))
    ours, num_windows = [], 0
    for encoded in tokenizer.encode(texts):
        windows = plan_windows(
            encoded.ids, prefix=prefix, window_tokens=WINDOW_TOKENS, context_tokens=1
        )
        ours.append(-sum(score.logprobs.sum() for score in engine.score(enumerate(windows))))
        num_windows += len(windows)
    engine.close()

    errors = [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]
    print(
        f"\nlm-evaluation-harness, {len(texts)} documents, {num_windows} windows: relative "
        f"difference of nll {max(errors):.2e} at most, {sum(errors) / len(errors):.2e} on average"
    )
    assert num_windows > 2 * len(texts)
    assert max(errors) < TOLERANCE
