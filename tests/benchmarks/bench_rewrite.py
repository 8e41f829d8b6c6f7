"""`winnow filter` writing a corpus again, against Polars scanning and sinking the same files.

    python -m tests.benchmarks.bench_rewrite [DOCUMENTS] [ROUNDS] [FOLDER]

Documents of random words, some 2 kB each, zstd; scores are made up. Three sides take turns, the
other way round in every second round, each in a process of its own whose start is on no clock: what
the command does, deciding, checks and verifiable output included; Polars writing every row; Polars
writing about as many rows as the filter keeps, by a column that the corpus has.
"""

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.filters.config import FilterConfig
from pipeline.filters.filtering import decide
from pipeline.filters.output import FilterWriter
from pipeline.statistics.hashing import hash_bytes
from tests.benchmarks.bench_reports import make_run

DOCUMENTS = 1_000_000
ROUNDS = 5
ROWS_A_FILE = 50_000
ROW_GROUP_ROWS = 10_000
KEPT_PERCENT = 80


def write_texts(path: Path, rows: int) -> list[int]:
    """A file of the corpus; `place` is from 0 to 99. Returns the hashes of its texts."""
    rng = random.Random(path.name)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.choice((2, 4, 5, 7)))) for _ in range(2000)]
    texts = [" ".join(rng.choices(words, k=rng.randrange(40, 720))) for _ in range(rows)]
    table = pa.table({"text": texts, "place": [rng.randrange(100) for _ in range(rows)]})
    pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS, compression="zstd")
    return [hash_bytes(text.encode()) for text in texts]


def winnow(folder: Path, out: Path) -> None:
    config = FilterConfig(
        run=str(folder / "run"), percentile=(0, KEPT_PERCENT), out=str(out), unscored="keep"
    )
    FilterWriter(decide(config), str(out)).write()


def polars_all(folder: Path, out: Path) -> None:
    _sink(folder, out, pl.lit(True))


def polars_filtered(folder: Path, out: Path) -> None:
    _sink(folder, out, pl.col("place") < KEPT_PERCENT)


def _sink(folder: Path, out: Path, kept: pl.Expr) -> None:
    out.mkdir()
    for file in sorted((folder / "corpus").iterdir()):
        pl.scan_parquet(file).filter(kept).sink_parquet(
            out / file.name, compression="zstd", row_group_size=ROW_GROUP_ROWS
        )


SIDES = {"winnow filter": winnow, "polars, all": polars_all, "polars, filtered": polars_filtered}


def measure(side: str, folder: str, out: str) -> None:
    """Child process: one side, once; prints {seconds, cpu_seconds}."""
    started, used = time.monotonic(), time.process_time()
    SIDES[side](Path(folder), Path(out))
    figures = {"seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - used}
    print(json.dumps(figures))


def main(documents: int = DOCUMENTS, rounds: int = ROUNDS, given: str | None = None) -> None:
    folder = Path(given or tempfile.mkdtemp(prefix="winnow-bench-rewrite-"))
    try:
        if not (folder / "run" / "_SUCCESS").exists():
            make_run(folder, documents, rows_a_part=ROWS_A_FILE, write_file=write_texts)
        size = sum(path.stat().st_size for path in (folder / "corpus").iterdir())
        print(f"{documents:,} documents, {size / 1e9:.2f} GB", flush=True)
        ratios: dict[str, list[float]] = {side: [] for side in list(SIDES)[1:]}
        for number in range(rounds):
            took = {}
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                out = folder / "out"
                command = [sys.executable, "-m", "tests.benchmarks.bench_rewrite", "--side", side]
                done = subprocess.run(
                    [*command, str(folder), str(out)], check=True, capture_output=True, text=True
                )
                took[side] = json.loads(done.stdout)
                shutil.rmtree(out)
            ours = took["winnow filter"]["seconds"]
            for side, found in ratios.items():
                found.append(took[side]["seconds"] / ours)
            each = ", ".join(
                f"{side} {one['seconds']:.1f} s ({one['cpu_seconds']:.1f} CPU)"
                for side, one in took.items()
            )
            print(f"round {number + 1}: {each}", flush=True)
        for side, found in ratios.items():
            low, high = min(found), max(found)
            print(
                f"speed against {side}: median {statistics.median(found):.2f} "
                f"({low:.2f} to {high:.2f}), goal 0.7"
            )
    finally:
        if given is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        measure(*sys.argv[2:])
    else:
        main(*[int(argument) for argument in sys.argv[1:3]], *sys.argv[3:])
