"""The script of the nightly pod, against an API server of our own on loopback."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "infra/kubernetes/base/nightly/run_night.py"
COLLECTION = "/apis/ray.io/v1/namespaces/corpora/rayjobs"
PATTERN = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {
        "name": "winnow-nightly",
        "namespace": "corpora",
        "uid": "of the pattern",
        "resourceVersion": "7",
        "labels": {"app.kubernetes.io/name": "winnow"},
    },
    "spec": {"suspend": True, "entrypoint": "winnow audit /config/audit.toml"},
    "status": {"jobDeploymentStatus": "Suspended"},
}


def load_script():
    spec = importlib.util.spec_from_file_location("run_night", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_night = load_script()


class ApiServer(ThreadingHTTPServer):
    """Keeps RayJobs by name; `script` says what each look at one that was created answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rayjobs: dict[str, dict[str, Any]] = {"winnow-nightly": PATTERN}
        self.script: list[dict[str, str] | int] = []
        self.tokens: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        collection, _, name = self.path.rpartition("/")
        rayjob = self.server.rayjobs.get(name) if collection == COLLECTION else None
        if rayjob is None:
            self.answer(404, {"reason": "NotFound"})
        elif name == "winnow-nightly":
            self.answer(200, rayjob)
        else:
            now = self.server.script.pop(0)
            if isinstance(now, int):
                self.answer(now, {"reason": "made to"})
            else:
                self.answer(200, rayjob | {"status": now})

    def do_POST(self) -> None:
        rayjob = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = rayjob["metadata"]["name"]
        assert self.path == COLLECTION
        if name in self.server.rayjobs:
            self.answer(409, {"reason": "AlreadyExists"})
        else:
            self.server.rayjobs[name] = rayjob
            self.answer(201, rayjob)

    def answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with ApiServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("NAMESPACE", "corpora")
        monkeypatch.setenv("JOB_NAME", "winnow-nightly-29400000")
        monkeypatch.setenv("JOB_UID", "1234")
        yield server
        server.shutdown()


@pytest.fixture
def night(api: ApiServer, tmp_path: Path):
    (tmp_path / "token").write_text("secret\n")
    host, port = api.server_address[:2]

    def run(server: str = f"http://{host!s}:{port}") -> int:
        return run_night.main("winnow-nightly", server, tmp_path, 0.0)

    return run


RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}


def test_a_night_that_succeeds(api, night):
    api.script = [{}, RUNNING, RUNNING, SUCCEEDED]
    assert night() == 0
    assert api.script == []
    assert api.tokens == {"Bearer secret"}
    assert api.rayjobs["winnow-nightly-29400000-run"] == {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": "winnow-nightly-29400000-run",
            "namespace": "corpora",
            "labels": {"app.kubernetes.io/name": "winnow"},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": "winnow-nightly-29400000",
                    "uid": "1234",
                }
            ],
        },
        "spec": {"suspend": False, "entrypoint": "winnow audit /config/audit.toml"},
    }


def test_a_night_that_fails(api, night, capsys):
    api.script = [RUNNING, FAILED]
    assert night() == 1
    assert "AppFailed" in capsys.readouterr().err


def test_a_job_that_was_stopped_did_not_succeed(api, night):
    api.script = [{"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}]
    assert night() == 1


def test_a_second_pod_waits_for_the_rayjob_of_the_first(api, night):
    api.rayjobs["winnow-nightly-29400000-run"] = {"made by": "the first pod"}
    api.script = [RUNNING, SUCCEEDED]
    assert night() == 0
    assert api.rayjobs["winnow-nightly-29400000-run"] == {"made by": "the first pod"}


def test_an_api_server_that_is_away_for_a_while_is_waited_for(api, night, capsys):
    api.script = [RUNNING, 503, 500, SUCCEEDED]
    assert night() == 0
    assert "asking again" in capsys.readouterr().err


@pytest.mark.parametrize("code", [403, 404])
def test_an_answer_that_will_not_change_ends_it(api, night, capsys, code):
    api.script = [RUNNING, code]
    assert night() == 2
    assert f"winnow-nightly-29400000-run: {code}" in capsys.readouterr().err


def test_no_pattern(api, night, capsys):
    del api.rayjobs["winnow-nightly"]
    assert night() == 2
    assert "rayjobs/winnow-nightly: 404" in capsys.readouterr().err


def test_no_api_server(night, capsys):
    assert night("http://127.0.0.1:9") == 2
    assert "127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_the_api_server_is_where_kubernetes_says(monkeypatch, host, url):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    assert run_night.api_server() == url
