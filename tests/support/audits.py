"""Nights without Ray and without vLLM: a corpus, its configuration, and scoring done right here."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.nights.audit import Score, run_night
from jobs.nights.night import load_night
from jobs.run.score import Outcome, finish_run
from pipeline.audits.record import Audit
from pipeline.engine.protocol import Engine
from pipeline.engine.vllm.tokenizer import HubTokenizer
from pipeline.planning.plan import open_run
from pipeline.planning.reuse import take_over
from pipeline.runs.manifest import Totals
from pipeline.runs.store import RunStore
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig
from tests.support.fakes import FakeEngine


class Silent:
    """A listener that nobody listens to."""

    def phase(self, text: str) -> None: ...

    def begin(self, num_rows: int, num_done: int) -> None: ...

    def advance(self, num_rows: int, num_tokens: int, seconds: float) -> None: ...


class Scorer:
    """The scoring step, in this process; counts the shards that were scored, not taken over.

    `give_up` is a number of shards that fail.
    """

    def __init__(self, engine: Engine | None = None, give_up: int = 0) -> None:
        self.engine = engine or FakeEngine()
        self.give_up = give_up
        self.num_scored = 0
        self.num_calls = 0

    def __call__(self, config: ScoreConfig, listener: Any) -> Outcome:
        self.num_calls += 1
        store = RunStore(config.out)
        manifest, is_new = open_run(config, store, default_shard_tokens=20)
        if is_new:
            store.write_manifest(manifest)
            for index, (path, reason) in enumerate(manifest.unreadable.items()):
                store.write_failure(f"file-{index:05d}", {"file": path, "reason": reason})
        take_over(store, manifest)
        tokenizer = HubTokenizer(config.model)
        left = [shard for shard in manifest.shards if shard.id not in store.done()]
        for shard in left[: len(left) - self.give_up]:
            store.clear_failure(f"{shard.id:05d}")
            score_shard(
                manifest.task(shard.id),
                manifest,
                engine=self.engine,
                tokenizer=tokenizer,
                store=store,
            )
            self.num_scored += 1
        for shard in left[len(left) - self.give_up :]:
            store.write_failure(f"{shard.id:05d}", {"shard": shard.id, "reason": "made to"})
        success = finish_run(store, manifest, Totals(), 0.0, 0.0)
        return Outcome(manifest, success, len(left), store.failures())


class Audits:
    """A corpus, a folder of nights and a configuration that tests change."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        self.runs = folder / "runs"
        self.file = folder / "nightly.toml"
        self.model = model
        self.configure()

    def configure(self, audit: str = "", *, score: str = "", extra: str = "") -> None:
        """Write the file: keys of [audit], keys of [score], and tables after them."""
        self.file.write_text(
            f'[score]\ncorpus = "{self.corpus}"\nmodel = "{self.model}"\n'
            f'carry = ["source"]\ndtype = "float32"\nshard_tokens = 20\n{score}\n'
            f'[audit]\nruns = "{self.runs}"\n{audit}\n{extra}'
        )

    def write(self, name: str, texts: list[str | None], sources: list[str] | None = None) -> None:
        """A file of the corpus."""
        table = {
            "id": [f"{name}/{i}" for i in range(len(texts))],
            "text": pa.array(texts, pa.string()),
            "source": sources or ["web" if i % 3 else "books" for i in range(len(texts))],
        }
        pq.write_table(pa.table(table), self.corpus / f"{name}.parquet", row_group_size=5)

    def night(self, name: str, scorer: Score | None = None, **options: Any) -> Audit:
        """Carry a night out."""
        record, _ = run_night(
            load_night(self.file, name), Silent(), score=scorer or Scorer(), **options
        )
        return record
