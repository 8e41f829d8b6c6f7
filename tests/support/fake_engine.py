"""`winnow explore` whose engine is tests/fakes.py's, and takes as long to load as it is told.

python -m tests.support.fake_engine explore RUN     the server
python -m tests.support.fake_engine RUN             what it starts to score with
"""

import os
import sys
import time
from typing import Any

from jobs.explore import engine
from pipeline.engine.vllm.backend import VllmBackend
from tests.support.fakes import FakeEngine

LOAD_SECONDS = "FAKE_ENGINE_LOAD_SECONDS"
MODULE = "tests.support.fake_engine"


class LoadedFake(FakeEngine):
    def close(self) -> None:
        """Nothing to let go of."""


def load(*_: Any) -> LoadedFake:
    time.sleep(float(os.environ.get(LOAD_SECONDS, "0")))
    return LoadedFake()


def main() -> None:
    VllmBackend.modules = ()
    VllmBackend.engine = load  # type: ignore[method-assign]
    if sys.argv[1] == "explore":
        from jobs.cli.main import main as command

        engine.COMMAND = [sys.executable, "-m", MODULE]
        command()
    else:
        engine.main()


if __name__ == "__main__":
    main()
