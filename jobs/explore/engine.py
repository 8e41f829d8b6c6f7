"""The run's model, in a process of its own, started when a person first asks for it.

Owns that process and what is said between the two: a line of JSON per text, and one per answer. It
ends with the server, however that ends: its standard input closes then. It is a session of its own,
so that Ctrl-C is the server's alone.

    python -m jobs.explore.engine RUN
"""

import asyncio
import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.console.ending import begin_process
from jobs.console.signals import Terminated
from pipeline.engine.backends import backend_of
from pipeline.errors import INSTALL, EngineError, WinnowError, first_line
from pipeline.runs.manifest import Manifest
from pipeline.schema import TOKEN_FIELDS

COMMAND = [sys.executable, "-m", "jobs.explore.engine"]
LONGEST_ANSWER = 1 << 30
GRACE_SECONDS = 3
"""Between asking a process to end and ending it."""


class EngineProcess:
    """Scores texts as the run did, one at a time; loads the model for the first."""

    def __init__(self, location: str, manifest: Manifest) -> None:
        self._location, self._manifest = location, manifest
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self.is_loaded = False

    @property
    def missing(self) -> str | None:
        """What there would have to be."""
        missing = [one for one in backend_of(self._manifest.rules).modules if not find_spec(one)]
        if missing:
            return f"scoring it now needs {', '.join(missing)}, which is not installed ({INSTALL})"
        if not Path(self._manifest.model.folder).is_dir():
            return f"the model's folder is not here: {self._manifest.model.folder}"
        return None

    async def score(self, text: str) -> dict[str, Any]:
        """A text's score row. Raises EngineError, and what kept the model from being loaded."""
        async with self._turn:
            if self._process is None:
                self._process = await asyncio.create_subprocess_exec(
                    *(*COMMAND, self._location),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # What engines print would be between the server's own lines.
                    stderr=None if os.environ.get("WINNOW_DEBUG") else asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                    limit=LONGEST_ANSWER,
                )
                await self._answer()
                self.is_loaded = True
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(text).encode() + b"\n")
            return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = await process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {}
        if not line or "error" in told:
            # Whatever ails it: the next who asks gets another one.
            self._process, self.is_loaded = None, False
            if told:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            code = await process.wait()
            why = "it was killed, as where memory runs out" if code < 0 else f"exit code {code}"
            raise EngineError(told.get("error", f"the engine's process ended: {why}"))
        return told


def main() -> None:
    """The process: load the model, say so, answer until nobody asks any more."""
    begin_process()
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    try:
        from pipeline.library import Scorer

        with Scorer.of_run(sys.argv[1]) as scorer:
            _say({})
            while True:
                (row,) = scorer.score([json.loads(asked.get())]).to_dicts()
                _say({name: row[name] for name in ("status", "nll", *TOKEN_FIELDS)})
    except Terminated:
        return
    except WinnowError as error:
        _say({"error": str(error)})
    except Exception as error:  # of any library's kind; the page says it
        _say({"error": f"{type(error).__name__}: {first_line(error)}"})


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def _listen(asked: "queue.SimpleQueue[str]") -> None:
    """Until the server is gone; then nothing of this session stays, whatever it was doing."""
    for line in sys.stdin:
        asked.put(line)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
