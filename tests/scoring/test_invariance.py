"""A document's score does not depend on its company: float32, to 1e-5 relative.

The real engine on the tiny model, through `score_shard`; two workers are in
integration/test_cli_flow.py, the trained model and bfloat16 in parity/test_noise.py.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.protocol import EngineSettings
from pipeline.engine.vllm.engine import VllmEngine
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.planning.plan import open_run
from pipeline.runs.store import RunStore
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig

TOLERANCE = 1e-5
WINDOW_TOKENS = 300
NUM_DOCUMENTS = 40


def texts() -> list[str]:
    rng = random.Random(3)
    words = ["the", "of", "corpus", "a", "model", "finds", "which", "surprising", "😀", "\x00"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 120))) for _ in range(NUM_DOCUMENTS)]


def make_engine(model: Path, step_tokens: int | None) -> VllmEngine:
    settings = EngineSettings(
        str(model), "float32", WINDOW_TOKENS, 258, max_num_batched_tokens=step_tokens
    )
    return VllmEngine(settings)


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[VllmEngine]:
    engine = make_engine(tiny_model, None)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """texts, engine, settings -> text to nll."""

    def score(documents: list[str], engine: VllmEngine, **settings) -> dict[str, float]:
        folder = tmp_path_factory.mktemp("scored")
        pq.write_table(pa.table({"text": documents}), folder / "c.parquet", row_group_size=4)
        config = ScoreConfig(
            corpus=str(folder / "c.parquet"),
            out=str(folder / "run"),
            model=str(tiny_model),
            **{"window_tokens": WINDOW_TOKENS, "carry": ("text",), **settings},
        )
        store = RunStore(config.out)
        manifest, _ = open_run(config, store, default_shard_tokens=10_000)
        store.write_manifest(manifest)
        tokenizer = HubTokenizer(str(tiny_model))
        for shard in manifest.shards:
            score_shard(
                manifest.task(shard.id), manifest, engine=engine, tokenizer=tokenizer, store=store
            )
        rows = pl.read_parquet(folder / "run" / "scores" / "*.parquet")
        assert rows.height == len(documents)
        return dict(rows.select("text", "nll").iter_rows())

    return score


@pytest.fixture(scope="module")
def baseline(scored, engine) -> dict[str, float]:
    return scored(texts(), engine)


def same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() <= expected.keys()
    for text, nll in found.items():
        assert nll == pytest.approx(expected[text], rel=TOLERANCE)


def test_shuffled(scored, engine, baseline):
    shuffled = texts()
    random.Random(4).shuffle(shuffled)
    same(scored(shuffled, engine), baseline)


@pytest.mark.parametrize("shard_tokens", [1, 300, 100_000])
def test_other_shard_sizes(scored, engine, baseline, shard_tokens):
    same(scored(texts(), engine, shard_tokens=shard_tokens), baseline)


def test_alone(scored, engine, baseline):
    for text in texts()[:5]:
        same(scored([text], engine), baseline)


def test_other_windows_for_short_documents(scored, engine, baseline):
    short = [text for text in texts() if len(text.encode()) < 100]
    assert len(short) > 3
    same(scored(short, engine, window_tokens=101), baseline)


def test_a_small_token_budget(scored, baseline, tiny_model):
    """Every document is prefilled in several chunks, mixed with pieces of others."""
    small = make_engine(tiny_model, 32)
    try:
        same(scored(texts(), small), baseline)
    finally:
        small.close()
