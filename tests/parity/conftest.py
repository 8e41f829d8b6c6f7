"""Slow checks with the trained model: `make test-parity`."""

from pathlib import Path

import pytest

from jobs.demo.corpus import build_demo_corpus
from jobs.demo.model import demo_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.parity)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M, fetched on first use."""
    return demo_model()


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_demo_corpus(tmp_path_factory.mktemp("demo") / "corpus")
