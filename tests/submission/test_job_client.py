"""jobs/submission/job_client.py against a dashboard that misbehaves; test_jobs.py has a real one.

The dashboard is a server of ours: a real one cannot be told to fail at the third request.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from ray.job_submission import JobDetails

from jobs.submission import job_client
from jobs.submission.job_client import Cluster, job_of
from jobs.submission.readiness import is_not_ready, reason
from jobs.submission.submit import Submission
from pipeline.errors import UsageError, WinnowError

VERSION = {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": "s"}
NO_AGENT = (500, "No available agent to submit job, please try again later.")


@dataclass
class Dashboard:
    """Jobs in a dictionary, and faults to come: what the next requests of a path are answered."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.requests.append(f"{method} {path}")
        fault = next(iter(self.faults.get(f"{method} {path}", [])), None)
        if fault is not None:
            self.faults[f"{method} {path}"].pop(0)
            if fault != "deaf after":
                return fault
        if path == "/api/version":
            return 200, VERSION
        if method == "POST" and path == "/api/jobs/":
            job_id = body["submission_id"]
            if job_id in self.jobs:
                return 500, f"ValueError: Job with submission_id {job_id} already exists."
            self.jobs[job_id] = make_details(job_id, entrypoint=body["entrypoint"]) | {
                "metadata": body.get("metadata")
            }
            return (
                (503, "gone")
                if fault == "deaf after"
                else (200, {"job_id": job_id, "submission_id": job_id})
            )
        if path == "/api/jobs/":
            return 200, list(self.jobs.values())
        job_id, _, rest = path.removeprefix("/api/jobs/").partition("/")
        if job_id not in self.jobs:
            return 404, f"Job {job_id} does not exist"
        if rest == "stop":
            return 200, {"stopped": True}
        if rest == "logs":
            return 200, {"logs": "all of it\n"}
        return 200, self.jobs[job_id]


def make_details(job_id: str, **more: Any) -> dict[str, Any]:
    details = {"type": "SUBMISSION", "submission_id": job_id, "status": "RUNNING", "metadata": {}}
    return details | {"entrypoint": "true", "start_time": 1_700_000_000_000} | more


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    state = Dashboard()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            code, answer = state.answer(self.command, self.path, body)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(code)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = handle_any

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_client, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(job_client, "LOST_SECONDS", 0.5)


NIGHT = Submission("night-1", ("plan", "x"), {"a": "b"})


@pytest.mark.parametrize(
    "faults",
    [
        {"GET /api/version": [(503, "starting")]},
        {"POST /api/jobs/": [NO_AGENT, NO_AGENT]},
        {"POST /api/jobs/": [(502, "bad gateway")]},
        {"GET /api/jobs/night-1": [(500, "Failed to get head node agent")]},
    ],
    ids=["version", "no agent", "gateway", "status"],
)
def test_a_cluster_that_is_starting_is_waited_for(dashboard, faults):
    dashboard.faults = {path: list(answers) for path, answers in faults.items()}
    heard: list[str] = []
    Cluster(dashboard.address, wait_seconds=30, on_wait=heard.append).submit(NIGHT)
    assert list(dashboard.jobs) == ["night-1"]
    assert heard
    assert not any(dashboard.faults.values())


def test_it_is_waited_for_only_so_long(dashboard):
    dashboard.faults = {"POST /api/jobs/": [NO_AGENT] * 1000}
    cluster = Cluster(dashboard.address, wait_seconds=2)
    with pytest.raises(
        UsageError, match=r"no Ray dashboard is ready at .*: the dashboard has no job agent yet"
    ):
        cluster.submit(NIGHT)
    assert dashboard.requests.count("POST /api/jobs/") > 1
    assert not dashboard.jobs


def test_an_answer_that_got_lost_is_not_a_second_job(dashboard):
    """The cluster took the job and the answer did not arrive: the next try finds it."""
    dashboard.faults = {"POST /api/jobs/": ["deaf after"]}
    Cluster(dashboard.address, wait_seconds=30).submit(NIGHT)
    assert list(dashboard.jobs) == ["night-1"]
    assert dashboard.requests.count("POST /api/jobs/") == 2


def test_another_who_was_faster_is_named(dashboard):
    """Nobody had the id when we looked, and somebody has it when we submit."""
    dashboard.jobs["night-1"] = make_details("night-1", status="PENDING")
    dashboard.faults = {"GET /api/jobs/night-1": [(404, "does not exist")]}
    with pytest.raises(UsageError, match="job night-1 was submitted before; its state: pending"):
        Cluster(dashboard.address).submit(NIGHT)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"])
def test_the_same_id_twice(dashboard, status):
    cluster = Cluster(dashboard.address)
    cluster.submit(NIGHT)
    dashboard.jobs["night-1"]["status"] = status
    with pytest.raises(
        UsageError, match=f"was submitted before; its state: {status.lower()}"
    ) as raised:
        cluster.submit(NIGHT)
    assert raised.value.exit_code == 2
    assert dashboard.requests.count("POST /api/jobs/") == 1


