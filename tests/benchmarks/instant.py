"""What the benchmarks of our own cost share: an engine and a tokenizer that cost next to nothing.

Everything else is real: Parquet in, windows, folding, Parquet out.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.protocol import Encoded
from pipeline.engine.vllm.rules import CausalRules
from pipeline.planning.sharding import plan_corpus
from pipeline.runs.manifest import Manifest, encode_schema
from pipeline.schema import Window, WindowScore, part_schema
from tests.support.plans import make_manifest

DOCUMENT_BYTES = 1000
BYTES_PER_TOKEN = 4
ROW_GROUP_ROWS = 5_000
WINDOW_TOKENS = 2048
PREFIX = 0


class InstantEngine:
    """Answers each window with a slice of one array of float32 noise, as float64."""

    def __init__(self) -> None:
        noise = np.random.default_rng(0).exponential(2.5, 1 << 20)
        self._logprobs = -noise.astype(np.float32).astype(np.float64)
        self._at = 0

    def score(self, windows: Iterable[tuple[int, Window]]) -> Iterator[WindowScore]:
        for key, window in windows:
            num_scored = len(window.prompt) - window.num_context
            self._at = (self._at + 7919) % (len(self._logprobs) - WINDOW_TOKENS)
            yield WindowScore(key, self._logprobs[self._at : self._at + num_scored])


class ReadyIds:
    """A tokenizer that has its answer ready: a token for every four characters."""

    def __init__(self) -> None:
        self._ids = [1 + i * i % 49_000 for i in range(1 << 16)]

    def encode(self, texts: Sequence[str], *, offsets: bool = False) -> list[Encoded]:
        assert not offsets
        return [Encoded(self._ids[: len(text) // BYTES_PER_TOKEN], None) for text in texts]


def write_corpus(folder: Path, documents: int, *, files: int = 1) -> Path:
    """English-like texts of about 1 kB, `documents` in all."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(rng.choices(letters, k=rng.choice((2, 3, 4, 5, 5, 7, 9)))) for _ in range(900)]
    pool = [" ".join(rng.choices(words, k=240))[:DOCUMENT_BYTES] for _ in range(500)]
    for number in range(files):
        texts = [f"{i} {pool[i % 500]}"[:DOCUMENT_BYTES] for i in range(number, documents, files)]
        table = pa.table({"text": pa.array(texts, pa.string())})
        pq.write_table(table, folder / f"{number:05d}.parquet", row_group_size=ROW_GROUP_ROWS)
    return folder


def plan(corpus: Path, *, shard_tokens: int = 10**12) -> Manifest:
    """The plan of a corpus, by default as one shard, without a model."""
    planned = plan_corpus(
        str(corpus),
        text_column="text",
        shard_tokens=shard_tokens,
        default_shard_tokens=shard_tokens,
    )
    rules = CausalRules(
        dtype="float32",
        prefix="bos",
        prefix_token_id=PREFIX,
        window_tokens=WINDOW_TOKENS,
        context_tokens=1,
        long_documents="window",
        min_k_percent=20.0,
    )
    return make_manifest(
        corpus=planned.root.location,
        text_column="text",
        id_column=None,
        carried=(),
        part_schema=encode_schema(part_schema(None, [])),
        rules=rules,
        fingerprint={},
        files=planned.files,
        shards=planned.shards,
    )
