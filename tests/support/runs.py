"""Finished runs without Ray and without vLLM: the same plan, shards and commit."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.run.score import finish_run
from pipeline.engine.backends import backend_of
from pipeline.engine.protocol import Engine
from pipeline.planning.plan import open_run
from pipeline.runs.manifest import Manifest, Totals
from pipeline.runs.store import RunStore
from pipeline.scoring.shard import score_shard
from pipeline.settings.config import ScoreConfig
from tests.support.fakes import FakeEngine

ADDED_RULE = "scored_bytes"


def make_run(
    folder: Path, model: Path, texts: list[str | None], *, engine: Engine | None = None, **settings
) -> RunStore:
    """Write `texts` as a corpus in folder/corpus and score it into folder/run."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    half = -(-len(texts) // 2)
    for index, part in enumerate((texts[:half], texts[half:])):
        column = pa.array(part, pa.string())
        pq.write_table(pa.table({"text": column}), corpus / f"{index}.parquet", row_group_size=3)
    return score_corpus(corpus, folder / "run", model, engine=engine, **settings)


def planned_by_0_1_0(manifest: Manifest) -> Manifest:
    """The same plan without the rule that a later version added."""
    rules = manifest.rules.model_copy(update={"scored_bytes": None})
    before = {key: manifest.fingerprint[key] for key in manifest.fingerprint if key != ADDED_RULE}
    return manifest.model_copy(update={"rules": rules, "fingerprint": before})


def score_corpus(
    corpus: Path,
    run: Path,
    model: Path,
    *,
    engine: Engine | None = None,
    planned: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    **settings,
) -> RunStore:
    """Score a corpus that is there into `run`; `planned` makes the plan somebody else's."""
    config = ScoreConfig(
        corpus=str(corpus),
        out=str(run),
        model=str(model),
        **{"dtype": "float32", "shard_tokens": 20, **settings},
    )
    store = RunStore(config.out)
    manifest = planned(open_run(config, store, default_shard_tokens=20)[0])
    store.write_manifest(manifest)
    tokenizer = backend_of(manifest.rules).tokenizer(str(model))
    for shard in manifest.shards:
        score_shard(
            manifest.task(shard.id),
            manifest,
            engine=engine or FakeEngine(),
            tokenizer=tokenizer,
            store=store,
        )
    finish_run(store, manifest, Totals(), 0.0, 0.0)
    return store
