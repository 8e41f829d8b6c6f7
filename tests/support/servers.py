"""Real object stores on loopback, for tests: started here, and ended by their own process ids.

They come from `.venv-faults`, which `make test` installs; where it is not there, tests skip.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Self

import pytest
from pyarrow import fs

FAULTS = Path(os.environ.get("WINNOW_TEST_FAULTS", Path(__file__).parents[2] / ".venv-faults"))
KEY = "winnowtestkey"
SECRET = "winnowtestSECRET"
BUCKET = "corpora"
START_SECONDS = 60
FIRST_PORT, NUM_PORTS = 20_000, 12_000
# No port twice, as its first user may not listen yet; and far from those of another process at the
# start, so that tests side by side do not meet.
CANDIDATES = (FIRST_PORT + number % NUM_PORTS for number in count(os.getpid() * 397))


def tool(name: str, install: str = "make .venv-faults/.ready") -> Path:
    """A program of `.venv-faults`; skips the test, saying how to get it, where it is missing."""
    path = FAULTS / name
    if not path.exists():
        pytest.skip(f"no {path.name} in {FAULTS.name}: {install}")
    return path


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now, above those of Ray's workers and below those that the
    system gives to clients: whoever asks for one of these later does not get it by chance.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < number:
            candidate = next(CANDIDATES)
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            ports.append(candidate)
        return ports


class Server:
    """A process that answers on a port of loopback. Its data outlives it: start it again."""

    def __init__(
        self, command: list[str], log: Path, is_up: Callable[[], object], env: Mapping[str, str]
    ) -> None:
        self._command = command
        self._log = log
        self._is_up = is_up
        self._env = {"PATH": os.environ["PATH"], **env}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._env, cwd=self._log.parent
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self._is_up():
                    return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command[0]} did not start; see {self._log}")
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Accept connections and answer nothing, as a partition does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class SeaweedFS(Server):
    """An S3 server that checks credentials, with one bucket."""

    def __init__(self, folder: Path) -> None:
        weed = tool("bin/weed")
        folder.mkdir(parents=True, exist_ok=True)
        names = ("s3", "master", "filer", "volume", "admin", "filer.public", "volume.public")
        ports = free_ports(2 * len(names))
        # Each is named: a port that is taken is replaced by another silently.
        options = [
            option
            for name, port, grpc in zip(names, ports[::2], ports[1::2], strict=True)
            for option in (
                [f"-{name.split('.')[0]}.port.public={port}"]
                if name.endswith("public")
                else [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
            )
        ]
        self.port = ports[0]
        self.filesystem = fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
        )
        super().__init__(
            [
                *(str(weed), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-webdav=false", "-admin.ui=false", "-master.telemetry=false"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64"),
                *options,
            ],
            folder.with_suffix(".log"),
            self._is_whole,
            {
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "S3_BUCKET": BUCKET,
                "HOME": str(folder),
            },
        )

    def _is_whole(self) -> bool:
        """Its volumes and filer come up after the door does: an object must go in and come out."""
        name = f"{BUCKET}/up"
        with self.filesystem.open_output_stream(name) as sink:
            sink.write(b"up")
        with self.filesystem.open_input_stream(name) as source:
            answered: bool = source.read() == b"up"
        self.filesystem.delete_file(name)
        return answered

    def location(self, path: str, *, port: int | None = None, bucket: str = BUCKET) -> str:
        """The URI of something in the bucket, by way of another port if a proxy stands there."""
        query = f"endpoint_override=127.0.0.1:{port or self.port}&scheme=http&region=us-east-1"
        return f"s3://{bucket}/{path}?{query}"
