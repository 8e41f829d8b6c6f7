"""The layout of DESIGN: small rooms, one direction of imports, the engine behind one door."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("pipeline/*.py"), *ROOT.glob("jobs/*.py")])
MOST_LINES = 300
DRAWERS = {"utils", "common", "helpers", "misc"}


def imported(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_module(module: Path):
    source = module.read_text()
    assert len(source.splitlines()) <= MOST_LINES, "asks to be two rooms"
    assert module.stem not in DRAWERS
    if source:
        assert ast.get_docstring(ast.parse(source)), "says what it owns"
    if module.parent.name == "pipeline":
        assert not imported(module) & {"jobs", "ray"}
        assert module.stem in ("engine", "fused", "pooler") or "vllm" not in imported(module)
