"""The layout of DESIGN: small rooms, one direction of imports, the engine behind one door."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for top in ("pipeline", "jobs") for path in (ROOT / top).rglob("*.py"))
MOST_LINES = 300
FLOORS = (
    "errors",
    "storage",
    "",
    "verification",
    "costs",
    "reports",
    "filters",
    "comparisons",
    "pages",
    "audits",
)
"""The packages of pipeline/, in the order in which they may import; "" is its own modules."""
DRAWERS = {"utils", "common", "helpers", "misc"}


def imported(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module(module: Path):
    source = module.read_text()
    assert len(source.splitlines()) <= MOST_LINES, "asks to be two rooms"
    assert module.stem not in DRAWERS
    if source:
        assert ast.get_docstring(ast.parse(source)), "says what it owns"
    if module.is_relative_to(ROOT / "pipeline"):
        assert not imported(module) & {"jobs", "ray"}
        assert module.stem in ("engine", "fused", "pooler") or "vllm" not in imported(module)


def floor(name: str) -> int:
    """Which floor `pipeline.NAME...` is on."""
    parts = name.split(".")
    inner = parts[1] if len(parts) > 1 else ""
    return FLOORS.index(inner if inner in FLOORS else "")


@pytest.mark.parametrize("package", FLOORS[1:])
def test_packages_import_one_way(package: str):
    folder = ROOT / "pipeline" / package
    modules = list(folder.glob("*.py"))
    assert modules
    for module in modules:
        # The names that pipeline/__init__.py offers are imported when they are first used.
        if module.stem == "errors" or module == ROOT / "pipeline/__init__.py":
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
                assert floor(node.module) <= FLOORS.index(package), f"{module}: {node.module}"
