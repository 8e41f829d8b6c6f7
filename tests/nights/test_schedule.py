"""What is printed for cron, systemd and Kubernetes: valid for each, and safe with hostile input."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.nights.schedule import render_cron, render_kubernetes, render_systemd
from jobs.nights.schedule_config import ClusterConfig, ScheduleConfig
from pipeline.errors import ConfigError

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = json.loads((SCHEMAS / "kubernetes-1.37.json").read_text())
RAY_CRON_JOB = json.loads((SCHEMAS / "raycronjob-v1.json").read_text())
RAY_JOB_SPEC = RAY_CRON_JOB["properties"]["spec"]["properties"]["jobTemplate"]
NIGHT = Path(__file__).parents[2] / "jobs" / "nights" / "templates" / "night.sh"
TEXT = '[audit]\nnote = "ünï \U0001f600 \u2028 {{ 7 * 7 }} {% raw %} --- \\u0085: |"\n# \x7e\n'


def make_config(**settings: Any) -> ScheduleConfig:
    return ScheduleConfig(
        **{"cron": "0 3 * * *", "time_zone": "Europe/Berlin", "name": "nightly", **settings}
    )


def make_cluster(**settings: Any) -> ClusterConfig:
    return ClusterConfig(**{"image": "registry.example.com/winnow:1", **settings})


def check(document: dict[str, Any]) -> None:
    """Strictly: an unknown key is an error, as `kubectl apply --validate=strict` has it."""
    if document["kind"] == "RayCronJob":
        schema = RAY_CRON_JOB
    else:
        schema = KUBERNETES["kinds"][document["kind"]] | {"$defs": KUBERNETES["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(document)


def manifests(config: ScheduleConfig, cluster: ClusterConfig, target: str) -> dict[str, Any]:
    """Kind, or kind and name, -> document."""
    text = render_kubernetes(config, cluster, TEXT, target)
    found = {}
    for document in yaml.safe_load_all(text):
        check(document)
        assert document["metadata"]["namespace"] == cluster.namespace
        found[f"{document['kind']} {document['metadata']['name']}"] = document
    return found


CLUSTERS = {
    "least": {},
    "most": {
        "volume_claim": "corpora",
        "credentials_secret": "s3",
        "service_account": "winnow",
        "namespace": "data",
        "workers": 9,
        "gpus_per_worker": 2,
    },
    "no gpu": {"gpus_per_worker": 0},
    "hostile": {"image": "\"}: {{ x }} # '&*!|>%@`"},
}


@pytest.mark.parametrize("settings", CLUSTERS.values(), ids=CLUSTERS)
def test_kubernetes(settings):
    config, cluster = make_config(deadline_hours=2.5, history_success=0), make_cluster(**settings)

    found = manifests(config, cluster, "kubernetes")

    assert set(found) == {
        "ConfigMap nightly-config",
        "ConfigMap nightly-night",
        "ServiceAccount nightly",
        "Role nightly",
        "RoleBinding nightly",
        "CronJob nightly",
    }
    spec = found["CronJob nightly"]["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * *", "Europe/Berlin")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (0, 7)
    assert found["ConfigMap nightly-config"]["data"] == {"winnow.toml": TEXT}
    rayjob = yaml.safe_load(found["ConfigMap nightly-night"]["data"]["rayjob.yaml"])
    check_rayjob(rayjob["spec"], cluster)
    assert rayjob["spec"]["activeDeadlineSeconds"] == 9000
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 9000
    assert found["ConfigMap nightly-night"]["data"]["night.sh"].strip() == NIGHT.read_text().strip()
    assert_restricted(spec["jobTemplate"]["spec"]["template"]["spec"])


@pytest.mark.parametrize("settings", CLUSTERS.values(), ids=CLUSTERS)
def test_kuberay(settings):
    cluster = make_cluster(**settings)
    found = manifests(make_config(), cluster, "kuberay")
    spec = found["RayCronJob nightly"]["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * *", "Europe/Berlin")
    assert found["ConfigMap nightly-config"]["data"] == {"winnow.toml": TEXT}
    check_rayjob(spec["jobTemplate"], cluster)
    assert "feature-gates=RayCronJob=true" in render_kubernetes(
        make_config(), cluster, TEXT, "kuberay"
    )


def check_rayjob(spec: dict[str, Any], cluster: ClusterConfig) -> None:
    jsonschema.Draft202012Validator(RAY_JOB_SPEC).validate(spec)
    assert spec["entrypoint"] == "python -P -m jobs.cli audit /etc/winnow/winnow.toml"
    assert spec["shutdownAfterJobFinishes"] is True
    ray = spec["rayClusterSpec"]
    assert ray["authOptions"] == {"mode": "token"}
    (workers,) = ray["workerGroupSpecs"]
    assert workers["replicas"] == workers["maxReplicas"] == cluster.workers
    pods = [ray["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]]
    limits = pods[1]["containers"][0]["resources"]["limits"]
    assert limits.get("nvidia.com/gpu", 0) == cluster.gpus_per_worker
    for pod in pods:
        (container,) = pod["containers"]
        assert container["image"] == cluster.image
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted == {"/etc/winnow", "/dev/shm"} | (
            {"/data"} if cluster.volume_claim else set()
        )
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
        assert ("envFrom" in container) == (cluster.credentials_secret is not None)
        assert pod.get("serviceAccountName") == cluster.service_account
        assert pod["automountServiceAccountToken"] is False
    for pod in [*pods, spec["submitterPodTemplate"]["spec"]]:
        assert_restricted(pod)


def assert_restricted(pod: dict[str, Any]) -> None:
    """The `restricted` level of Kubernetes's Pod Security Standards."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@given(text=st.text(st.characters(codec="utf-8")) | st.text("a #:-'\"|>%{}\t\n"))
