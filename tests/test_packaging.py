"""Winnow as an installed package: the wheel is whole, and a core install does without an engine.

The wheel is built from a copy of the sources and installed, with what it asks for at the versions
of the lock file, into an environment that has nothing else. An environment with an engine has this
one's packages, and Winnow from the wheel. The core is tried in the newest Python, too, that the
machine has.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.engine.backends import BACKENDS
from pipeline.errors import EXTRA_MODULES
from pipeline.runs.store import RunStore
from tests.support.runs import make_run

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "infra/requirements/cpu.lock"
SOURCES = ("pipeline", "jobs", "pyproject.toml", "README.md", "LICENSE")
HEAVY = ("ray", "vllm", "torch", "transformers")
# Installing takes half a minute from a near index.
pytestmark = pytest.mark.timeout(600)


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As a user would: nothing of this checkout is on the path."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WINNOW_", "PYTHON", "RAY_"))
    }
    arguments = [str(argument) for argument in command]
    return subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def pip(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return call(sys.executable, "-m", "pip", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist")
    made = pip("wheel", *how, ".", cwd=sources)
    assert made.returncode == 0, made.stderr
    [found] = (sources / "dist").glob("*.whl")
    return found


def newer_python() -> list[str]:
    """The newest Python after this one that the machine has, on PATH or among pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in range(14, sys.version_info.minor, -1):
        found = (shutil.which(f"python3.{minor}"), *root.glob(f"versions/3.{minor}.*/bin/python"))
        for python in filter(None, found):
            # A shim is on PATH, too, where pyenv has not been told to use that version.
            if call(python, "-c", "import venv", cwd=ROOT).returncode == 0:
                return [str(python)]
    return []


@pytest.fixture(scope="module", params=[sys.executable, *newer_python()])
def core(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The commands' folder of a core install."""
    folder = tmp_path_factory.mktemp("core")
    venv = (request.param, "-m", "venv", "--without-pip", "venv")
    assert call(*venv, cwd=folder).returncode == 0
    commands = folder / "venv/bin"
    # Is there an index, or a folder of wheels, at all?
    probe = f"tenacity=={version('tenacity')}"
    asked = pip("download", "--no-deps", "--dest", "probe", probe, cwd=folder)
    if asked.returncode:
        pytest.skip(f"no package index: {asked.stderr.strip().splitlines()[-1]}")
    install = ("install", "--quiet", "--no-compile", "--constraint", LOCK, wheel)
    made = pip("--python", commands / "python", *install, cwd=folder)
    assert made.returncode == 0, made.stderr
    return commands


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands' folder of an install with an engine: no part of it is an editable install."""
    folder = tmp_path_factory.mktemp("full")
    venv = (sys.executable, "-m", "venv", "--without-pip", "venv")
    assert call(*venv, cwd=folder).returncode == 0
    [packages] = folder.glob("venv/lib/python*/site-packages")
    for kind in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(kind)).iterdir():
            ours = "winnow_ppl" in path.name or path.name == "__pycache__"
            if not ours and not (packages / path.name).exists():
                (packages / path.name).symlink_to(path)
    commands = folder / "venv/bin"
    install = ("install", "--quiet", "--no-compile", "--no-deps", "--no-index", wheel)
    made = pip("--python", commands / "python", *install, cwd=folder)
    assert made.returncode == 0, made.stderr
    return commands


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    folder = tmp_path_factory.mktemp("scored")
    return make_run(folder, tiny_model, ["one text", "two " * 9, None, "a fourth", "x" * 40])


@pytest.fixture
def winnow(core: Path, tmp_path: Path):
    """arguments -> the command's outcome, in an empty folder."""
    return lambda *arguments: call(core / "winnow", *arguments, cwd=tmp_path)


def test_the_wheel_has_every_file_of_the_packages(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT))
        for top in ("pipeline", "jobs")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= held
    assert {"pipeline/py.typed", "pipeline/schemas/report.schema.json"} <= held
    assert {name.split("/")[0] for name in held - expected} == {
        f"winnow_ppl-{version('winnow-ppl')}.dist-info"
    }


