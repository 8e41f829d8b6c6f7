"""What Winnow itself costs a document, with an engine and a tokenizer that cost nothing.

    make bench-overhead   (or: python -m tests.benchmarks.bench_overhead [DOCUMENTS] [ROUNDS])

`score_shard` reads Parquet, cuts windows, folds log-probabilities and writes a part; the time is
that of the processor, of all threads, so that a busy machine counts for little. `--profile` prints
where it goes instead.
"""

import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pipeline.engine.vllm.sizing import freeze_gc
from pipeline.runs.manifest import Totals
from pipeline.runs.store import RunStore
from pipeline.scoring.shard import score_shard
from tests.benchmarks.instant import InstantEngine, ReadyIds, plan, write_corpus

DOCUMENTS = 50_000
ROUNDS = 5
GOAL = 20_000
"""Documents a second and core."""


def score(corpus: Path, run: Path) -> Totals:
    manifest = plan(corpus)
    return score_shard(
        manifest.task(0),
        manifest,
        engine=InstantEngine(),
        tokenizer=ReadyIds(),  # type: ignore[arg-type]
        store=RunStore(str(run)),
    )


def main(documents: int = DOCUMENTS, rounds: int = ROUNDS, *, profile: bool = False) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        corpus = write_corpus(Path(scratch) / "corpus", documents)
        score(write_corpus(Path(scratch) / "warm", 1000), Path(scratch) / "warm-up")
        freeze_gc()  # as an engine does when it has started
        if profile:
            # The thread that reads ahead is not in it.
            with cProfile.Profile(time.thread_time) as profiler:
                score(corpus, Path(scratch) / "run")
            pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
            return
        rates = []
        for number in range(rounds):
            wall, cpu = time.monotonic(), time.process_time()
            totals = score(corpus, Path(scratch) / f"run-{number}")
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            rates.append(totals.num_rows / cpu)
            print(
                f"round {number + 1}: {rates[-1]:,.0f} documents a second and core "
                f"({1e6 * cpu / totals.num_rows:.1f} us each, {wall:.1f} s of wall clock)",
                flush=True,
            )
        print(
            f"median {statistics.median(rates):,.0f} documents a second and core "
            f"({min(rates):,.0f} to {max(rates):,.0f}), goal {GOAL:,}"
        )


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(*numbers, profile="--profile" in sys.argv[1:])
