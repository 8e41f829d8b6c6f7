"""README.md says what is there: commands, options, make targets, files and columns; so does
tests/README.md: the test of every fault; and CONTRIBUTING.md: the files to touch for a change.
"""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from jobs.cli.main import app
from pipeline.schema import LOCATOR_FIELDS, SCORE_FIELDS, TOKEN_FIELDS
from tests.support.readme import MADE, column_rows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
SHELL = [block for language, block in BLOCKS if language == "sh"]
# What is after a lone > is the shell's, not the command's.
LINES = [
    re.split(r"#| > (?=[\w.]+$)", line)[0].strip() for block in SHELL for line in block.splitlines()
]
# What is shown with its output is written after a prompt.
SHOWN = [
    line.removeprefix("$ ")
    for _, block in BLOCKS
    for line in block.splitlines()
    if line[:2] == "$ "
]
COMMANDS = [line for line in LINES if line] + SHOWN


PICTURES = re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^]]+\]\(([^)]+)\)', README)
MOST_LINES = 300


def test_the_readme_can_be_read_in_one_go():
    assert len(README.splitlines()) < MOST_LINES


def test_pictures_are_there_and_small():
    names = ["".join(found) for found in PICTURES]
    assert "docs/report.png" in names
    for name in names:
        content = (ROOT / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n"), name
        assert len(content) < 300_000, name
    assert {f"docs/{file.name}" for file in (ROOT / "docs").iterdir()} == set(names)


def test_every_picture_has_words_for_who_cannot_see_it():
    tags = re.findall(r"<img[^>]*>", README)
    assert tags
    for tag in tags:
        assert re.search(r'alt="[^"]{40,}"', tag), tag


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_exists(line: str):
    program, *arguments = shlex.split(line)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in targets
        return
    assert program == "winnow"
    name, *rest = arguments
    group = get_command(app)
    command = group.commands[name]
    # Parses as the real one does; an unknown option or a missing argument raises.
    command.make_context(name, rest)


def test_the_options_table_names_real_options():
    known = {option for p in get_command(app).commands["score"].params for option in p.opts}
    for row in re.findall(r"^\| (`--.*?) \|", README, re.MULTILINE):
        for option in re.findall(r"--[a-z-]+", row):
            assert option in known


def test_the_tree_names_every_module_and_package():
    tree = next(block for _, block in BLOCKS if "READ FIRST" in block)
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


def test_the_columns_table_is_the_schema():
    start = README.index("| column | meaning |")
    table = README[start : README.index("\n\n", start)]
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines())))
    schema = {field.name for field in [*LOCATOR_FIELDS, *SCORE_FIELDS]}
    assert named == schema | {"doc_id", *TOKEN_FIELDS}
    assert MADE.findall(table) == [column_rows()], "make schemas writes it"


def test_what_to_touch_for_a_change_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    files = set(re.findall(r"`((?:pipeline|jobs|tests|infra)/[\w./]+)`", text))
    assert len(files) > 15
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []


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
