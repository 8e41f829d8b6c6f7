"""One run that every test here looks at, one of the same documents by another model, a browser."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.runs.store import RunStore
from tests.support.chromium import CHROMIUM
from tests.support.explored import FLAGS, explored_run, make_texts, npm_package
from tests.support.fakes import FakeEngine
from tests.support.runs import score_corpus
from tests.support.visits import Visit


@pytest.fixture(scope="package")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """240 documents of three sources, two without a text, with every token's log-probability."""
    rows = [*make_texts(), ("null", "web", None), ("none", None, "a text of no source")]
    return explored_run(tmp_path_factory.mktemp("explored"), tiny_model, rows, token_logprobs=True)


class OtherEngine(FakeEngine):
    """Surprised by other things."""

    def score(self, windows):
        for answer in super().score(windows):
            wanes = 0.6 + 0.5 * (len(answer.logprobs) * 7 % 11) / 11
            yield answer._replace(logprobs=answer.logprobs * wanes - 0.2)


@pytest.fixture(scope="package")
def other(scored: RunStore, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """The same documents by another model, in other shards."""
    corpus = Path(scored.require_manifest().corpus)
    folder = tmp_path_factory.mktemp("other") / "run"
    return score_corpus(
        corpus, folder, tiny_model, engine=OtherEngine(), carry=("source",), shard_tokens=2000
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """For a module, not for all: while it is there, no test can run an event loop of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser) -> Iterator[Any]:
    """keywords of a context -> Visit; held to be quiet when the test ends."""
    opened: list[Visit] = []

    def begin(**context: Any) -> Visit:
        opened.append(Visit(browser, **context))
        return opened[-1]

    yield begin
    for one in opened:
        assert one.left == []
        assert one.complaints == []
        one.context.close()


@pytest.fixture
def filtered(winnow):
    """A command line of the page -> what `winnow filter` says it keeps."""

    def run(line: str) -> dict[str, Any]:
        program, *arguments = shlex.split(line)
        assert program == "winnow"
        code, out, err = winnow(*arguments, "--by", "source", "--dry-run", "--json")
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core as a script that gives nothing back."""
    package = npm_package(tmp_path_factory.mktemp("axe"), "axe-core@4.14.1")
    return (package / "axe.min.js").read_text() + "\n;0"