def test_the_address_that_was_asked_for_is_spoken_to(dashboard, monkeypatch):
    """Ray's own client would go where the environment points."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    Cluster(dashboard.address).submit(NIGHT)
    assert list(dashboard.jobs) == ["night-1"]
    assert job_client.os.environ["RAY_ADDRESS"] == "http://127.0.0.1:9"


def test_what_the_cluster_is_told(dashboard):
    Cluster(dashboard.address).submit(NIGHT)
    job = Cluster(dashboard.address).job("night-1")
    assert (job.command, job.state, job.exit_code) == (
        "python -P -m jobs.cli plan x",
        "running",
        None,
    )
    assert job.metadata["a"] == "b"


def test_a_host_that_does_not_answer_is_given_up(dashboard, monkeypatch):
    """At the first, cheap request: those that follow may take their time."""
    monkeypatch.setattr(job_client, "VERSION_SECONDS", (0.2, 0.2))
    release = threading.Event()
    monkeypatch.setattr(Dashboard, "answer", lambda *_: (release.wait(10), (200, VERSION))[1])
    with pytest.raises(UsageError, match="it does not answer"):
        Cluster(dashboard.address)
    release.set()


def test_a_dashboard_that_has_answered_may_think_about_the_next_request(dashboard, monkeypatch):
    cluster = Cluster(dashboard.address)
    monkeypatch.setattr(job_client, "VERSION_SECONDS", (0.2, 0.2))
    real = Dashboard.answer
    monkeypatch.setattr(Dashboard, "answer", lambda *asked: (time.sleep(0.6), real(*asked))[1])
    assert cluster.jobs() == []


def test_jobs_are_listed_newest_first_and_drivers_are_not(dashboard):
    for index in range(3):
        dashboard.jobs[f"j{index}"] = make_details(f"j{index}", start_time=1000 * (index + 1))
    dashboard.jobs["driver"] = make_details("x") | {"submission_id": None, "job_id": "01000000"}
    assert [job.id for job in Cluster(dashboard.address).jobs()] == ["j2", "j1", "j0"]


def test_an_unknown_job(dashboard):
    cluster = Cluster(dashboard.address)
    for ask in (cluster.job, cluster.logs, cluster.stop, lambda job: cluster.follow(job, print)):
        with pytest.raises(UsageError, match="has no job nope"):
            ask("nope")
    with pytest.raises(UsageError, match="cannot be a job's id"):
        cluster.job("../version")


def test_a_job_that_waits_for_resources_cannot_be_stopped(dashboard, monkeypatch):
    monkeypatch.setitem(job_client.STOP_SECONDS, "pending", 0.1)
    dashboard.jobs["j"] = make_details("j", status="PENDING")
    with pytest.raises(WinnowError, match="asked to stop and is still pending") as raised:
        Cluster(dashboard.address).stop("j")
    assert raised.value.exit_code == 1
    assert "GPUs" in (raised.value.hint or "")


def test_a_job_that_has_ended_is_not_stopped(dashboard):
    dashboard.jobs["j"] = make_details("j", status="FAILED", driver_exit_code=3)
    job, was_running = Cluster(dashboard.address).stop("j")
    assert (job.exit_code, was_running) == (3, False)
    assert not any("stop" in request for request in dashboard.requests)


def test_a_log_that_cannot_be_tailed_is_read_at_the_end(dashboard):
    """This dashboard speaks no WebSocket."""
    dashboard.jobs["j"] = make_details("j")
    lines: list[str] = []
    asked = iter(range(1000))

    def answer(state: Dashboard, *request: Any, real: Callable[..., Any] = Dashboard.answer) -> Any:
        if next(asked) == 8:
            state.jobs["j"] |= {"status": "SUCCEEDED"}
        return real(state, *request)

    cluster = Cluster(dashboard.address)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dashboard, "answer", answer)
        assert cluster.follow("j", lines.append).exit_code == 0
    assert "".join(lines) == "all of it\n"


def test_a_cluster_that_vanishes_is_no_verdict_on_the_job(dashboard):
    dashboard.jobs["j"] = make_details("j")
    cluster = Cluster(dashboard.address)
    dashboard.faults = {"GET /api/jobs/j": [(200, make_details("j")), *[NO_AGENT] * 1000]}
    with pytest.raises(WinnowError, match="lost the connection to job j") as raised:
        cluster.follow("j", print)
    assert raised.value.exit_code == 1
    assert "winnow jobs logs j --follow" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"status": "PENDING"}, None),
        ({"status": "RUNNING"}, None),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0),
        ({"status": "STOPPED"}, 143),
        ({"status": "FAILED", "driver_exit_code": 2}, 2),
        ({"status": "FAILED", "driver_exit_code": -9}, 137),
        ({"status": "FAILED"}, 1),
        ({"status": "FAILED", "driver_exit_code": 0}, 1),
    ],
    ids=str,
)
def test_exit_codes(details, code):
    assert job_of(JobDetails(**make_details("j", **details))).exit_code == code


def test_the_message_is_a_line():
    said = "Job entrypoint command failed with exit code 2, last available logs (truncated):\na\nb"
    job = job_of(JobDetails(**make_details("j", status="FAILED", message=said)))
    assert job.message == "Job entrypoint command failed with exit code 2"


@given(start=st.integers(1, 2**41), took=st.integers(0, 2**40))
def test_times(start, took):
    job = job_of(JobDetails(**make_details("j", start_time=start, end_time=start + took)))
    assert job.seconds == pytest.approx(took / 1000, abs=1e-3)


def test_what_may_pass_by_waiting():
    answer = requests.Response()
    for code, passes in {401: False, 404: False, 500: True, 503: True}.items():
        answer.status_code = code
        assert is_not_ready(requests.HTTPError(response=answer)) is passes
    assert is_not_ready(ConnectionError("refused"))
    assert is_not_ready(requests.ConnectTimeout("slow"))
    assert not is_not_ready(RuntimeError("Request failed with status code 400: no"))
    assert not is_not_ready(ValueError("502"))
    assert reason(ConnectionError("x [Errno 111] Connection refused')")) == "connection refused"
    assert reason(None) == "the connection broke"
