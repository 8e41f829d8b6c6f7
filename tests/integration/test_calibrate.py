"""`winnow plan --calibrate` with real engines: half a minute of scoring, and no file is left."""

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.backends import backend_for
from pipeline.planning.estimate import Sample
from pipeline.planning.identity import asked_engine
from pipeline.planning.side_by_side import calibrate_together
from pipeline.settings.config import ScoringConfig


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_real_engine_is_measured(
    tiny_model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    cache = tmp_path_factory.mktemp("cache")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = [f"Document {i} says " + "so and so, " * (i % 60) for i in range(200)]
    pq.write_table(pa.table({"text": texts}), corpus / "a.parquet", row_group_size=20)
    command = [sys.executable, "-m", "jobs.cli", "plan", str(corpus), "--model", str(tiny_model)]
    done = subprocess.run(
        [*command, "--calibrate", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "WINNOW_CACHE": str(cache)},
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    speed, (cost,) = plan["calibration"], plan["costs"]
    assert [one["step_tokens"] for one in plan["trials"]] == [4096, 2048, 1024]
    (record,) = (cache / "calibrations").iterdir()
    kept = json.loads(record.read_text())
    assert kept["engines_per_gpu"] == 1
    chosen = {**kept, **speed}
    assert chosen in plan["trials"]
    assert speed["num_chunks"] >= 4
    assert speed["seconds"] > 20
    assert speed["num_tokens"] == pytest.approx(
        speed["tokens_per_second"] * speed["seconds"], abs=2
    )
    assert 0 < speed["spread"] < 1
    hours = plan["estimate"]["prompt_tokens"]["value"] / speed["tokens_per_second"] / 3600
    assert cost["hours"]["value"] == pytest.approx(hours)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_two_real_engines_are_measured_side_by_side(tiny_model: Path):
    """As on a GPU that they share: here they share CPUs, of which each takes one."""
    config = ScoringConfig(model=str(tiny_model), dtype="float32", max_num_batched_tokens=512)
    backend = backend_for(config.model)
    model = backend.load_model(config)
    rules = backend.plan_rules(config, model)
    two = replace(asked_engine(config, model, rules), engines_per_gpu=2, num_threads=1)
    texts = [f"Document {i} says " + "so and so, " * (i % 60) for i in range(200)]

    found = calibrate_together(two, rules, Sample(texts, [1.0] * 200), seconds=5)

    assert found.tokens_per_second > 0
    assert found.seconds > 3
    assert found.num_chunks >= 1
    assert multiprocessing.active_children() == []
