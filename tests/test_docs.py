"""The pages say what is there: commands, options, make targets, files, columns, links; so do
tests/README.md, the test of every fault, and CONTRIBUTING.md, the files to touch for a change.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from jobs.cli.main import app
from pipeline.audits.history import SCHEMA
from pipeline.schema import OWN_COLUMNS
from tests.support.reference import BESIDE, COLUMNS, DOCS, PAGES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
WRITTEN = [README, *sorted(page for page in DOCS.glob("*.md") if page.name not in PAGES)]
"""By hand."""
EVERY_PAGE = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), ROOT / "infra/README.md"]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
MOST_LINES = {README: 160}


def commands_of(page: Path) -> list[str]:
    """Every line of its shell blocks, without comments; what is shown with output has a prompt."""
    lines = []
    for language, block in BLOCK.findall(page.read_text()):
        for line in block.splitlines():
            if language == "sh" or line.startswith("$ "):
                # What is after a lone > is the shell's, not the command's.
                lines.append(re.split(r" *#| > (?=[\w.]+$)", line.removeprefix("$ "))[0].strip())
    return [line for line in lines if line]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_a_page_can_be_read_in_one_go(page: Path):
    assert len(page.read_text().splitlines()) <= MOST_LINES.get(page, 200)


def test_made_pages_are_not_stale():
    for name, made in PAGES.items():
        assert (DOCS / name).read_text() == made(), f"{name}: make schemas writes it"


def test_every_column_has_its_row():
    assert BESIDE.keys() | COLUMNS.keys() == OWN_COLUMNS


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = BLOCK.sub("", page.read_text())
    links = re.findall(r"\]\(([^)#\s]*)(#[^)]*)?\)", text)
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link, anchor in [*links, *((picture, "") for picture in pictures)]:
        if link.startswith("http"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor[1:] in slugs, anchor


def test_every_page_is_reached_from_the_first():
    reached, found = {README.resolve()}, [README]
    while found:
        page = found.pop()
        for link in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text()):
            target = (page.parent / link).resolve()
            if not link.startswith("http") and target not in reached:
                reached.add(target)
                found.append(target)
    assert {page.resolve() for page in DOCS.rglob("*.md")} <= reached


def test_pictures_are_small_and_have_words_for_who_cannot_see_them():
    text = "".join(page.read_text() for page in EVERY_PAGE)
    names = {
        Path(name).name
        for name in re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^]]{30,}\]\(([^)]+)\)', text)
        for name in name
        if name
    }
    assert names == {file.name for file in DOCS.glob("*.png")}
    for file in DOCS.glob("*.png"):
        assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), file
        assert file.stat().st_size < 300_000, file
    tags = re.findall(r"<img[^>]*>", text)
    assert tags
    for tag in tags:
        assert re.search(r'alt="[^"]{40,}"', tag), tag


@pytest.mark.parametrize(
    "line", sorted({line for page in EVERY_PAGE for line in commands_of(page)})
)
def test_every_command_exists(line: str):
    program, *arguments = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {one for one in arguments if "=" not in one} <= set(targets)
    elif program == "git":
        assert arguments[0] == "apply"
        assert (ROOT / arguments[1]).is_file()
    elif program == "winnow":
        command, *rest = arguments
        # Parses as the real one does; an unknown option or a missing argument raises.
        get_command(app).commands[command].make_context(command, rest)
    else:
        assert program in ("kubectl", "docker", "ray", "export", "promtool")


ABOUT_WINNOW = frozenset(["command", "cannot"])
"""What follows the name of Winnow in sentences about it."""
COMMAND = re.compile(r"\bwinnow ([a-z]+)((?:(?!winnow )[^\n`;:|])*)")


def said_in(module: Path) -> Iterator[str]:
    """Every text of a module; what an f-string puts in is a {}."""
    inner = set[int]()
    for node in ast.walk(ast.parse(module.read_text())):  # a text comes before its parts
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in inner:
            yield str(node.value)


@pytest.mark.parametrize("room", ["jobs", "pipeline"])
def test_every_command_that_a_message_names_exists(room):
    """With its options, in errors, hints, warnings, helps and docstrings."""
    commands, num_seen = get_command(app).commands, 0
    for module in (ROOT / room).rglob("*.py"):
        for said in said_in(module):
            for name, rest in COMMAND.findall(said):
                if name in ABOUT_WINNOW:
                    continue
                where = f"{module}: winnow {name}{rest}"
                assert name in commands, where
                num_seen += 1
                command = commands[name]
                if name == "jobs":
                    command = command.commands[rest.split()[0]]
                elif name == "config":  # its options are those of the command that it shows
                    continue
                known = {option for one in command.params for option in one.opts}
                given = re.findall(r"(?<!\S)--[a-z][a-z-]*", rest.partition(" -- ")[0])
                assert known >= set(given), where
    assert num_seen > 10


def test_the_table_of_rules_names_real_options():
    known = {option for p in get_command(app).commands["filter"].params for option in p.opts}
    rows = re.findall(r"^\| (`--.*?) \|", (DOCS / "choose-a-cut.md").read_text(), re.MULTILINE)
    named = {option for row in rows for option in re.findall(r"--[a-z-]+", row)}
    assert len(named) > 10
    assert named <= known


def test_the_table_of_the_history_names_every_column():
    rows = re.findall(r"^\| (`.*?|the same .*?) \|", (DOCS / "nights.md").read_text(), re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    ends = {name for name in SCHEMA if name.endswith(("_low", "_high"))}
    assert named == SCHEMA.keys() - ends | {"_low", "_high"}
    assert {name.rpartition("_")[0] for name in ends} < named


def test_the_tree_names_every_module_and_package():
    blocks = BLOCK.findall((DOCS / "extending.md").read_text())
    tree = next(block for _, block in blocks if "READ FIRST" in block)
    tops = [ROOT / "pipeline", ROOT / "jobs"]
    modules = {path.name for top in tops for path in top.glob("*.py")} - {"__init__.py"}
    packages = {path.parent.name + "/" for top in tops for path in top.glob("*/__init__.py")}
    named = {
        word for line in tree.splitlines() for word in re.split("  +", line.strip())[0].split()
    }
    assert {word for word in named if word.endswith(".py")} == modules
    assert {word for word in named if word.endswith("/")} == packages | {
        *("pipeline/", "jobs/", "tests/", "infra/"),
    }


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path):
    files = set(re.findall(r"`((?:pipeline|jobs|tests|infra)/[\w./*-]+)`", page.read_text()))
    assert [name for name in sorted(files) if not any(ROOT.glob(name))] == []
    assert page.name != "CONTRIBUTING.md" or len(files) > 15


def test_the_table_of_faults_names_real_tests():
    tests = ROOT / "tests"
    sources = {
        str(path.relative_to(tests).with_suffix("")): path.read_text()
        for path in tests.rglob("test_*.py")
    }
    rows = re.findall(r"^\|.*\| (.*) \|$", (ROOT / "tests/README.md").read_text(), re.MULTILINE)
    seen = 0
    for cell in rows:
        file = ""
        for module, name in re.findall(
            r"((?:\b\w+/)?\btest_\w+)|\b([a-z0-9]+(?:_[a-z0-9]+)+)", cell
        ):
            file = module or file
            assert file in sources, cell
            assert f"def test_{name}" in sources[file], f"{file}::{name}"
            seen += 1
    assert seen > 60
