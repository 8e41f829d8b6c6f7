"""`winnow explore` whose engine is tests/fakes.py's, and takes as long to load as it is told; and
whose pass over the scores never ends, if asked.

python -m tests.support.fake_engine explore RUN     the server
python -m tests.support.fake_engine RUN             what it starts to score with
"""

import os
import sys
import time
from typing import Any

from jobs.explore import engine
from pipeline.engine.vllm.backend import VllmBackend
from pipeline.explore import cache
from pipeline.explore.bins import fill_bins
from tests.support.fakes import FakeEngine

LOAD_SECONDS = "FAKE_ENGINE_LOAD_SECONDS"
ENDLESS_PASS = "FAKE_ENDLESS_PASS"
PASSING = "the pass has begun"
MODULE = "tests.support.fake_engine"


class LoadedFake(FakeEngine):
    def close(self) -> None:
        """Nothing to let go of."""


def load(*_: Any) -> LoadedFake:
    time.sleep(float(os.environ.get(LOAD_SECONDS, "0")))
    return LoadedFake()


def pass_for_ever(*arguments: Any, **options: Any) -> None:
    """As a run of a hundred million rows is read: in Polars, in the main thread."""
    fill_bins(*arguments, **options)
    print(PASSING, file=sys.stderr, flush=True)
    while True:
        fill_bins(*arguments, **options)


def main() -> None:
    VllmBackend.modules = ()
    VllmBackend.engine = load  # type: ignore[method-assign]
    if sys.argv[1] == "explore":
        from jobs.cli.main import main as command

        if os.environ.get(ENDLESS_PASS):
            cache.fill_bins = pass_for_ever  # type: ignore[assignment]
        engine.COMMAND = [sys.executable, "-m", MODULE]
        command()
    else:
        engine.main()


if __name__ == "__main__":
    main()
