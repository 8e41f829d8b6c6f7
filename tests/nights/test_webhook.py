"""Telling a real web server: what it gets, how often it is tried, its address kept secret."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.nights.webhook import deliver
from pipeline.audits.config import Webhook
from pipeline.audits.record import Audit, Part
from pipeline.reports.figures import Figures

SECRET = "T0B0s3cr3t"


def make_record(**changes) -> Audit:
    figures = Figures(
        num_documents=2,
        num_scored=2,
        num_tokens=10,
        num_bytes=40,
        nll=20.0,
        corpus_perplexity=7.389,
        document_perplexity=7.5,
        bits_per_token=2.885,
        bits_per_byte=0.72,
        quantiles={"perplexity": {"p50": 7.0}, "bits_per_byte": {"p50": 0.7}},
    )
    record = Audit(
        night="2026-11-22",
        verdict="fail",
        reasons=["bits_per_byte is 0.72, max 0.5"],
        notes=[],
        complete=True,
        generated_at="2026-11-22T03:00:00+00:00",
        run="s3://runs/2026-11-22",
        run_id="5f" * 16,
        corpus="s3://corpora/web",
        model="org/tiny",
        overall=Part(figures=figures, statuses={"ok": 1.0}),
        groups={},
        checks=[],
        baseline=None,
        reuse=None,
        sample=None,
        webhook=None,
    )
    return record.model_copy(update=changes)


class Server:
    """Answers with the codes it is given, in turn, the last for ever; keeps what it got."""

    def __init__(self, codes: list[int], location: str | None = None) -> None:
        self.got: list[tuple[str, str, dict]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
                code = codes[min(len(outer.got), len(codes)) - 1]
                self.send_response(code)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                outer.got.append((self.path, "GET", {}))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/{SECRET}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def serve(monkeypatch) -> Iterator:
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(codes: list[int], location: str | None = None) -> Server:
        servers.append(Server(codes, location))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def send(url: str, record: Audit | None = None, **settings):
    waits: list[float] = []
    webhook = Webhook(url="https://example.com/x", **settings)
    return deliver(webhook, url, record or make_record(), sleep=waits.append), waits


def test_the_record_as_json(serve):
    server = serve([204])
    record = make_record()
    delivery, waits = send(server.url, record)
    assert (delivery.delivered, delivery.attempts, delivery.error) == (True, 1, None)
    [(path, kind, body)] = server.got
    assert (path, kind) == (f"/{SECRET}", "application/json")
    assert Audit.model_validate(body) == record
    assert waits == []


def test_slack(serve):
    server = serve([200])
    record = make_record(reasons=["<!channel> & <http://evil|here>\nno new line"])
    assert send(server.url, record, format="slack")[0].delivered
    [(_, _, body)] = server.got
    assert list(body) == ["text"]
    lines = body["text"].split("\n")
    assert lines[0] == "Winnow audit of s3://corpora/web, night 2026-11-22: FAIL"
    assert lines[1] == (
        "• &lt;!channel&gt; &amp; &lt;http://evil|here&gt;\N{REPLACEMENT CHARACTER}no new line"
    )
    assert lines[2] == "s3://runs/2026-11-22"


def test_slack_is_told_of_so_many_reasons(serve):
    server = serve([200])
    send(server.url, make_record(reasons=[f"reason {i}" for i in range(50)]), format="slack")
    text = server.got[0][2]["text"]
    assert "reason 19" in text
    assert "reason 20" not in text
    assert "and 30 more reasons" in text


def test_it_is_tried_again(serve):
    server = serve([500, 429, 200])
    delivery, waits = send(server.url)
    assert (delivery.delivered, delivery.attempts) == (True, 3)
    assert len(server.got) == 3
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(("code", "tries"), [(503, 3), (404, 1), (403, 1)])
def test_it_is_given_up(serve, code, tries):
    server = serve([code])
    delivery, _ = send(server.url)
    assert (delivery.delivered, delivery.attempts) == (False, tries)
    assert delivery.error == f"it answered {code}"
    assert len(server.got) == tries


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_another_host_is_not_told(serve, code):
    other = serve([200])
    server = serve([code], location=other.url)
    delivery, _ = send(server.url)
    assert not delivery.delivered
    assert delivery.error == f"it answered {code}, a redirect, which is not followed"
    assert other.got == []


def test_nobody_answers(serve):
    server = serve([200])
    server.http.server_close()
    delivery, waits = send(server.url)
    assert (delivery.delivered, delivery.attempts) == (False, 3)
    assert delivery.error == "it cannot be reached: Connection refused"
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("answer", "patience", "said"),
    [
        (b"", 0.2, "it did not answer within 0.2 s"),
        (b"hello\r\n\r\n", 60.0, "its answer is not HTTP's (Bad"),
    ],
)
def test_it_takes_the_verdict_and_does_not_answer(monkeypatch, answer, patience, said):
    """It was reached: whoever looks for a closed port looks in vain."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("jobs.nights.webhook.TIMEOUT_SECONDS", patience)
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                connection.recv(1 << 16)
                connection.sendall(answer)
                taken.append(connection)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        delivery, _ = send(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}")
        thread.join()
    for connection in taken:
        connection.close()
    assert (delivery.delivered, delivery.attempts) == (False, 3)
    assert delivery.error.startswith(said)


def test_an_answer_that_trickles_has_one_limit_in_all(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("jobs.nights.webhook.TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr("jobs.nights.webhook.TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2 + b"\r\n":
                    connection.sendall(bytes([byte]))
                    time.sleep(0.1)

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        delivery, _ = send(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}")
        thread.join()
    assert (delivery.delivered, delivery.error) == (False, "it did not answer within 0.3 s")


@pytest.mark.parametrize(
    "url", [f"http://[::1/{SECRET}", f"http://host:99999999/{SECRET}", f"http://a b/{SECRET}"]
)
def test_an_address_that_is_none_is_not_shown(url):
    delivery, _ = send(url)
    assert not delivery.delivered
    assert SECRET not in delivery.error
