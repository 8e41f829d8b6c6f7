"""jobs/submission/environment.py: which node lacks what. The probe: integration/test_jobs."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from jobs.submission.environment import DRIVER_MODULES, PROGRAM, Found, judge

OWN = version("winnow-ppl")
GOOD = {"Python": "3.11.2", "winnow-ppl": OWN, "ray": "2.60.0", "vllm": "0.32.0"}


def node(name: str, *faults: str, role: str = "workers", **versions: str) -> Found:
    return Found(name, role, GOOD | versions, faults)


JUDGED = {
    "alike": ([node("a"), node("b")], "ok", f"winnow-ppl {OWN}, ray 2.60.0, vllm 0.32.0", ""),
    "one lacks it": (
        [node("a"), node("b", "No module named 'jobs'")],
        "problem", "b: No module named 'jobs'", f"install winnow-ppl=={OWN} there",
    ),
    "many lack it": ([node(f"n{i}", "no") for i in range(7)], "problem", "n4: no; and 2 more", ""),
    "several versions": (
        [node("a"), node("b", vllm="0.31.0"), node("c")],
        "warning", "vllm: 0.32.0 on a, c; 0.31.0 on b", "one image",
    ),
    "another Winnow": (
        [node("a", **{"winnow-ppl": "0.0.1"})], "warning", "winnow-ppl 0.0.1", "has winnow-ppl",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "status", "found", "todo"), JUDGED.values(), ids=JUDGED)
def test_the_nodes_are_judged_together(nodes, status, found, todo):
    judged = judge(nodes)["workers"]
    assert judged[0] == status
    assert found in judged[1]
    assert todo in judged[2]


def test_a_driver_needs_the_path():
    judged = judge([node("a", "No such file: 'python'", role="driver"), node("b")])
    assert judged["driver"][0] == "problem"
    assert "on the PATH that Ray was started with" in judged["driver"][2]
    assert judged["workers"][0] == "ok"


def test_the_program_names_the_module_and_the_interpreter(tmp_path):
    def run(*modules: str) -> tuple[dict[str, str], list[str]]:
        command = [sys.executable, "-P", "-c", PROGRAM, *modules]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        versions, faults = json.loads(done.stdout)
        return versions, faults

    versions, faults = run(*DRIVER_MODULES)
    assert faults == []
    assert (versions["winnow-ppl"], versions["ray"]) == (OWN, version("ray"))
    _, faults = run("no_such_module")
    assert faults == [f"{sys.executable}: No module named 'no_such_module'"]
