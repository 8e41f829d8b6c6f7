"""Runs to explore, a server of `winnow explore` in a process of its own, and a browser for it."""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runs.store import RunStore
from tests.support.chromium import CHROMIUM
from tests.support.runs import score_corpus

ROOT = Path(__file__).parents[2]
SOURCES = ("web", "books", "code")
WORDS = ["of", "the", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "are", "as"]
FLAGS = [
    *(
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
    ),
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


def make_texts(number: int = 240) -> list[tuple[str, str, str]]:
    """(id, source, text), of every length and surprise; two have no text."""
    chance = random.Random(7)
    rows = []
    for i in range(number):
        words = chance.choices(WORDS, k=chance.randint(1, 60))
        words += [f"{chance.random():.9f}" for _ in range(chance.randint(0, i % 9))]
        rows.append((f"doc-{i}", chance.choice(SOURCES), " ".join(words)))
    return rows


def explored_run(
    folder: Path, model: Path, rows: Sequence[tuple[str, str | None, str | None]], **settings
) -> RunStore:
    """A finished run over a corpus of these rows in four files."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    size = -(-len(rows) // 4)
    for at in range(0, len(rows), size):
        ids, sources, texts = zip(*rows[at : at + size], strict=True)
        table = pa.table(
            {
                "doc_id": pa.array(ids, pa.string()),
                "source": pa.array(sources, pa.string()),
                "text": pa.array(texts, pa.string()),
            }
        )
        pq.write_table(table, corpus / f"{at // size}.parquet", row_group_size=20)
    return score_corpus(corpus, folder / "run", model, carry=("source",), **settings)


class Explored(NamedTuple):
    """A server that answers."""

    address: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].partition("/")[0])

    @property
    def path(self) -> str:
        return "/" + self.address.split("/", 3)[3]

    def ask(self, name: str, **words: str | int) -> dict[str, Any]:
        """What the server answers to a page's question."""
        return self._answer("GET", f"api/{name}?{urlencode(words)}")

    def tell(self, name: str, **words: str | int) -> dict[str, Any]:
        """The same of what changes something."""
        return self._answer(
            "POST", f"api/{name}", json.dumps({k: f"{v}" for k, v in words.items()})
        )

    def _answer(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, self.path + path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            told: dict[str, Any] = json.loads(answer.read())
            assert answer.status == 200, told
            return told

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


def begin_exploring(
    run: str | Path, *options: str, module: str = "jobs.cli", **variables: str
) -> subprocess.Popen[str]:
    """`winnow explore` of a run, whatever comes of it."""
    hidden = ("WINNOW_", "SSH_", "DISPLAY", "WAYLAND")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.Popen(
        [sys.executable, "-m", module, "explore", str(run), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=kept | variables,
    )


@contextlib.contextmanager
def exploring(
    run: str | Path, *options: str, module: str = "jobs.cli", **variables: str
) -> Iterator[Explored]:
    """`winnow explore` of a run, until the block ends."""
    process = begin_exploring(run, *options, module=module, **variables)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            _, said = process.communicate(timeout=20)
            raise AssertionError(f"exit code {process.returncode}: {said}")
        yield Explored(address, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def npm_package(folder: Path, name: str) -> Path:
    """A package of npm's, fetched for the test and not run; skips the test where it cannot be."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run([*install, "--prefix", str(folder), name], check=False, timeout=120)
    found = folder / "node_modules" / name.partition("@")[0]
    if done.returncode or not found.is_dir():
        pytest.skip(f"npm cannot fetch {name}")
    return found


def why_no_browser() -> str | None:
    """What is missing for tests in a browser."""
    if CHROMIUM is None:
        return "no chromium on this machine: apt-get install chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright in this environment"
    return None
