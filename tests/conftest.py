"""Fixtures that build data; no binary file is committed but those of tests/compatibility."""

import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from jobs.cli.main import app
from jobs.console.ending import end_process, run_command
from tests.support.tiny import save_llama

# A busy machine is no failure of a property, be it slow to check or its examples slow to make.
settings.register_profile("winnow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where WINNOW_MAY_SKIP is set, as in CI, a test is skipped for a reason it matches or not
    at all: a tool that went missing fails.
    """
    allowed = os.environ.get("WINNOW_MAY_SKIP")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if allowed is None or reporter is None:
        return
    skipped = [report.longrepr[2] for report in reporter.stats.get("skipped", [])]
    for reason in sorted({one for one in skipped if not re.search(allowed, one)}):
        reporter.write_line(f"must not be skipped here: {reason}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


ENDED = pytest.StashKey[pytest.Session]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[ENDED] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends as `winnow` does: this process has started and left Ray dozens of times."""
    session = config.stash.get(ENDED, None)
    if session is not None and "ray" in sys.modules:
        end_process(int(session.exitstatus))