def test_the_sdist_makes_the_same_wheel(sources, wheel, tmp_path):
    code = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"
    made = call(sys.executable, "-c", code, cwd=sources)
    assert made.returncode == 0, made.stderr
    sdist = sources / "dist" / made.stdout.split()[-1]
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    again = pip("wheel", *how, sdist, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    names = [set(zipfile.ZipFile(one).namelist()) for one in (wheel, tmp_path / wheel.name)]
    assert names[0] == names[1]
    if (twine := shutil.which("twine")) is not None:
        checked = call(twine, "check", "--strict", wheel, sdist, cwd=tmp_path)
        assert checked.returncode == 0, checked.stdout


def test_templates_are_found_where_they_are_installed(full, tmp_path):
    rooms = {"pipeline.rendering": "pipeline/rendering", "jobs.nights": "jobs/nights"}
    code = "import sys; from jinja2 import PackageLoader; "
    code += "print(*[f'{room}/{name}' for room in sys.argv[1:]"
    code += " for name in PackageLoader(room).list_templates()])"
    found = call(full / "python", "-c", code, *rooms, cwd=tmp_path)
    expected = {
        f"{room}/{path.name}"
        for room, folder in rooms.items()
        for path in (ROOT / folder / "templates").iterdir()
    }
    assert {"pipeline.rendering/page.html", "pipeline.rendering/page.css"} <= expected
    assert set(found.stdout.split()) == expected, found.stderr


VLLM_PLUGIN = """
from importlib.metadata import entry_points
[plugin] = [p for p in entry_points(group="vllm.general_plugins") if p.dist.name == "winnow-ppl"]
register = plugin.load()
print(plugin.name, register.__module__, register.__qualname__, register.__code__.co_filename)
"""


def test_vllm_finds_the_plugin_in_the_wheel(full, tmp_path):
    from pipeline.engine.vllm.sizing import PLUGIN

    found = call(full / "python", "-c", VLLM_PLUGIN, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    name, module, function, file = found.stdout.split()
    assert (name, module, function) == (PLUGIN, "pipeline.engine.vllm.fused", "register")
    assert Path(file).is_relative_to(full.parent)


FUSED = """
import sys
import pipeline
from pipeline import Scorer

if __name__ == "__main__":
    with Scorer(sys.argv[1], dtype="float32", window_tokens=64) as scorer:
        [status] = scorer.score(["The capital of France is Paris."])["status"]
        config = scorer._engine._llm.vllm_config.model_config
        print(pipeline.__file__, status, config.runner_type, *config.architectures)
"""


def test_scoring_is_fused_in_an_install_from_the_wheel(full, tiny_model, tmp_path):
    """vLLM knows the pooling model by the wheel's entry point alone."""
    script = tmp_path / "score.py"
    script.write_text(FUSED)
    done = call(full / "python", script, tiny_model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file, *found = done.stdout.split()
    assert Path(file).is_relative_to(full.parent)
    assert found == ["ok", "pooling", "WinnowLlamaForCausalLM"]


def test_a_core_install_has_no_engine(core, tmp_path):
    code = f"from importlib.util import find_spec; print(*map(find_spec, {HEAVY!r}))"
    found = call(core / "python", "-c", code, cwd=tmp_path)
    assert found.stdout.split() == ["None"] * len(HEAVY)


def test_its_versions_are_those_of_the_lock(core, tmp_path):
    listed = pip("--python", core / "python", "freeze", cwd=tmp_path).stdout
    pins = [pin.lower().replace("_", "-") for pin in listed.splitlines() if "==" in pin]
    locked = LOCK.read_text().lower().replace("_", "-").splitlines()
    assert len(pins) > 20
    assert [pin for pin in pins if pin not in locked] == []


def test_the_version(winnow):
    assert winnow("--version").stdout.strip() == version("winnow-ppl")


def test_reports(winnow, run):
    done = winnow("report", run.location, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["overall"]["num_documents"] == 5
    page = Path(run.location, "report.html").read_text()
    assert "<svg" in page


def test_compares_on_a_page(winnow, run, tmp_path):
    done = winnow("compare", run.location, run.location, "--out", "compared")
    assert done.returncode == 0, done.stderr
    assert "<svg" in (tmp_path / "compared/comparison.html").read_text()


def test_filters(winnow, run, tmp_path):
    report = json.loads(winnow("report", run.location, "--json").stdout)
    cut = report["overall"]["quantiles"]["perplexity"]["p50"]
    done = winnow("filter", run.location, "--max", f"perplexity={cut}", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads(done.stdout)["after"]["documents"] < 5
    assert list(tmp_path.iterdir()) == []


def test_checks_integrity_and_not_truth(winnow, run):
    done = winnow("verify", run.location, "--sample", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert {check["name"]: check["passed"] for check in json.loads(done.stdout)["checks"]} == {
        name: True for name in ("finished", "parts", "rows", "totals", "corpus")
    }
    refused = winnow("verify", run.location)
    assert refused.returncode == 2
    assert "needs torch, transformers" in refused.stderr
    assert "check integrity alone with --sample 0" in refused.stderr


def test_looks_and_compares(winnow, run):
    for command in (["status"], ["gc"], ["compare", run.location], ["plan"]):
        where = run.location if command != ["plan"] else str(Path(run.location, "../corpus"))
        done = winnow(*command, where, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


NEED_AN_EXTRA = {
    "score": ["score", "{corpus}", "--out", "r", "--model", "{model}"],
    "dry run": ["score", "{corpus}", "--out", "r", "--model", "{model}", "--dry-run"],
    "plan": ["plan", "{corpus}", "--model", "{model}"],
    "the hub": ["plan", "{corpus}", "--model", "org/model"],
    "a dataset": ["plan", "hf://datasets/org/name"],
    "jobs": ["jobs", "list"],
}


@pytest.mark.parametrize("command", NEED_AN_EXTRA.values(), ids=NEED_AN_EXTRA)
def test_what_needs_an_extra_says_so(winnow, run, tiny_model, tmp_path, command):
    names = {"corpus": Path(run.location, "../corpus"), "model": tiny_model}
    done = winnow(*(part.format(**names) for part in command))
    assert done.returncode == 2
    assert done.stdout == ""
    said, hint = done.stderr.splitlines()
    assert "which a core install of winnow-ppl does not have" in said
    assert hint.startswith("Hint: pip install 'winnow-ppl[cpu]', or 'winnow-ppl[gpu]'")
    assert list(tmp_path.iterdir()) == []


def test_a_page_says_which_extra_it_needs(winnow, run):
    done = winnow("explore", run.location)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "Error: winnow explore needs starlette, uvicorn, which a core install of winnow-ppl does "
        "not have",
        "Hint: pip install 'winnow-ppl[explore]'",
    ]


def test_the_demo_says_so_before_it_fetches_or_writes(core, tmp_path):
    done = call(core / "python", "-m", "jobs.demo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    said, hint = done.stderr.splitlines()
    assert said.startswith("Error: the demo needs ray, vllm, which")
    assert hint.startswith("Hint: pip install 'winnow-ppl[cpu]'")
    assert list(tmp_path.iterdir()) == []


def test_the_library_reads_runs(core, run, tmp_path):
    code = """
import sys
from pipeline import Scorer, WinnowError, build_report, read_scores
assert read_scores(sys.argv[1]).collect().height == build_report(sys.argv[1]).overall.num_documents
try:
    Scorer(sys.argv[1])
except WinnowError as error:
    print(error.hint)
"""
    done = call(core / "python", "-c", code, run.location, cwd=tmp_path)
    assert done.stdout.startswith("pip install 'winnow-ppl[cpu]'"), done.stderr


def test_every_import_is_of_the_core_or_of_the_extras(core, tmp_path):
    imported = set()
    for path in [p for top in ("pipeline", "jobs") for p in (ROOT / top).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    others = sorted(imported - set(sys.stdlib_module_names) - {"pipeline", "jobs"})
    code = "import sys; from importlib.util import find_spec; "
    code += "print(*[name for name in sys.argv[1:] if find_spec(name) is None])"
    missing = call(core / "python", "-c", code, *others, cwd=tmp_path).stdout.split()
    # pyarrow imports fsspec, for hf://. What only an engine imports is its backend's to name.
    of_engines = {module for backend in BACKENDS for module in backend.modules}
    assert {*missing, "fsspec"} == EXTRA_MODULES | of_engines
