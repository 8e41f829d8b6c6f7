"""jobs/run/score.py without Ray: what a run leaves behind. With one, integration/test_faults.py."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.run import score
from pipeline.settings.config import ScoreConfig
from tests.support.faulty import Silent, healthy

HALF = "scores/.tmp-0-part-00000.parquet"


@pytest.mark.parametrize(
    "ending", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr
)
def test_workers_that_are_killed_within_a_write_leave_nothing(
    tmp_path, tiny_model, monkeypatch, ending
):
    run = tmp_path / "run"

    @contextmanager
    def connected(address: str | None) -> Iterator[None]:
        (run / HALF).parent.mkdir(parents=True)
        (run / HALF).write_bytes(b"half")
        raise ending
        yield

    monkeypatch.setattr(score, "connected", connected)
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "corpus.parquet")
    config = ScoreConfig(
        corpus=str(tmp_path / "corpus.parquet"),
        out=str(run),
        model=str(tiny_model),
        dtype="float32",
    )
    with pytest.raises(type(ending)):
        score.run_score(config, Silent(), healthy)
    assert not [path for path in run.rglob("*") if path.is_file()]
