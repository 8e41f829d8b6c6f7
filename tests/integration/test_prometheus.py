"""The metrics of a run as Prometheus sees them: a real Ray, a real scrape, real PromQL.

The scrape is always tested. What needs the Prometheus server is skipped, saying so, where none is
installed (Debian's package `prometheus` has it).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from jobs.run.metrics import METRICS
from tests.integration.emit_metrics import STATUSES
from tests.support.servers import free_ports

pytestmark = pytest.mark.soak


ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
T = TypeVar("T")
PROMETHEUS = shutil.which("prometheus")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def until(ask: Callable[[], T | None], what: str | Callable[[], str]) -> T:
    """The first answer that is not empty."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if answer := ask():
                return answer
        except OSError:  # not there yet, or too busy to answer
            pass
        if time.monotonic() > deadline:
            pytest.fail(what if isinstance(what, str) else what())
        time.sleep(0.25)


@pytest.fixture(scope="module")
def metrics_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    [port] = free_ports(1)
    folder = tempfile.mkdtemp(prefix="winnow-ray-", dir="/tmp")  # short: sockets lie below it
    environment = os.environ | {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "tests.integration.emit_metrics", str(port), folder]
    with subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        try:
            assert driver.stdout.readline() == "reported\n"
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            driver.stdin.close()
            driver.wait(PATIENCE)
            shutil.rmtree(folder, ignore_errors=True)


def scraped(url: str) -> dict[str, list]:
    families = text_string_to_metric_families(get(url))
    samples: dict[str, list] = {}
    for sample in (sample for family in families for sample in family.samples):
        if sample.name.startswith("ray_winnow_"):
            samples.setdefault(sample.name, []).append(sample)
    return samples


@pytest.fixture(scope="module")
def samples(metrics_url: str) -> dict[str, list]:
    expected = {name for spec in METRICS.values() for name in spec.scraped_names}
    found: dict[str, list] = {}

    def everything() -> dict[str, list] | None:
        found.update(scraped(metrics_url))
        if not expected <= found.keys():
            return None
        # Names appear with their first report, which may be of the first shard alone.
        told = sum(sample.value for sample in found["ray_winnow_documents_total"])
        return found if told == sum(sum(one.values()) for one in STATUSES) else None

    return until(everything, lambda: f"not served: {sorted(expected - found.keys())}")


def test_exactly_the_metrics_of_the_table_are_served(samples):
    assert samples.keys() == {name for spec in METRICS.values() for name in spec.scraped_names}


def test_values_and_labels(samples):
    documents = {
        (s.labels["worker"], s.labels["status"]): s.value
        for s in samples["ray_winnow_documents_total"]
    }
    assert documents == {
        (str(worker), status): count
        for worker, statuses in enumerate(STATUSES)
        for status, count in statuses.items()
    }
    for series in samples.values():
        assert {(s.labels["run"], s.labels["model"]) for s in series} == {("run-1", "tiny")}
    [done] = samples["ray_winnow_run_documents_done"]
    assert done.value == 350
    states = {s.labels["state"]: s.value for s in samples["ray_winnow_shards"]}
    assert states == {"waiting": 3, "running": 2, "done": 2, "failed": 1}
    assert {s.value for s in samples["ray_winnow_worker_mfu"]} == {0.4}


@pytest.fixture(scope="module")
def prometheus(
    metrics_url: str, samples: dict[str, list], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if PROMETHEUS is None:
        pytest.skip("not checked: no prometheus on PATH (apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yaml"
    target = urllib.parse.urlsplit(metrics_url).netloc
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(ROOT / "infra/prometheus/rules.yaml")],
                "scrape_configs": [
                    {"job_name": "ray", "static_configs": [{"targets": [target]}]},
                ],
            }
        )
    )
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    with subprocess.Popen(
        [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            url = f"http://{address}"
            until(lambda: get(f"{url}/-/ready"), "prometheus is not ready")
            # They are of two rules: metrics may arrive between the one and the other.
            for name in ("winnow:documents:error_ratio", "winnow:documents_left"):
                until(lambda name=name: query(url, name), f"{name} was not evaluated")
            yield url
        finally:
            server.terminate()
            server.wait(PATIENCE)


def query(url: str, expression: str) -> list:
    """The samples of an instant query."""
    parameters = urllib.parse.urlencode({"query": expression})
    answer = json.loads(get(f"{url}/api/v1/query?{parameters}"))
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def test_a_query_is_answered(prometheus):
    answer = query(prometheus, "sum by (run, status) (ray_winnow_documents_total)")
    assert {s["metric"]["status"]: float(s["value"][1]) for s in answer} == {
        "ok": 135,
        "error": 10,
        "empty": 5,
    }
    [ratio] = query(prometheus, "winnow:documents:error_ratio")
    assert ratio["metric"] == {
        "__name__": "winnow:documents:error_ratio",
        "run": "run-1",
        "model": "tiny",
    }
    assert float(ratio["value"][1]) == pytest.approx(10 / 150)
    [left] = query(prometheus, "winnow:documents_left")
    assert float(left["value"][1]) == 650


def test_every_rule_is_evaluated_and_one_fires(prometheus):
    def rules() -> list:
        groups = json.loads(get(f"{prometheus}/api/v1/rules"))["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()), "a rule was not evaluated")
    assert [rule["lastError"] for rule in rules() if rule["health"] != "ok"] == []
    until(
        lambda: (
            {"WinnowShardsGivenUp"} <= {r["name"] for r in rules() if r.get("state") == "firing"}
        ),
        "the alert on a shard that was given up does not fire",
    )


def test_every_panel_has_data(prometheus):
    dashboard = json.loads((ROOT / "infra/grafana/dashboard.json").read_text())
    expressions = [
        target["expr"].replace("$run", ".*")
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    # What needs a rate above zero has no sample in a run that stands still.
    moving = [e for e in expressions if "rate" in e or "eta_seconds" in e]
    assert moving
    for expression in expressions:
        answer = query(prometheus, expression)
        assert answer or expression in moving, expression
