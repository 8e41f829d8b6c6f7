"""One run that every test here looks at, and one of the same documents by another model."""

from pathlib import Path

import pytest

from pipeline.runs.store import RunStore
from tests.support.explored import explored_run, make_texts
from tests.support.fakes import FakeEngine
from tests.support.runs import score_corpus


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
