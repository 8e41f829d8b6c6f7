"""The Jobs API of a Ray cluster: start a job once, follow it, say how it ended.

Owns the conversation: waiting for a dashboard that is not ready, at most one job per id, a log that
survives a broken connection, exit codes. What is submitted is submit.py's; prints nothing.
"""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from jobs.submission.readiness import is_not_ready, reason
from jobs.submission.submit import Submission, check_id
from pipeline.errors import UsageError, WinnowError, first_line

T = TypeVar("T")

REQUEST_SECONDS = (10.0, 120.0)
"""Time-outs to connect and to answer: the dashboard waits for its agent, and unpacks uploads."""
VERSION = "/api/version"
VERSION_SECONDS = (10.0, 20.0)
"""The same for its version, which is asked for first and takes it nothing: a person waits."""
POLL_SECONDS = 0.5
LOST_SECONDS = 60.0
"""How long a cluster may be unreachable while a job is followed."""
STOP_SECONDS = {"pending": 5.0, "running": 60.0}
"""Ray cannot cancel a job that waits for resources."""
QUIET_SECONDS = 60.0
"""A log that is silent for so long may be a broken connection: check, and connect again."""
EXIT_STOPPED = 143
ATTEMPT_KEY = "winnow_attempt"
"""Metadata that distinguishes the job of this call from another with the same id."""

CHATTY = (
    "_private.runtime_env.packaging",
    "dashboard.modules.dashboard_sdk",
    "dashboard.modules.job.sdk",
)
"""Loggers that report every upload and every closed socket."""
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the cluster reports it. Times are seconds since the epoch."""

    id: str
    state: str  # pending, running, succeeded, failed or stopped
    command: str
    started: float | None
    ended: float | None
    message: str
    exit_code: int | None
    """Exit code of the job's command, if known; None while the job runs."""
    metadata: dict[str, str]

    @property
    def seconds(self) -> float | None:
        """How long it took, or has been taking."""
        if self.started is None:
            return None
        return max(0.0, (self.ended or time.time()) - self.started)


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client with a timeout: without one, a host that is gone hangs it forever."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        options["timeout"] = VERSION_SECONDS if endpoint == VERSION else REQUEST_SECONDS
        answer: requests.Response = super()._do_request(method, endpoint, **options)
        return answer


