"""How much of a score is chance: the trained model, the same documents in other company.

float32 must not move; what bfloat16 does is printed, and docs/numbers.md quotes it.
"""

import random
from pathlib import Path

import polars as pl
import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.engine.windows import plan_windows

WINDOW_TOKENS = 1024
NUM_DOCUMENTS = 24
LIMITS = {"float32": 1e-5, "bfloat16": 2e-2}

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.parametrize("dtype", LIMITS)
def test_company_does_not_matter(dtype: str, smollm2: Path, demo_corpus: Path):
    documents = pl.read_parquet(demo_corpus / "*.parquet").sort("doc_id")
    texts = documents.gather_every(documents.height // NUM_DOCUMENTS)["text"].to_list()
    tokenizer = HubTokenizer(str(smollm2))
    prefix = tokenizer.prefix("auto").token_id
    windows = [
        plan_windows(encoded.ids, prefix=prefix, window_tokens=WINDOW_TOKENS, context_tokens=1)[0]
        for encoded in tokenizer.encode(texts)
    ]

    def nlls(step_tokens: int | None, order: list[int], crowd: bool) -> dict[int, float]:
        engine = VllmEngine(
            EngineSettings(
                str(smollm2), dtype, WINDOW_TOKENS, 49152, max_num_batched_tokens=step_tokens
            )
        )
        keyed = [(index, windows[index]) for index in order]
        batches = [keyed] if crowd else [[entry] for entry in keyed]
        found = {
            score.key: -float(score.logprobs.sum())
            for batch in batches
            for score in engine.score(batch)
        }
        engine.close()
        return found

    order = list(range(len(windows)))
    baseline = nlls(None, order, crowd=True)
    shuffled = random.Random(5).sample(order, len(order))
    others = {
        "shuffled": nlls(None, shuffled, crowd=True),
        "alone": nlls(None, order, crowd=False),
        "256 tokens a step": nlls(256, order, crowd=True),
    }
    for name, found in others.items():
        moved = [abs(found[index] - nll) / nll for index, nll in baseline.items()]
        print(f"\n{dtype}, {name}: nll moves by {max(moved):.2e} at most", end="")
        assert max(moved) <= LIMITS[dtype]
    print()
