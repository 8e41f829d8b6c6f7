"""A run and its corpus on a real S3 server are explored as those of a local disk."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.explore import cache
from pipeline.explore.cache import cached_bins
from pipeline.explore.run import open_run
from pipeline.runs.store import RunStore
from tests.support.explored import explored_run, exploring, make_texts
from tests.support.runs import score_corpus
from tests.support.servers import BUCKET, KEY, SECRET, SeaweedFS

SHOWN = {"place": "high", "metric": 0, "by": 0, "high": 5.2}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "data") as server:
            yield server


@pytest.fixture(scope="module")
def local(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    explored_run(folder, tiny_model, make_texts(120), token_logprobs=True)
    return folder


@pytest.fixture(scope="module")
def remote(store: SeaweedFS, local: Path, tiny_model: Path) -> RunStore:
    """The same corpus, scored there."""
    for file in (local / "corpus").iterdir():
        with store.filesystem.open_output_stream(f"{BUCKET}/data/{file.name}") as sink:
            sink.write(file.read_bytes())
    corpus, run = store.location("data"), store.location("run")
    return score_corpus(corpus, run, tiny_model, carry=("source",), token_logprobs=True)


def test_a_page_answers_as_from_a_local_disk(local, remote, winnow):
    with (
        exploring(local / "run", "--no-open") as here,
        exploring(remote.location, "--no-open") as there,
    ):
        for name, words in {
            "count": SHOWN | {"low": 4.8},
            "examples": SHOWN,
            "sorts": {"by": 0},
            "document": {"at": "1:2"},
            "tokens": {"at": "1:2"},
        }.items():
            ours, theirs = here.ask(name, **words), there.ask(name, **words)
            line = theirs.pop("command", None)
            for one in (ours, theirs):
                one.pop("command", None)
                one.pop("toml", None)
            assert theirs == ours
            if line:
                code, out, err = winnow(*shlex.split(line)[1:], "--dry-run", "--json")
                assert code == 0, err
                assert json.loads(out)["after"] == theirs["after"]
        assert "tokens" in there.ask("tokens", at="1:2")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_judgements_are_kept_there(store, remote, elsewhere):
    options = ["--judgements", store.location("mine/of-me.parquet")] if elsewhere else []
    with exploring(remote.location, "--no-open", *options) as server:
        drawn = server.ask("next", metric=0, scope="all")
        assert drawn["text"]
        server.tell("judge", metric=0, at=drawn["at"], said="good", drawn="yes")
        server.process.kill()
    name = "mine/of-me.parquet" if elsewhere else "run/judgements.parquet"
    assert store.filesystem.get_file_info(f"{BUCKET}/{name}").size
    with exploring(remote.location, "--no-open", *options) as server:
        assert server.ask("run")["judgements"]["number"] == 1
        assert server.ask("next", metric=0, scope="all")["at"] != drawn["at"]


def test_bins_are_kept_there(remote, monkeypatch):
    monkeypatch.setattr(cache, "FEWEST_ROWS", 1)
    first = cached_bins(open_run(remote.location), "perplexity", "source")
    monkeypatch.setattr(cache, "fill_bins", lambda *_, **__: pytest.fail("read again"))
    assert cached_bins(open_run(remote.location), "perplexity", "source").cells.equals(first.cells)


def test_credentials_that_may_only_read(remote, monkeypatch):
    """As with any store or disk that refuses to be written."""
    monkeypatch.setattr(cache, "FEWEST_ROWS", 1)
    run = open_run(remote.location)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(type(run.store.root), "write_bytes", refuse)
    assert cached_bins(run, "bits_per_byte", None).cells.height
