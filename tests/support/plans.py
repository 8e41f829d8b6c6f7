"""A small manifest whose every field differs from its default, for tests to write and change."""

import pyarrow as pa

from pipeline.engine.rules import ModelRecord
from pipeline.engine.vllm.rules import CausalRules
from pipeline.runs.manifest import Manifest, PlannedFile, encode_schema
from pipeline.schema import Shard, Span, part_schema

DIGEST = "0123456789abcdef" * 4
CARRIED = [
    pa.field("source", pa.dictionary(pa.int32(), pa.string())),
    pa.field("seen", pa.timestamp("us", tz="UTC")),
    pa.field("tags", pa.list_(pa.struct({"name": pa.large_string(), "weight": pa.float32()}))),
]
SCHEMA = part_schema(pa.int64(), CARRIED)


def make_manifest(**changes: object) -> Manifest:
    """Three shards over two files; `changes` replace fields, unvalidated."""
    manifest = Manifest(
        run_id="5f" * 16,
        created_at="2026-01-02T03:04:05+00:00",
        corpus="/data/corpus",
        text_column="body",
        id_column="key",
        carried=("source", "seen", "tags"),
        part_schema=encode_schema(SCHEMA),
        model=ModelRecord(
            name="org/tiny",
            folder="/models/tiny",
            revision="main",
            architecture="LlamaForCausalLM",
            vocab_size=258,
            trust_remote_code=True,
        ),
        reuse=None,
        scoring="prompt_logprobs",
        rules=CausalRules(
            dtype="float32",
            prefix="bos",
            prefix_token_id=0,
            window_tokens=64,
            context_tokens=8,
            long_documents="truncate",
            min_k_percent=12.5,
        ),
        fingerprint={"weights": DIGEST, "window_tokens": 64, "min_k_percent": 12.5},
        request={"corpus": "/data/corpus", "carry": ["source", "seen", "tags"], "limit": None},
        versions={"pyarrow": "1.2.3"},
        num_rows=11,
        text_bytes=1234,
        estimated_tokens=321,
        unreadable={"torn.parquet": "not a readable Parquet file"},
        files=(
            PlannedFile(path="a.parquet", size_bytes=10, mtime_ns=1_700_000_000_123, num_rows=7),
            PlannedFile(path="b/é 😀.parquet", size_bytes=20, mtime_ns=2**62, num_rows=4),
        ),
        shards=(
            Shard(0, (Span(0, (0, 1), 0, 5),), 5, 600),
            Shard(1, (Span(0, (2,), 5, 2), Span(1, (0,), 0, 1)), 3, 400),
            Shard(2, (Span(1, (1, 2), 1, 3),), 3, 234),
        ),
    )
    return manifest.model_copy(update=changes)
