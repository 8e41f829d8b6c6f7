"""An HTTP proxy between a test and a real store, that fails as it is told to.

What is not made to fail is passed on as it came, so that signatures stay right.
"""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}


class Answer(NamedTuple):
    """What the store said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """One request, which a fault may pass on, answer, or drop."""

    protocol_version = "HTTP/1.1"
    proxy: "FaultyProxy"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        self.content = self._read_content()
        self.proxy.requests.append((self.command, self.path))
        fault = self.proxy.fault(self.command, self.path)
        (fault or pass_on)(self)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _read_content(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def ask(self) -> Answer:
        """Pass the request on."""
        store = http.client.HTTPConnection("127.0.0.1", self.proxy.store_port, timeout=60)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    store.putheader(name, value)
            store.putheader("Content-Length", str(len(self.content)))
            store.endheaders(self.content)
            response = store.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            store.close()

    def head(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()

    def reset(self) -> None:
        """End the connection as a crash does, not as a server that is done."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests` instead."""


Fault = Callable[[Exchange], None]


def pass_on(exchange: Exchange) -> None:
    answer = exchange.ask()
    exchange.head(answer)
    exchange.wfile.write(answer.body)


def reset_unasked(exchange: Exchange) -> None:
    """The store never hears of it."""
    exchange.reset()


def reset_unanswered(exchange: Exchange) -> None:
    """The store does it, and nobody learns that it did."""
    exchange.ask()
    exchange.reset()


def cut_off(exchange: Exchange) -> None:
    """The answer ends in the middle."""
    answer = exchange.ask()
    exchange.head(answer)
    exchange.wfile.write(answer.body[: len(answer.body) // 2])
    exchange.reset()


def stall(seconds: float) -> Fault:
    """The answer pauses in the middle, and goes on."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.ask()
        exchange.head(answer)
        half = len(answer.body) // 2
        exchange.wfile.write(answer.body[:half])
        exchange.wfile.flush()
        time.sleep(seconds)
        exchange.wfile.write(answer.body[half:])

    return fault


def refuse(status: int, code: str, message: str = "made to") -> Fault:
    """An error as S3 words it; the store never hears of the request."""

    def fault(exchange: Exchange) -> None:
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        ).encode()
        exchange.head(Answer(status, [("Content-Type", "application/xml")], body))
        if exchange.command != "HEAD":
            exchange.wfile.write(body)

    return fault


class FaultyProxy:
    """Listens on a port of loopback while the block lasts."""

    def __init__(self, store_port: int) -> None:
        self.store_port = store_port
        self.requests: list[tuple[str, str]] = []
        """(method, path with query) of each, in the order they came."""
        self.fault: Callable[[str, str], Fault | None] = lambda method, path: None
        """What is done to a request; None passes it on."""
        handler = type("Handler", (Exchange,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def fail_times(self, times: int, fault: Fault, *, method: str = "", having: str = "") -> None:
        """The next so many requests that match fail; later ones are passed on."""
        left = [times]

        def choose(asked: str, path: str) -> Fault | None:
            if left[0] and (not method or asked == method) and having in path:
                left[0] -= 1
                return fault
            return None

        self.fault = choose

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
