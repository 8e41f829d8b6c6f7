"""Two nights through a real local Ray, with a fast engine of our own."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from jobs.run import score as driver
from jobs.run.score import run_score
from tests.integration.test_ray_run import healthy
from tests.support.audits import Audits
from tests.support.homes import ray_home

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Workers unpickle the engine by name; and Ray writes its token into HOME."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("HOME", str(ray_home()))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


def test_a_second_night_scores_only_what_is_new(tmp_path, tiny_model, monkeypatch):
    audits = Audits(tmp_path, tiny_model)
    audits.configure(
        'by = "source"\nsample_rows = 20\nsample_by = "source"',
        score="workers = 1",
        extra='[[audit.require]]\nmetric = "bits_per_byte"\nmax_increase = 0.001\nmax_psi = 0.2\n',
    )
    audits.write("a", [f"document {i} " + "word " * i for i in range(40)])
    score = partial(run_score, make_engine=healthy)
    first = audits.night("2026-01-05", score)
    assert first.verdict == "pass", first.reasons
    assert first.sample.num_drawn == 20

    def no_ray(address: str | None) -> None:
        raise AssertionError("a night with nothing new started Ray")

    monkeypatch.setattr(driver, "connected", no_ray)
    second = audits.night("2026-01-06", score)
    assert second.verdict == "pass", second.reasons
    assert second.reuse.num_rows == 20
    assert second.overall == first.overall
    assert [check.state for check in second.checks] == ["pass", "pass"]
