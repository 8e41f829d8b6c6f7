"""`winnow report`, and what `winnow filter` decides, on made-up score rows, against a bare scan.

    make bench-reports     (or: python -m tests.benchmarks.bench_reports [ROWS] [FOLDER])

Writes a real run directory: manifest, parts with the real schema, `_SUCCESS`, and a corpus whose
texts are all alike, so that excerpts find something to read. Lengths are log-normal, mean nll is
normal within a source, a tenth of the texts are copies. Each side runs in a process of its own;
peak memory is the kernel's. The result is JSON on stdout.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.filters.config import FilterConfig
from pipeline.filters.filtering import decide
from pipeline.reports.report import build_report
from pipeline.runs.manifest import PlannedFile, Success, add_totals, encode_schema
from pipeline.runs.scores import scan_scores
from pipeline.runs.store import RunStore
from pipeline.schema import Shard, Span, part_schema
from pipeline.statistics.hashing import hash_bytes
from tests.support.plans import make_manifest

ROWS = 10_000_000
ROWS_A_PART = 1_000_000
SOURCES = ("web", "books", "code", "wiki", "forum", "news", "noise")
SHARES = (0.50, 0.10, 0.12, 0.08, 0.10, 0.08, 0.02)
TEXT = "Every text of this corpus is the same. " * 10
DISTINCT_COPIES = 2_000_000
READ = ["source", "status", "error", "num_tokens", "num_bytes", "num_scored_bytes", "text_hash"]
READ += ["nll", "perplexity", "bits_per_byte", "file", "row"]


def make_part(rng: np.random.Generator, file: str, rows: int, schema: pa.Schema) -> pa.Table:
    """Score rows of one file."""
    source = rng.choice(len(SOURCES), rows, p=SHARES)
    tokens = np.maximum(1, rng.lognormal(5.8, 1.0, rows)).astype(np.int64)
    size = np.maximum(1, tokens * rng.normal(4.2, 0.5, rows).clip(1, 9)).astype(np.int64)
    mean_nll = np.maximum(0.01, rng.normal(2.7, 0.45, rows) + 3.0 * (source == 6))
    nll = mean_nll * tokens
    hashes = rng.integers(-(2**63), 2**63 - 1, rows)
    copies = rng.random(rows) < 0.1
    hashes[copies] = rng.integers(0, DISTINCT_COPIES, int(copies.sum())) * 982_451_653
    hashes[:1] = hash_bytes(TEXT.encode())
    scored = rng.random(rows) > 0.001
    columns = {
        "file": pa.repeat(pa.scalar(file), rows),
        "row": np.arange(rows),
        "source": pa.array(SOURCES).take(pa.array(source)),
        "status": pa.array(["error", "ok"]).take(pa.array(scored.astype(int))),
        "error": pa.array(np.where(scored, None, "nonfinite"), pa.string()),
        "num_tokens": np.where(scored, tokens, 0),
        "num_skipped_tokens": np.where(scored, 0, tokens),
        "num_bytes": size,
        "num_chars": size,
        "num_words": size // 6,
        "num_scored_bytes": np.where(scored, size, 0),
        "num_scored_words": np.where(scored, size // 6, 0),
        "text_hash": hashes,
        "num_windows": np.ones(rows, np.int64),
        "nll": pa.array(nll, mask=~scored),
        "nll_std": pa.array(mean_nll * 0.8, mask=~scored),
        "max_nll": pa.array(mean_nll * 4, mask=~scored),
        "min_k_logprob": pa.array(-2 * mean_nll, mask=~scored),
        "perplexity": pa.array(np.exp(mean_nll), mask=~scored),
        "bits_per_token": pa.array(mean_nll / np.log(2), mask=~scored),
        "bits_per_byte": pa.array(nll / np.log(2) / size, mask=~scored),
        "word_perplexity": pa.array(np.exp(np.minimum(mean_nll * 1.4, 700)), mask=~scored),
    }
    return pa.table(columns).cast(schema)


def same_texts(path: Path, rows: int) -> None:
    """A file of the corpus, the same text in each row."""
    pq.write_table(pa.table({"text": pa.repeat(pa.scalar(TEXT), rows)}), path)


def make_run(
    folder: Path,
    rows: int,
    *,
    rows_a_part: int = ROWS_A_PART,
    write_file: Callable[[Path, int], list[int] | None] = same_texts,
) -> RunStore:
    """A finished run of `rows` score rows, and its corpus, in `folder`.

    `write_file` may return the hashes of its texts, for a run whose corpus is read back.
    """
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    sizes = [min(rows_a_part, rows - at) for at in range(0, rows, rows_a_part)]
    files, hashes = [], []
    for i, size in enumerate(sizes):
        path = corpus / f"{i:05d}.parquet"
        hashes.append(write_file(path, size))
        found = path.stat()
        files.append(
            PlannedFile(
                path=path.name,
                size_bytes=found.st_size,
                mtime_ns=found.st_mtime_ns,
                num_rows=size,
            )
        )
    schema = part_schema(None, [pa.field("source", pa.string())])
    manifest = make_manifest(
        corpus=str(corpus),
        text_column="text",
        id_column=None,
        carried=("source",),
        part_schema=encode_schema(schema),
        fingerprint={"weights": "made-up", "tokenizer": "made-up"},
        num_rows=rows,
        text_bytes=rows * len(TEXT),
        unreadable={},
        files=tuple(files),
        shards=tuple(
            Shard(i, (Span(i, (0,), 0, size),), size, size * len(TEXT))
            for i, size in enumerate(sizes)
        ),
    )
    store = RunStore(str(folder / "run"))
    store.write_manifest(manifest)
    rng = np.random.default_rng(0)
    totals = []
    for shard, file, own in zip(manifest.shards, files, hashes, strict=True):
        with store.writing_part(shard.id, schema) as part:
            table = make_part(rng, file.path, shard.num_rows, schema)
            if own is not None:
                at = schema.get_field_index("text_hash")
                table = table.set_column(at, schema.field(at), pa.array(own, pa.int64()))
            for at in range(0, shard.num_rows, 1 << 16):
                part.write(table.slice(at, 1 << 16))
            totals.append(part.close(manifest.run_id, shard.id, manifest.fingerprint, 60.0))
    whole = add_totals(totals)
    store.write_success(
        Success(
            run_id=manifest.run_id,
            finished_at="2026-01-01T01:00:00+00:00",
            num_shards=len(sizes),
            num_unreadable_files=0,
            totals=whole,
            wall_seconds=3600.0,
            tokens_per_second=whole.num_tokens / whole.seconds,
        )
    )
    return store


def bare(store: RunStore) -> None:
    """Decode every column that a report reads, and nothing else."""
    scores = scan_scores(store, store.require_manifest())
    numbers = [pl.col(name).sum() for name in READ if scores.collect_schema()[name].is_numeric()]
    texts = [pl.col(name).count() for name in READ if scores.collect_schema()[name] == pl.String]
    scores.select(*numbers, *texts).collect(engine="streaming")


def scored_tokens(store: RunStore) -> int:
    success = store.success()
    assert success is not None
    return success.totals.num_tokens


SIDES = {
    "bare scan": bare,
    "report": lambda store: build_report(store, by=("source",)),
    "report --separate": lambda store: build_report(store, by=("source",), separate="source=noise"),
    "report --fail-if": lambda store: build_report(
        store, by=("source",), fail_if=("p95(perplexity) > 200",)
    ),
    "filter --percentile --within": lambda store: decide(
        FilterConfig(run=store.location, percentile=(10, 90), within="source")
    ),
    "filter --percentile --within --weight": lambda store: decide(
        FilterConfig(run=store.location, percentile=(10, 90), within="source", weight="tokens")
    ),
    "filter --drop-copies low": lambda store: decide(
        FilterConfig(run=store.location, drop_copies="low")
    ),
    "filter --budget-tokens --within": lambda store: decide(
        FilterConfig(run=store.location, budget_tokens=scored_tokens(store) // 3, within="source")
    ),
    "filter --budget-tokens --prefer middle": lambda store: decide(
        FilterConfig(run=store.location, budget_tokens=scored_tokens(store) // 3, prefer="middle")
    ),
}


def peak_gb() -> float:
    """The most memory that this process has had."""
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e9


def measure(side: str, location: str) -> None:
    """Child process: one side, once; prints {seconds, cpu_seconds, peak_gb}."""
    store = RunStore(location)
    started, used = time.monotonic(), time.process_time()
    SIDES[side](store)
    seconds, used = time.monotonic() - started, time.process_time() - used
    figures = {"seconds": seconds, "cpu_seconds": used, "peak_gb": peak_gb()}
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def main() -> None:
    """Generate if need be, measure each side, print the result."""
    rows = int(float(sys.argv[1])) if len(sys.argv) > 1 else ROWS
    given = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = given or Path(tempfile.mkdtemp(prefix="winnow-bench-reports-"))
    try:
        location = folder / "run"
        if not (location / "_SUCCESS").exists():
            make_run(folder, rows)
        result = {}
        for side in SIDES:
            command = [sys.executable, "-m", "tests.benchmarks.bench_reports", "--side", side]
            ended = subprocess.run(
                [*command, str(location)], check=True, capture_output=True, text=True
            )
            result[side] = json.loads(ended.stdout)
        for found in result.values():
            for name in ("seconds", "cpu_seconds"):
                found[f"{name}_to_bare"] = round(found[name] / result["bare scan"][name], 1)
        size = sum(path.stat().st_size for path in location.glob("scores/*"))
        print(json.dumps({"rows": rows, "bytes": size, "sides": result}, indent=2))
    finally:
        if given is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        measure(sys.argv[2], sys.argv[3])
    else:
        main()
