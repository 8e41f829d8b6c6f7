"""Fixtures that build data; no binary file is committed."""

from pathlib import Path

import pytest

from tests.tiny import save_llama


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    save_llama(folder)
    return folder
