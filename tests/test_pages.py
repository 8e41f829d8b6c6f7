"""What the pages tell a reader to type is typed, page by page, in a folder of its own.

Commands run as written, with a tiny model in place of the named one and an engine that costs
nothing; then the page's Python, over what they left. Commands that need a cluster, a bucket or a
browser are run elsewhere: tests/integration, tests/infra, tests/submission, tests/verification and
tests/explore.
"""

import re
import shlex
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.nights import audit as module
from tests.support.audits import Scorer
from tests.support.runs import score_corpus
from tests.test_docs import BLOCK, DOCS, README, ROOT, WRITTEN, commands_of

MODEL = "HuggingFaceTB/SmolLM2-135M"
ELSEWHERE = re.compile(
    r"winnow (?:submit|jobs|explore)\b|.*(?:s3://|configs/score.toml|--sample [1-9])|(?!winnow )"
)
"""Needs more than this test has (true scores, too), or is not Winnow's."""
RUNS = re.compile(r"\b(?:runs/(?!nightly|web|mine|next)\w+|demo/run)\b")
ROWS = [
    {
        "text": f"A text about {word}, the {i}th of its kind." if i % 7 else "n\x00ise" * i,
        "source": ("prose", "base64", "web")[i % 3],
        "lang": ("en", "de")[i % 2],
    }
    for i, word in enumerate(["rivers", "houses", "tax", "bread"] * 15)
]


def typed(page: Path) -> list[str]:
    return [line for line in commands_of(page) if not ELSEWHERE.match(line)]


@pytest.mark.parametrize("page", [one for one in WRITTEN if typed(one)], ids=lambda one: one.stem)
def test_the_commands_run(page, winnow, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(module, "run_night", partial(module.run_night, score=Scorer()))
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    data = tmp_path / "data"
    data.mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), data / "a.parquet", row_group_size=8)
    for name in sorted(set(RUNS.findall(page.read_text()))):
        score_corpus(data, tmp_path / name, tiny_model, carry=("source", "lang"))
    for language, block in BLOCK.findall((DOCS / "nights.md").read_text()):
        if language == "toml":
            (tmp_path / "nightly.toml").write_text(block.replace(MODEL, str(tiny_model)))
    for line in typed(page):
        arguments = shlex.split(line.replace(MODEL, str(tiny_model)))[1:]
        code, _, err = winnow(*arguments)
        # A gate may close; that is no fault of the page.
        assert code == 0 or (code == 1 and "--fail-if" in arguments), f"{line}\n{err}"
    for language, block in BLOCK.findall(page.read_text()):
        if language == "python":
            exec(block, {})


def test_most_commands_are_typed():
    lines = [line for page in WRITTEN for line in commands_of(page) if line.startswith("winnow")]
    assert len([line for page in WRITTEN for line in typed(page)]) > 0.7 * len(lines)
    assert typed(README)
