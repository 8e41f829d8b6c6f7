"""One run that every test here looks at, and one of a hostile corpus."""

from pathlib import Path

import pytest

from pipeline.runs.store import RunStore
from tests.support.explored import explored_run, make_texts


@pytest.fixture(scope="package")
def scored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """240 documents of three sources, two without a text, with every token's log-probability."""
    rows = [*make_texts(), ("null", "web", None), ("none", None, "a text of no source")]
    return explored_run(tmp_path_factory.mktemp("explored"), tiny_model, rows, token_logprobs=True)
