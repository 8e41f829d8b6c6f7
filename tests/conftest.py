"""Fixtures that build data; no binary file is committed."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import save_llama

# A busy machine is no failure of a property.
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")


ENGINES = {"test_architectures", "test_cli_flow", "test_engine", "test_invariance", "test_verify"}
"""Files that run vLLM. Two engines at once on two cores wait for each other's threads."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal files to workers whole, for their fixtures; all that run an engine to one worker."""
    for item in items:
        name = item.path.stem
        item.add_marker(pytest.mark.xdist_group("engine" if name in ENGINES else name))
    items.sort(key=lambda item: item.path.stem not in ENGINES)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    save_llama(folder)
    return folder
