"""The layout of DESIGN: small rooms, one direction of imports, the engine behind one door."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for top in ("pipeline", "jobs") for path in (ROOT / top).rglob("*.py"))
MOST_LINES = 300
FLOORS = {
    "pipeline": (
        "errors",
        "schema",
        "tracing",
        "storage",
        "settings",
        "statistics",
        "corpus",
        "engine",
        "runs",
        "scoring",
        "planning",
        "rendering",
        "verification",
        "reports",
        "filters",
        "comparisons",
        "audits",
        "explore",
        "library",
        "__init__",
    ),
    "jobs": (
        "console",
        "run",
        "submission",
        "nights",
        "demo",
        "gpu_plan",
        "doctor",
        "explore",
        "cli",
    ),
}
"""The rooms of each package, from the ground up: imports go to the left only."""
DRAWERS = {"utils", "common", "helpers", "misc"}


VLLM = ROOT / "pipeline/engine/vllm"


def imported(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def imported_names(module: Path) -> set[str]:
    """What a module imports by name."""
    nodes = ast.walk(ast.parse(module.read_text()))
    return {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module(module: Path):
    source = module.read_text()
    assert len(source.splitlines()) <= MOST_LINES, "asks to be two rooms"
    assert module.stem not in DRAWERS
    if source:
        assert ast.get_docstring(ast.parse(source)), "says what it owns"
    if module.is_relative_to(ROOT / "pipeline"):
        assert not imported(module) & {"jobs", "ray"}
        if module.parent != VLLM:
            assert "vllm" not in imported(module)


KNOWS_ITS_BACKENDS = ROOT / "pipeline/engine/backends.py"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_folder_knows_what_scores(module: Path):
    """A second kind of scorer is a folder, and a line in the list of them."""
    if module.is_relative_to(ROOT / "pipeline") and module.parent != VLLM:
        lines = [line for line in module.read_text().splitlines() if re.search("vllm", line, re.I)]
        if module == KNOWS_ITS_BACKENDS:
            assert len(lines) == 2, "its import and its line"
        else:
            assert not lines


def imported_rooms(module: Path, package: str) -> set[str]:
    """Rooms of its own package that a module imports from, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, "imports say the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith(f"{package}.")}
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(module: Path):
    package, room = module.relative_to(ROOT).with_suffix("").parts[:2]
    floors = FLOORS[package]
    if room == "__init__" and package == "jobs":
        return
    for other in imported_rooms(module, package):
        assert floors.index(other) <= floors.index(room), f"imports {package}.{other}"


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_has_its_floor(package: str):
    there = {path.stem for path in (ROOT / package).glob("*.py")}
    there |= {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert there - {"__init__"} == set(FLOORS[package]) - {"__init__"}


FIXED_NAME = re.compile(r"""\*?(['"]|f['"][^{]|[A-Z][A-Z_]+\b)""")
"""What a name in source begins with that nobody can choose: itself, or a constant."""


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_is_no_pattern(module: Path):
    """To Polars `^x$` and `*` are patterns: a name that is data goes through columns.py."""
    if module == ROOT / "pipeline/statistics/columns.py":
        return
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pl.col", "pl.exclude"):
            for name in map(ast.unparse, node.args):
                assert FIXED_NAME.match(name), f"pl.col({name}): take column_named"


SETTINGS = "pipeline/settings/loading.py"
"""Says what is wrong with a setting, of every command; what is stored is not its own."""
VALIDATES = {"model_validate", "model_validate_json", "model_validate_strings", "TypeAdapter"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_stored_records_are_validated_in_one_place(module: Path):
    name = str(module.relative_to(ROOT))
    if name == "pipeline/runs/records.py":
        return
    names = {"ValidationError"} & imported_names(module)
    assert not names or name == SETTINGS, "catches damage itself"
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Attribute | ast.Name):
            called = node.attr if isinstance(node, ast.Attribute) else node.id
            assert called not in VALIDATES, "loads a record itself"


def test_what_validates_settings_is_there():
    assert "ValidationError" in imported_names(ROOT / SETTINGS)


OPTION = re.compile(r"--[a-z]")
READ_BY_PEOPLE = sorted(
    path
    for ending in ("py", "json", "html")
    for path in (ROOT / "pipeline").rglob(f"*.{ending}")  # a variable of CSS looks like an option
)


@pytest.mark.parametrize("file", READ_BY_PEOPLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_names_no_option(file: Path):
    """An error carries the setting, `named`; whoever calls the library spells it."""
    found = [line for line in file.read_text().splitlines() if OPTION.search(line)]
    assert not found, "names an option of the command line"


QUANTILE_CALLS = re.compile(r"(nan)?(quantiles?|percentile|median)|mquantiles|scoreatpercentile")
NOT_OF_DOCUMENTS = ("statistics.median",)
"""The standard library's, of a few pauses."""
NAMES_A_QUANTILE = {
    "pipeline/comparisons/shifts.py": {
        "percentiles",  # asks quantile.py
        "with_exact_quantiles",
        "_quantile_changes",
    },
    "pipeline/comparisons/tables.py": {"_quantiles"},  # shows
    "pipeline/reports/figures.py": {"quantile_name", "with_quantiles"},  # the same
    "pipeline/reports/tally.py": {"_quantiles"},  # of each sketch
    "pipeline/reports/term_values.py": {"exact_quantiles"},  # picks from what was measured
    "pipeline/reports/terms.py": {"quantile_of"},  # reads a name
    "pipeline/reports/wording.py": {"quantile_notes"},  # words
}
"""Functions that name, show or hand on what statistics/quantile.py computes."""


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_room_computes_quantiles(module: Path):
    """What is p95? statistics/quantile.py says."""
    if module.parent == ROOT / "pipeline/statistics":
        return
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            owner, _, name = (called := ast.unparse(node.func)).rpartition(".")
            if owner and called not in NOT_OF_DOCUMENTS:
                assert not QUANTILE_CALLS.fullmatch(name), ast.unparse(node)
        elif isinstance(node, ast.FunctionDef) and re.search("quantile|percentile", node.name):
            found.add(node.name)
    assert found == NAMES_A_QUANTILE.get(str(module.relative_to(ROOT)), set())


DOORS_OF_TIMES = {
    "pipeline/corpus/identity.py": "whether a file may be taken for unchanged unread",
    "pipeline/runs/status.py": "of parts and failures of the run itself: how fast it is",
}
"""The modules that may compare times of files, and of which."""


def compares_times(source: str) -> bool:
    """Whether a comparison in some code looks at the time of a file."""
    return any(
        isinstance(node, ast.Compare) and re.search(r"mtime", ast.unparse(node))
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_times_of_files_are_compared_behind_one_door(module: Path):
    """A corpus that was touched or copied is the same: documents decide, see identity.py."""
    is_door = str(module.relative_to(ROOT)) in DOORS_OF_TIMES
    assert compares_times(module.read_text()) == is_door


NOT_IMPORTED = {
    **dict.fromkeys(("pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"), "is code"),
    "csv": "a spreadsheet takes a cell that begins with = for a formula",
}
NOT_CALLED = {
    "eval": "text is not code",
    "exec": "text is not code",
    "torch.load": "unpickles",
    "yaml.load": "makes objects",
    "os.system": "takes text for a command",
    "numpy.load": "unpickles",
    "np.load": "unpickles",
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_becomes_code(module: Path):
    """Runs, corpora, models and configurations come from anywhere."""
    assert not imported(module) & NOT_IMPORTED.keys()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in NOT_CALLED, ast.unparse(node)
            shell = [one.value for one in node.keywords if one.arg == "shell"]
            assert not shell, "a file's name would be part of a command"
            # The dashboard shows these to whoever reaches it, and they are in Ray's logs.
            assert "env_vars" not in ast.unparse(node)


OPENS_PARQUET = re.compile(
    r"(pq|parquet)\.(ParquetFile|ParquetDataset|read_\w+)|(pl|polars)\.(scan|read)_parquet\w*"
    r"|(ds|dataset)\.(dataset|parquet_dataset)"
)
OPENERS = {
    "pipeline/corpus/footers.py": "footers of a corpus",
    "pipeline/corpus/reader.py": "THE reader of a corpus",
    "pipeline/corpus/int96.py": "looks at a file for it",
    "pipeline/runs/parts.py": "footers of parts",
    "pipeline/runs/scores.py": "THE reader of scores",
    "pipeline/audits/history.py": "its own table",
    "pipeline/runs/judgements.py": "its own table",
}


def opened_parquet(module: Path) -> set[str]:
    """Every name of something that opens Parquet; also where it is handed on, not called."""
    tree = ast.parse(module.read_text())
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("pyarrow.parquet", "polars"):
            names |= {f"{node.module.split('.')[-1]}.{alias.name}" for alias in node.names}
    return {name for name in names if OPENS_PARQUET.fullmatch(name)}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_two_readers_open_parquet(module: Path):
    """What is in a row of a corpus, and is this part whole, have one answer each."""
    if str(module.relative_to(ROOT)) not in OPENERS:
        assert not opened_parquet(module), "corpus/reader.py reads a corpus, runs/scores.py parts"


def test_who_may_open_parquet_does():
    for name in OPENERS:
        assert opened_parquet(ROOT / name), name


DRAWS = re.compile(r"rich\.table|jinja2|markupsafe")
DRAWERS_OF_OTHER_THINGS = {"jobs/nights/schedule.py": "YAML, cron and systemd files"}


def drawing_modules(module: Path) -> set[str]:
    """What a module imports to build tables or pages with."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if DRAWS.match(name)}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_room_draws_tables_and_pages(module: Path):
    """What is a table? rendering/ says; whoever has one hands it over."""
    draws = module.parent == ROOT / "pipeline/rendering"
    if not draws and str(module.relative_to(ROOT)) not in DRAWERS_OF_OTHER_THINGS:
        assert not drawing_modules(module)


def test_the_room_that_draws_does():
    assert drawing_modules(ROOT / "pipeline/rendering/terminal.py")
    assert drawing_modules(ROOT / "pipeline/rendering/html.py")
    for name in DRAWERS_OF_OTHER_THINGS:
        assert drawing_modules(ROOT / name)


TEMPLATES = sorted(path for path in ROOT.glob("*/**/templates/*.html") if path.is_relative_to(ROOT))


def test_templates_escape_everything():
    assert TEMPLATES
    for template in TEMPLATES:
        assert not re.search(r"\|\s*safe|autoescape|<script|https?://", template.read_text())


def test_every_pin_is_exact():
    for lock in sorted((ROOT / "infra/requirements").glob("*.lock")):
        lines = [line.split("#")[0].strip() for line in lock.read_text().splitlines()]
        for line in lines:
            if line and not line.startswith("-"):
                assert re.match(r"[\w.\-\[\]]+(==\S+| @ https://\S+)", line), f"{lock.name}: {line}"


def test_workflows_name_actions_by_commit():
    """There is none today: .ci/run is a script. This holds for the first one too."""
    for workflow in sorted(ROOT.glob(".github/workflows/*.y*ml")):
        for action in re.findall(r"uses:\s*(\S+)", workflow.read_text()):
            assert re.search(r"@[0-9a-f]{40}$", action), f"{workflow.name}: {action}"
    for script in [ROOT / ".ci/run", *ROOT.glob("infra/*.sh"), *ROOT.glob("infra/images/*")]:
        assert not re.search(r"(curl|wget)[^\n]*\|\s*(ba)?sh", script.read_text()), script.name
