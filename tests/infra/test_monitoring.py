"""Rules and dashboard ask only for what jobs/run/metrics.py registers, and the tools accept them.

What needs promtool is skipped, saying so, where it is not installed.
"""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from jobs.run.metrics import METRICS, RUN_LABELS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/prometheus"
GROUPS = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "infra/grafana/dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
PANEL_QUERIES = [(p["title"], t["expr"]) for p in PANELS for t in p.get("targets", [])]
QUERIES = [*PANEL_QUERIES, *((r.get("alert", r.get("record")), r["expr"]) for r in RULES)]

SERVED = {name: spec for spec in METRICS.values() for name in spec.scraped_names}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
OF_KUBE_STATE_METRICS = {"kube_job_status_failed", "kube_cronjob_status_last_successful_time"}


def bare(expression: str) -> str:
    """An expression without its strings."""
    return re.sub(r'"[^"]*"', '""', expression)


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:ray_|winnow|kube_)[\w:]*", bare(expression)))


def label_names(expression: str) -> set[str]:
    text = bare(expression)
    grouped = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", text)
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text)
    return {n.strip() for names in grouped for n in names.split(",") if n.strip()} | set(matched)


def promtool(*arguments: str | Path) -> str:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("not checked: no promtool on PATH (apt-get install prometheus)")
    ran = subprocess.run([tool, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize(("title", "expression"), QUERIES)
def test_names_only_what_is_there(title: str, expression: str):
    names = metric_names(expression)
    assert names
    assert names <= SERVED.keys() | RECORDED | OF_KUBE_STATE_METRICS
    if ours := names & SERVED.keys():
        labels = {*RUN_LABELS, "le"}.union(*(SERVED[name].labels for name in ours))
        assert label_names(expression) <= labels


def test_extraction_sees_names_and_labels():
    expression = 'sum by (run, le) (rate(ray_x_total{a="kube_b", c!~"d"}[5m])) / on (e) winnow:f:g'
    assert metric_names(expression) == {"ray_x_total", "winnow:f:g"}
    assert label_names(expression) == {"run", "le", "a", "c", "e"}


def test_the_scrape_keeps_every_metric():
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    [keep, _] = config["scrape_configs"][0]["metric_relabel_configs"]
    assert [name for name in SERVED if not re.fullmatch(keep["regex"], name)] == []


def test_every_metric_is_looked_at():
    asked = set().union(*(metric_names(expression) for _, expression in QUERIES))
    assert [spec.name for spec in METRICS.values() if not asked & spec.scraped_names] == []


def test_every_alert_has_a_unit_test():
    groups = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]
    fired = {t["alertname"] for g in groups for t in g["alert_rule_test"] if t.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in RULES if "alert" in rule}


def test_alerts_say_what_and_what_to_do():
    for rule in (rule for rule in RULES if "alert" in rule):
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_have_ids_and_places_of_their_own():
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_promtool_accepts_the_rules():
    assert f"{len(RULES)} rules found" in promtool("check", "rules", FOLDER / "rules.yaml")


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path):
    # All but the discovery of pods: Debian builds Prometheus without Kubernetes.
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    [scrape] = config["scrape_configs"]
    assert scrape.pop("kubernetes_sd_configs") == [
        {"role": "pod", "namespaces": {"names": ["winnow"]}}
    ]
    scrape["static_configs"] = [{"targets": ["127.0.0.1:8080"]}]
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    file = tmp_path / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config))
    promtool("check", "config", file)


def test_promtool_passes_the_unit_tests_of_the_rules():
    promtool("test", "rules", FOLDER / "rules_test.yaml")


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path):
    rules = [
        {"record": f"panel:{index}", "expr": expression.replace("$run", ".*")}
        for index, (_, expression) in enumerate(PANEL_QUERIES)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