def test_any_configuration_arrives_unchanged(text):
    printed = render_kubernetes(make_config(), make_cluster(), text, "kuberay")
    config_map = next(iter(yaml.safe_load_all(printed)))
    assert config_map["data"]["winnow.toml"] == text


@pytest.mark.parametrize("target", ["kubernetes", "kuberay"])
def test_a_configuration_can_be_read_in_the_manifest(target):
    text = '# Größe: "8"\n[audit]\nruns = "s3://scores/web"\n\n  [[audit.require]]\n\tmin = 1\n'
    printed = render_kubernetes(make_config(), make_cluster(), text, target)
    assert '"winnow.toml": |\n' in printed
    for line in text.splitlines():
        assert f"\n{f'    {line}' if line else ''}\n" in printed
    config_map = next(iter(yaml.safe_load_all(printed)))
    assert config_map["data"]["winnow.toml"] == text


def test_the_schema_is_strict():
    """Or the tests above would prove nothing."""
    document = manifests(make_config(), make_cluster(), "kubernetes")["CronJob nightly"]
    document["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(jsonschema.ValidationError, match="concurencyPolicy"):
        check(document)


# The script that waits for the night, with a kubectl of ours


KUBECTL = """#!/usr/bin/env bash
echo "$@" >>calls
case "$*" in
*create*) cat >created ;;
*get*)
    state=$(head -n 1 states)
    if [ "$(wc -l <states)" -gt 1 ]; then sed -i 1d states; fi
    if [ "$state" = BROKEN ]; then exit 1; fi
    echo -n "$state"
    ;;
esac
"""


@pytest.fixture
def night(tmp_path: Path):
    """What kubectl answers, one a call -> (exit code, stdout)."""
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    found = manifests(make_config(), make_cluster(), "kubernetes")
    data = found["ConfigMap nightly-night"]["data"]
    (tmp_path / "rayjob.yaml").write_text(data["rayjob.yaml"])
    (tmp_path / "night.sh").write_text(data["night.sh"])

    def run(*states: str) -> tuple[int, str]:
        (tmp_path / "states").write_text("".join(f"{state}\n" for state in states))
        environment = os.environ | {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "NIGHT_NAME": "nightly-29381940",
            "NIGHT_UID": "0f3c",
            "NAMESPACE": "default",
            "NIGHT_MANIFEST": str(tmp_path / "rayjob.yaml"),
            "NIGHT_POLL_SECONDS": "0.01",
        }
        done = subprocess.run(
            ["bash", "night.sh"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    return run


NAME = "nightly-29381940"
NIGHTS = {
    "succeeds": (["", f"{NAME}/Running/RUNNING", f"{NAME}/Complete/SUCCEEDED"], 0),
    "has findings": (["", f"{NAME}//", f"{NAME}/Complete/FAILED"], 1),
    "misses its deadline": (["", f"{NAME}/Running/RUNNING", f"{NAME}/Failed/"], 1),
    "is deleted": (["", f"{NAME}/Running/RUNNING", ""], 1),
    "API server away": (["", "BROKEN", "BROKEN", f"{NAME}/Complete/SUCCEEDED"], 0),
    "API server away at first": (["BROKEN"], 3),
    "waited for anew": ([f"{NAME}/Running/RUNNING", f"{NAME}/Complete/SUCCEEDED"], 0),
}


@pytest.mark.parametrize(("states", "code"), NIGHTS.values(), ids=NIGHTS)
def test_the_night_is_waited_for(night, tmp_path, states, code):
    assert night(*states)[0] == code
    created = tmp_path / "created"
    # Only where there is none: two pods of one night must not make two clusters.
    assert created.exists() == (states[0] == "")
    if created.exists():
        rayjob = yaml.safe_load(created.read_text())
        (owner,) = rayjob["metadata"]["ownerReferences"]
        assert rayjob["metadata"]["name"] == owner["name"] == NAME
        assert owner["uid"] == "0f3c"


# cron


def cron_lines(config: ScheduleConfig, file: Path, folder: Path, **options: Any) -> list[str]:
    text = render_cron(config, file, folder, **options)
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_cron_names_the_time_zone_only_where_asked(tmp_path):
    zone, _ = cron_lines(make_config(), tmp_path / "n.toml", tmp_path, cron_tz=True)
    assert zone == "CRON_TZ=Europe/Berlin"
    (line,) = cron_lines(make_config(), tmp_path / "n.toml", tmp_path, cron_tz=False)
    assert line.startswith("0 3 * * * mkdir -p ")


@pytest.fixture
def cron(request, tmp_path, monkeypatch):
    """Run the command of a crontab's line as cron does, with an audit of ours for Python. The
    parameter is the night's deadline in seconds.
    """
    monkeypatch.setenv("HOME", str(tmp_path / "home 100%"))
    folder = tmp_path / 'it\'s 5% "off" $HOME'
    folder.mkdir()
    python = tmp_path / "py thon"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@" >>"$0.calls"\nsleep "${NAP:-0}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    config = make_config(deadline_hours=getattr(request, "param", 600) / 3600)
    (line,) = cron_lines(config, folder / "n.toml", folder, cron_tz=False)
    # crontab(5): an unescaped % would end the command.
    assert not re.search(r"(?<!\\)%", line)
    command = line.split(" ", 5)[5].replace("\\%", "%")
    return command, folder, Path(f"{python}.calls")


def test_what_cron_runs(cron, tmp_path):
    command, folder, calls = cron
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert calls.read_text().splitlines() == [
        str(folder), "-P", "-m", "jobs.cli", "audit", str(folder / "n.toml"),
    ]  # fmt: skip
    assert (tmp_path / "home 100%" / ".local/state/winnow/nightly.log").exists()


def test_cron_does_not_overlap(cron):
    command, _, calls = cron
    lock = next(word for word in shlex.split(command) if word.endswith("nightly.lock"))
    Path(lock).parent.mkdir(parents=True)
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo; read x"], stdin=-1, stdout=-1) as held:
        assert held.stdout is not None
        assert held.stdin is not None
        held.stdout.readline()
        assert subprocess.run(["/bin/sh", "-c", command]).returncode != 0
        assert not calls.exists()
        held.stdin.close()
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert calls.exists()


@pytest.mark.parametrize("cron", [4], indirect=True)
def test_cron_stops_a_night_at_its_deadline(cron, monkeypatch):
    command, _, calls = cron
    monkeypatch.setenv("NAP", "100")
    # timeout(1) says 124.
    assert subprocess.run(["/bin/sh", "-c", command]).returncode == 124
    assert calls.exists()


# systemd


def directives(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"\w+=", line))


def test_systemd(tmp_path):
    units = render_systemd(make_config(cron="30 3 * * 1-5"), tmp_path / "n.toml", tmp_path)
    assert set(units) == {"nightly.service", "nightly.timer"}
    service, timer = directives(units["nightly.service"]), directives(units["nightly.timer"])
    assert service["Type"] == "oneshot"
    assert service["TimeoutStartSec"] == str(12 * 3600)
    assert timer["OnCalendar"] == "Mon,Tue,Wed,Thu,Fri *-*-* 03:30:00 Europe/Berlin"
    assert timer["Persistent"] == "true"


def test_systemd_reads_the_units(tmp_path):
    folder = tmp_path / 'a 100% $HOME "b" \\ ü'
    folder.mkdir()
    units = render_systemd(make_config(), folder / "n.toml", folder)
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / "nightly.timer")],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("this machine has no systemd-analyze")
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_words_come_back(tmp_path):
    """Undone by the rules of systemd.service(5): specifiers, variables, then quotes."""
    file = tmp_path / 'a 100% $HOME "b" \\ n.toml'
    command = directives(render_systemd(make_config(), file, tmp_path)["nightly.service"])
    line = command["ExecStart"].replace("%%", "%").replace("$$", "$")
    assert shlex.split(line) == [sys.executable, "-P", "-m", "jobs.cli", "audit", str(file)]


def test_a_path_of_two_lines_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a schedule cannot hold"):
        render_systemd(make_config(), tmp_path / "a\nb.toml", tmp_path)
    with pytest.raises(ConfigError, match="a schedule cannot hold"):
        render_cron(make_config(), tmp_path / "n.toml", tmp_path / "a\nb", cron_tz=False)


def test_the_configuration_is_still_toml():
    assert tomllib.loads(TEXT)["audit"]
