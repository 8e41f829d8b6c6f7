"""Run directories whose score rows are made up, without a corpus, a model or an engine."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.runs.manifest import PlannedFile, Success, Totals, encode_schema
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, Span, part_schema
from tests.support.plans import make_manifest

FINGERPRINT: dict[str, Any] = {
    "model_config": "c" * 64,
    "weights": "a" * 64,
    "tokenizer": "t" * 64,
    "dtype": "float32",
    "prefix": "bos",
    "prefix_token_id": 0,
    "window_tokens": 64,
    "context_tokens": 1,
    "long_documents": "window",
    "min_k_percent": 20.0,
    "text_column": "text",
    "schema_version": 2,
}
SCHEMA = part_schema(pa.string(), [pa.field("source", pa.string())])
Row = dict[str, Any]


def row(tokens: int, nats: float, num_bytes: int, **columns: Any) -> Row:
    """A score row; `nats` are of the whole document."""
    metrics = {
        "nll": nats,
        "perplexity": math.exp(nats / tokens),
        "bits_per_token": nats / tokens / math.log(2),
        "bits_per_byte": nats / num_bytes / math.log(2),
    }
    sizes = {"num_tokens": tokens, "num_bytes": num_bytes, "num_scored_bytes": num_bytes}
    return {"status": "ok", **sizes, **metrics, **columns}


def unscored(status: str = "skipped", **columns: Any) -> Row:
    return {"status": status, "num_tokens": 0, "num_bytes": 7, "num_scored_bytes": 0, **columns}


def write_run(
    folder: Path,
    files: dict[str, list[Row]],
    *,
    corpus: str = "/data/corpus",
    model: str = "org/tiny",
    finished: bool = True,
    versions: dict[str, int] | None = None,
    limit: int | None = None,
    **fingerprint: Any,
) -> RunStore:
    """A run in `folder`, one part a file. `fingerprint` keys override; texts of a row follow from
    its file and number, unless it says otherwise."""
    identity = FINGERPRINT | fingerprint
    base = make_manifest()
    names = ("dtype", "prefix", "prefix_token_id", "window_tokens", "context_tokens")
    manifest = base.model_copy(
        update={
            "corpus": corpus,
            "carried": ("source",),
            "part_schema": encode_schema(SCHEMA),
            "model": base.model.model_copy(update={"name": model, "revision": None}),
            "rules": base.rules.model_copy(update={name: identity[name] for name in names}),
            "fingerprint": identity,
            "request": {"corpus": corpus, "limit": limit},
            "text_column": identity["text_column"],
            "unreadable": {},
            "num_rows": sum(map(len, files.values())),
            "files": tuple(
                PlannedFile(
                    path=path,
                    size_bytes=100 + len(rows),
                    mtime_ns=1,
                    num_rows=len(rows),
                    footer_digest=f"{(versions or {}).get(path, 1):032x}",
                )
                for path, rows in files.items()
            ),
            "shards": tuple(
                Shard(i, (Span(i, (0,), 0, len(rows)),), len(rows), 100)
                for i, rows in enumerate(files.values())
            ),
        }
    )
    store = RunStore(str(folder))
    store.write_manifest(manifest)
    for shard, (path, rows) in enumerate(files.items()):
        sized = dict.fromkeys(("num_skipped_tokens", "num_chars", "num_words"), 0)
        sized |= dict.fromkeys(("num_scored_words", "num_windows"), 0)
        values = [
            sized | {"file": path, "row": i, "text_hash": hash_of(path, i)} | one
            for i, one in enumerate(rows)
        ]
        with store.writing_part(shard, SCHEMA) as part:
            part.write(pa.Table.from_pylist(values, schema=SCHEMA))
            part.close(manifest.run_id, shard, identity, seconds=1.0)
    if finished:
        store.write_success(
            Success(
                run_id=manifest.run_id,
                finished_at="2026-01-02T03:04:05+00:00",
                num_shards=len(files),
                num_unreadable_files=0,
                totals=Totals(num_rows=manifest.num_rows),
                wall_seconds=1.0,
                tokens_per_second=None,
            )
        )
    return store


def hash_of(path: str, number: int) -> int:
    """Any number that files and rows do not share."""
    return sum(ord(letter) << (7 * i % 40) for i, letter in enumerate(path)) * 1000 + number