class Cluster:
    """The Jobs API of one cluster. Every method raises UsageError if it cannot be reached."""

    def __init__(
        self, address: str, *, wait_seconds: float = 0, on_wait: Callable[[str], None] | None = None
    ) -> None:
        """Connect, trying for `wait_seconds` while the dashboard is not ready.

        `on_wait` is called with what is waited for.
        """
        self.address = address
        self._wait_seconds = wait_seconds
        self._on_wait = on_wait
        for name in CHATTY:
            logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
        self._client = self._with_retries(lambda: _connect(address))

    def submit(self, submission: Submission) -> None:
        """Start a job once: a second call with the same id is refused, whatever became of it.

        Raises UsageError if the id is taken, and if the working directory cannot be uploaded.
        """
        attempt = secrets.token_hex(8)
        metadata = submission.metadata | {ATTEMPT_KEY: attempt}
        self._refuse_taken(submission.id, attempt)

        def once(folder: str | None) -> None:
            try:
                self._client.submit_job(
                    entrypoint=submission.entrypoint,
                    submission_id=submission.id,
                    runtime_env={"working_dir": folder} if folder else {},
                    metadata=metadata,
                    entrypoint_num_cpus=submission.num_cpus,
                    entrypoint_num_gpus=submission.num_gpus,
                    entrypoint_memory=submission.memory_bytes,
                )
            except RuntimeError as error:
                # Another call came first; or the answer to ours was lost and the job exists.
                if "already exists" not in str(error):
                    raise
                self._refuse_taken(submission.id, attempt)
            except ValueError as error:
                raise UsageError(
                    f"{submission.working_dir} cannot be uploaded: {first_line(error)}",
                    hint="--working-dir is for configuration files, not for corpora and models; "
                    "a .gitignore in it leaves files out",
                ) from error

        with submission.upload_folder() if submission.working_dir else nullcontext() as folder:
            self._with_retries(lambda: once(folder))

    def _refuse_taken(self, job_id: str, attempt: str) -> None:
        there = self._find(job_id)
        if there is None or there.metadata.get(ATTEMPT_KEY) == attempt:
            return
        raise UsageError(
            f"job {job_id} was submitted before; its state: {there.state}",
            hint=f"winnow jobs logs {job_id} prints its log; choose another --id for a new job",
        )

    def job(self, job_id: str) -> Job:
        """Raises UsageError if there is no such job."""
        found = self._find(check_id(job_id))
        if found is None:
            raise UsageError(
                f"{self.address} has no job {job_id}", hint="winnow jobs list shows all"
            )
        return found

    def jobs(self) -> list[Job]:
        """Every job that was submitted to the cluster, newest first."""
        details = self._with_retries(self._client.list_jobs)
        jobs = [job_of(each) for each in details if each.submission_id]
        return sorted(jobs, key=lambda job: job.started or 0, reverse=True)

    def logs(self, job_id: str) -> str:
        """What the job has printed so far, stdout and stderr together."""
        self.job(job_id)
        return str(self._with_retries(lambda: self._client.get_job_logs(job_id)))

    def stop(self, job_id: str) -> tuple[Job, bool]:
        """Stop a job and wait until it has ended: the job, and whether this call stopped it.

        Raises WinnowError if it does not end.
        """
        job = self.job(job_id)
        if job.exit_code is not None:
            return job, False
        self._with_retries(lambda: self._client.stop_job(job_id))
        told = time.monotonic()
        while (job := self.job(job_id)).exit_code is None:
            if time.monotonic() - told > STOP_SECONDS[job.state]:
                raise WinnowError(
                    f"job {job_id} was asked to stop and is still {job.state}",
                    hint="the job waits for CPUs, GPUs or memory, and ends as soon as it gets them"
                    if job.state == "pending"
                    else f"winnow jobs status {job_id} shows whether it ends",
                )
            time.sleep(POLL_SECONDS)
        return job, job.state == "stopped"

    def follow(self, job_id: str, write: Callable[[str], None]) -> Job:
        """Pass on what the job prints until it ends; the job as it ended.

        A broken connection is made again, and what was written is not written twice.
        """
        self.job(job_id)
        self._wait_seconds = max(self._wait_seconds, LOST_SECONDS)
        num_written = 0
        try:
            while (job := self.job(job_id)).exit_code is None:
                num_written = asyncio.run(self._tail(job_id, num_written, write))
                time.sleep(POLL_SECONDS)
        except UsageError as error:
            raise WinnowError(
                f"lost the connection to job {job_id}: {error}",
                hint=f"once the cluster answers, winnow jobs logs {job_id} --follow continues",
            ) from error
        # The log is complete now, unless it is gone with the node that the job ran on.
        with contextlib.suppress(RuntimeError, OSError):
            write(str(self._client.get_job_logs(job_id))[num_written:])
        return job

    async def _tail(self, job_id: str, num_written: int, write: Callable[[str], None]) -> int:
        """Write until the log ends, breaks off or falls silent; how many characters it wrote."""
        to_skip = num_written
        chunks: AsyncIterator[str] = self._client.tail_job_logs(job_id)
        with contextlib.suppress(RuntimeError, OSError, aiohttp.ClientError, TimeoutError):
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                fresh, to_skip = chunk[to_skip:], max(0, to_skip - len(chunk))
                if fresh:
                    write(fresh)
                    num_written += len(fresh)
        return num_written

    def _find(self, job_id: str) -> Job | None:
        try:
            return job_of(self._with_retries(lambda: self._client.get_job_info(job_id)))
        except RuntimeError as error:
            if "status code 404" in str(error):
                return None
            raise

    def _with_retries(self, ask: Callable[[], T]) -> T:
        """Ask, and retry while the cluster is not ready and there is time."""
        retrying = Retrying(
            stop=stop_after_delay(self._wait_seconds),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            retry=retry_if_exception(is_not_ready),
            before_sleep=self._say_waiting,
            reraise=True,
        )
        try:
            return retrying(ask)
        except AuthenticationError as error:
            verb = (
                "rejects the token" if "Authentication failed" in str(error) else "requires a token"
            )
            raise UsageError(
                f"{self.address} {verb}",
                hint="set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the "
                "cluster's token",
            ) from error
        except Exception as error:
            if not is_not_ready(error):
                raise
            raise UsageError(
                f"no Ray dashboard is ready at {self.address}: {reason(error)}",
                hint="--address or RAY_API_SERVER_ADDRESS names another; --wait-for-cluster "
                "SECONDS waits for one that is starting",
            ) from error

    def _say_waiting(self, state: RetryCallState) -> None:
        if self._on_wait is not None and state.outcome is not None:
            self._on_wait(reason(state.outcome.exception()))


def _connect(address: str) -> _Client:
    # Ray lets these two variables override the argument; here an option overrides the environment.
    overriding = {name: os.environ.pop(name, None) for name in ADDRESS_VARIABLES}
    try:
        return _Client(address)
    finally:
        os.environ.update({name: value for name, value in overriding.items() if value is not None})


def job_of(details: JobDetails) -> Job:
    """A Job from Ray's own record of it."""
    state = JobStatus(details.status)
    exit_code = None
    if state == JobStatus.SUCCEEDED:
        exit_code = 0
    elif state == JobStatus.STOPPED:
        exit_code = EXIT_STOPPED
    elif state == JobStatus.FAILED:
        own = details.driver_exit_code or 1
        exit_code = own if own > 0 else 128 - own  # as a shell reports a signal
    return Job(
        id=details.submission_id or details.job_id,
        state=state.value.lower(),
        command=details.entrypoint,
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        # The end of the log follows it, which `winnow jobs logs` prints.
        message=re.split(", last available logs|\\n", (details.message or "").strip())[0],
        exit_code=exit_code,
        metadata=details.metadata or {},
    )
