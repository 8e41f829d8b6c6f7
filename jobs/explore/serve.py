"""The server's life: a port of this machine, until a signal ends it.

Owns the socket, the signals and the exit code. uvicorn would end with 0 after Ctrl-C, and wait for
queries that nothing can stop; everything that must not be lost is on disk before it is answered.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from pipeline.errors import UsageError, named

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TOKEN_BYTES = 24
GRACE_SECONDS = 1
"""Seconds that a response in progress has left when the server stops."""


def open_port(host: str, port: int) -> socket.socket:
    """A socket of one's own; port 0 is any that is free. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A server that has just ended leaves its port waiting.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()  # now, so that nobody else can have it
    except (OSError, OverflowError) as error:
        sock.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            hint = f"choose another {named('port')}, or leave it out to use a free one"
            raise UsageError(f"port {port} of {host} is in use", hint=hint) from None
        why = getattr(error, "strerror", None) or str(error)
        hint = f"leave {named('host')} and {named('port')} out"
        raise UsageError(f"cannot listen on {host}, port {port}: {why}", hint=hint) from None
    return sock


def new_token() -> str:
    """What the address holds, so that only who was given it may ask."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def serve(app: ASGIApp, sock: socket.socket, ready: Callable[[], None]) -> NoReturn:
    """Answer until a signal comes; the process ends with the code of that signal."""
    number = asyncio.run(_serve(app, sock, ready))
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Not sys.exit: that would wait for a query in a thread, and nothing else is left to do.
    os._exit(128 + number)


async def _serve(app: ASGIApp, sock: socket.socket, ready: Callable[[], None]) -> int:
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    received = 0

    def end(number: int) -> None:
        nonlocal received
        if received:
            os._exit(128 + number)
        received = number
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in ENDS:
        loop.add_signal_handler(number, end, number)
    ready()
    await server.serve(sockets=[sock])
    return received
