"""Who may ask: the door that every request to the page goes through.

Owns the checks, in their order, and the headers of every answer. The address holds a token, so
there is no cookie to be sent along by a page of somebody else; the name that the browser asked for
must be this machine's, so no name that is pointed here later opens the door (DNS rebinding); and a
request that another site made is refused by what browsers say of it, with the token or without.
"""

import hmac
import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Passes on what comes from the page itself, or from whoever was given its address."""

    def __init__(self, app: ASGIApp, token: str, *, is_remote: bool = False) -> None:
        self._app = app
        self._token = token
        self._is_remote = is_remote

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        path = scope["path"].removeprefix(f"/{self._token}")
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _no(421, "The Host header does not name this server.")
        if any(origin != f"http://{hosts[0]}" for origin in headers.getlist("origin")):
            return _no(403, "Requests from other origins are refused.")
        is_get = scope["method"] in ("GET", "HEAD")
        if not _is_of_the_page(headers, is_get=is_get):
            return _no(403, "Cross-site requests are refused.")
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode(errors="replace"), self._token.encode()):
            return _no(401, "Open the address that `winnow explore` printed.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if not is_get and kind != "application/json":
            return _no(415, "Only application/json is accepted.")
        return None if slash else RedirectResponse(f"/{self._token}/")

    def _is_ours(self, host: str) -> bool:
        name, _, port = host.lower().rpartition(":")
        if not name or port.endswith("]"):
            name = host.lower()
        elif not (port.isascii() and port.isdigit()):
            return False
        return name in LOOPBACK or (self._is_remote and name in _names_of(name))


def _names_of(asked: str) -> Iterable[str]:
    """What this machine may be called from outside; an address is no name that could be moved."""
    try:
        ipaddress.ip_address(asked.strip("[]"))
    except ValueError:
        return (socket.gethostname().lower(), socket.getfqdn().lower())
    return (asked,)


def _is_of_the_page(headers: Headers, *, is_get: bool) -> bool:
    site = headers.get("sec-fetch-site", "none")
    if site in ("same-origin", "none"):
        return True
    # A link that was followed, in a web terminal or a chat.
    mode, place = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return is_get and (mode, place) == ("navigate", "document")


def _no(code: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", code)
