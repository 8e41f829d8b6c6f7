"""Do two workers score twice as fast as one? The real command, an engine of one thread each.

    python -m tests.benchmarks.bench_workers [DOCUMENTS] [ROUNDS]

One worker is held to one core, Ray included; two workers have two cores. The rates exclude
start-up. Documents are spread over files of about one length, each a shard, so that neither worker
is left with a long one at the end. Sides take turns, the other way round in every second round.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import polars as pl

from jobs.demo.corpus import build_demo_corpus
from jobs.demo.model import demo_model
from tests.benchmarks.bench_score import WINDOW_TOKENS, child

DOCUMENTS = 120
ROUNDS = 3
DOCUMENTS_PER_FILE = 3


def spread(source: Path, target: Path, documents: int) -> Path:
    """The first documents of a corpus, as files of about as many characters each."""
    target.mkdir()
    rows = pl.scan_parquet(source / "*.parquet").head(documents).collect().to_dicts()
    files: list[list[dict[str, str]]] = [[] for _ in range(-(-len(rows) // DOCUMENTS_PER_FILE))]
    for row in sorted(rows, key=lambda row: -len(row["text"])):
        min(files, key=lambda file: sum(len(one["text"]) for one in file)).append(row)
    for number, file in enumerate(files):
        pl.DataFrame(file).write_parquet(target / f"{number:03d}.parquet")
    return target


def rate(workers: int, corpus: Path, run: Path, model: str) -> float:
    """Tokens per second."""
    command = ["-m", "jobs.cli", "score", str(corpus), "--out", str(run), "--model", model]
    command += ["--workers", str(workers), "--json", "--no-dedup"]
    command += ["--window-tokens", str(WINDOW_TOKENS), "--shard-tokens", "1"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:workers])  # the command inherits it
    try:
        answer = json.loads(child(*command))
    finally:
        os.sched_setaffinity(0, cores)
    return float(answer["tokens_per_second"])


def main(documents: int = DOCUMENTS, rounds: int = ROUNDS) -> None:
    model = str(demo_model())
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        demo = build_demo_corpus(Path(scratch) / "demo")
        corpus = spread(demo, Path(scratch) / "corpus", documents)
        for number in range(rounds):
            rates = {
                workers: rate(workers, corpus, Path(scratch) / f"{number}-{workers}", model)
                for workers in ((1, 2) if number % 2 == 0 else (2, 1))
            }
            ratios.append(rates[2] / rates[1])
            print(
                f"round {number + 1}: one worker {rates[1]:,.0f} tokens/s, two {rates[2]:,.0f}, "
                f"ratio {ratios[-1]:.2f}",
                flush=True,
            )
    low, high = min(ratios), max(ratios)
    print(f"ratio: median {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}), goal 1.8")


if __name__ == "__main__":
    main(*[int(argument) for argument in sys.argv[1:]])
