"""Fixtures that build data; no binary file is committed but those of tests/compatibility."""

from pathlib import Path

import pytest
from hypothesis import settings

from jobs.cli.main import app, run_command
from tests.support.tiny import save_llama

# A busy machine is no failure of a property.
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")


@pytest.fixture
def winnow(capsys: pytest.CaptureFixture[str]):
    """arguments -> (exit code, stdout, stderr)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: app([str(argument) for argument in arguments]))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    save_llama(folder)
    return folder
