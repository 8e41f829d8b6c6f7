"""Does time grow with the corpus and memory not? 1, 4 and 16 times the documents.

    make bench-growth     (or: python -m tests.benchmarks.bench_growth [DOCUMENTS] [ROUNDS])

Each size is planned and scored, shard after shard, by a process of its own with the engine and the
tokenizer that cost nothing (instant.py). Sizes take turns, so that a machine that drifts drifts for
all of them. Time is the processor's; memory is the kernel's high-water mark of the process.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.engine.vllm.sizing import freeze_gc
from pipeline.runs.store import RunStore
from pipeline.scoring.shard import score_shard
from tests.benchmarks.instant import InstantEngine, ReadyIds, plan, write_corpus

DOCUMENTS = 160_000
ROUNDS = 3
SIZES = (1, 4, 16)
FILE_DOCUMENTS = 10_000
SHARD_TOKENS = 4_000_000
"""Two files make a shard."""


def peak_bytes() -> int:
    """Of this process alone: what getrusage tells is inherited from the parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def child(corpus: str, run: str) -> None:
    """Score a corpus, print {documents, shards, cpu_seconds, peak_bytes}."""
    started = time.process_time()
    manifest = plan(Path(corpus), shard_tokens=SHARD_TOKENS)
    engine, store, documents = InstantEngine(), RunStore(run), 0
    freeze_gc()  # as an engine does when it has started
    for shard in manifest.shards:
        totals = score_shard(
            manifest.task(shard.id),
            manifest,
            engine=engine,
            tokenizer=ReadyIds(),  # type: ignore[arg-type]
            store=store,
        )
        documents += totals.num_rows
    answer = {
        "documents": documents,
        "shards": len(store.done()),
        "cpu_seconds": time.process_time() - started,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(answer))


def main(documents: int = DOCUMENTS, rounds: int = ROUNDS) -> None:
    answers: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory() as scratch:
        original = write_corpus(
            Path(scratch) / "1", documents, files=-(-documents // FILE_DOCUMENTS)
        )
        for size in SIZES[1:]:
            copies = Path(scratch) / str(size)
            copies.mkdir()
            for number in range(size):
                for file in original.iterdir():
                    (copies / f"{number:02d}-{file.name}").hardlink_to(file)
        for number in range(rounds):
            for size in SIZES:
                run = Path(scratch) / f"run-{size}-{number}"
                command = [sys.executable, "-m", "tests.benchmarks.bench_growth", "--child"]
                command += [str(Path(scratch) / str(size)), str(run)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                answers[size].append(json.loads(done.stdout))
                assert answers[size][-1]["documents"] == size * documents
    base = medians(answers[SIZES[0]])
    print("| documents | shards | CPU s | CPU per document / 1x | peak MiB | peak / 1x |")
    print("|---|---|---|---|---|---|")
    for size, found in answers.items():
        cpu, peak = medians(found)
        print(
            f"| {size * documents:,} | {found[0]['shards']} | {cpu:.2f} "
            f"| {cpu / size / base[0]:.3f} | {peak / 2**20:.0f} | {peak / base[1]:.3f} |"
        )


def medians(answers: list[dict[str, float]]) -> tuple[float, float]:
    """CPU seconds and peak bytes."""
    cpu, peak = (
        statistics.median(a[key] for a in answers) for key in ("cpu_seconds", "peak_bytes")
    )
    return cpu, peak


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(*[int(argument) for argument in sys.argv[1:]])
