"""What every request passes: whose it may be, how large and how many it may be, and what the answer forbids a browser.

A server of this machine is asked by every page that its browser shows. So the name in `Host` must be one that was given
(a foreign name that resolves to this machine is DNS rebinding), `Origin` must be our own or allowed, and what another
site's page asks for is refused whatever it is. Starlette's own middleware for this buffers answers and knows no
tokens, so this is one layer of ASGI.
"""

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

MOST_BYTES = 20 << 20  # of a body
BODY_SECONDS = 30.0  # that a body may take to come
MOST_AT_ONCE = 128  # requests of one client
MOST_TOGETHER = 1024  # of all
MOST_HELD = 256 << 20  # bytes of bodies that are being answered
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PUBLIC = re.compile(r"/(page/[^/]+|healthz|readyz|favicon\.ico)?")  # without a token: nothing of an index
CHANGES = re.compile(r"/api/labels|/api/items/[^/]+/open")  # what changes something, or opens a window
HEADERS = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
     b"base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
]  # fmt: skip

PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
]


class Refused(Exception):
    """A request that is not let in. status: of HTTP; the text ends with what to do."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is let in.

    hosts: names that the server goes by. origins: of other sites whose pages may ask, as https://example.org. token: of
    those who may read, None for all; write: of those who may label, None for nobody.
    """

    hosts: tuple[str, ...] = LOOPBACK
    origins: tuple[str, ...] = ()
    token: str | None = None
    write: str | None = None


@dataclass(slots=True)
class _Request:
    """What is known of a request. bytes: of the body so far."""

    scope: dict[str, Any]
    headers: dict[str, str]
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    bytes: int = 0

    @property
    def path(self) -> str:
        return self.scope["path"]

    @property
    def client(self) -> str:
        return (self.scope.get("client") or ("", 0))[0]


class Guards:
    """The layer around an ASGI application.

    log: given a line of JSON for each request; None for no log. queries: with what was asked.
    """

    def __init__(
        self, app: Any, doors: Doors, log: Callable[[str], None] | None = None, queries: bool = False
    ) -> None:  # fmt: skip
        self._app, self._doors, self._log, self._queries = app, doors, log, queries
        self._at_once: Counter[str] = Counter()
        self._held = 0  # bytes of all bodies

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets
            return
        scope["path"] = "/" + scope["path"].lstrip("/")  # clip-front asks for //knn-service
        scope["raw_path"] = b"/" + scope.get("raw_path", b"").lstrip(b"/")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = _Request(scope, headers)
        self._at_once[request.client] += 1
        try:
            await self._let_in(request, receive, send)
        finally:
            self._held -= request.bytes
            self._at_once[request.client] -= 1
            if not self._at_once[request.client]:
                del self._at_once[request.client]
            if self._log:
                self._write(request)

    async def _let_in(self, request: _Request, receive: Any, send: Any) -> None:
        origin = request.headers.get("origin")
        answering = self._answering(request, send, origin)
        try:
            check(request.scope["method"], request.path, request.headers, self._doors)
            if self._at_once[request.client] > MOST_AT_ONCE:
                raise Refused(429, f"more than {MOST_AT_ONCE} requests at once: ask again in a second")
            if self._at_once.total() > MOST_TOGETHER:
                raise Refused(503, f"more than {MOST_TOGETHER} requests at once: ask again in a second")
            if request.scope["method"] == "OPTIONS" and origin:
                await _answer(answering, 204, "", PREFLIGHT)
                return
            await self._app(request.scope, self._limited(request, receive), answering)
        except Refused as refused:
            more = [(b"retry-after", b"1")] if refused.status in (429, 503) else []
            if refused.status == 401:
                more.append((b"www-authenticate", b"Bearer"))
            await _answer(answering, refused.status, str(refused), more)

    def _limited(self, request: _Request, receive: Any) -> Any:
        """Receive with a limit of bytes, and of the time that they may take."""
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > MOST_BYTES:
            raise Refused(413, f"more than {MOST_BYTES >> 20} MB: send a smaller picture")
        until = time.monotonic() + BODY_SECONDS
        whole = False

        async def limited() -> dict[str, Any]:
            nonlocal whole
            if whole:  # what comes now is that the client went away
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise Refused(408, f"the body took longer than {BODY_SECONDS:g} s: send it again") from None
            self._hold(request, len(message.get("body", b"")))
            whole = not message.get("more_body", False)
            return message

        return limited

    def _hold(self, request: _Request, bytes: int) -> None:
        request.bytes += bytes
        self._held += bytes
        if request.bytes > MOST_BYTES:
            raise Refused(413, f"more than {MOST_BYTES >> 20} MB: send a smaller picture")
        if self._held > MOST_HELD:
            raise Refused(503, "too many pictures are sent at once: send it again in a second")

    def _answering(self, request: _Request, send: Any, origin: str | None) -> Any:
        async def answering(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                own = {name for name, _ in message.get("headers", [])}
                more = [(name, value) for name, value in HEADERS if name not in own]
                if origin and origin in self._doors.origins:
                    more += [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]
                if b"cache-control" not in own:
                    more.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        return answering

    def _write(self, request: _Request) -> None:
        assert self._log, "asked before"
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "client": request.client,
            "method": request.scope["method"], "path": request.path, "status": request.status,
            "ms": round((time.perf_counter() - request.started) * 1e3, 1),
        }  # fmt: skip
        if self._queries:
            line["query"] = request.scope["query_string"].decode("latin-1")
        self._log(json.dumps(line))


def check(method: str, path: str, headers: dict[str, str], doors: Doors) -> None:
    """Raise Refused for a request that is not let in."""
    host = _host_of(headers.get("host", ""))
    if host not in doors.hosts:
        raise Refused(421, f"this server is not called {host[:60]!r}: use its address, or start it with --host-name")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is not None and origin not in doors.origins and _place_of(origin) != headers.get("host"):
        raise Refused(403, f"pages of {origin[:60]} may not ask: start with --allow-origin {origin[:60]}")
    opened = headers.get("sec-fetch-mode") == "navigate" and method == "GET" and PUBLIC.fullmatch(path)
    if site not in ("same-origin", "none") and origin not in doors.origins and not opened:
        raise Refused(403, "another site's page asks for this: open the page of this server itself")
    if method == "OPTIONS":
        return
    if CHANGES.fullmatch(path):
        _check_change(path, headers, doors)
    elif doors.token is not None and not PUBLIC.fullmatch(path):
        given = _given(headers)
        if not (_same(given, doors.token) or _same(given, doors.write)):
            raise Refused(401, "a token is wanted: send Authorization: Bearer TOKEN")


def _check_change(path: str, headers: dict[str, str], doors: Doors) -> None:
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(403, "only this server's own page may change something")
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "send it as Content-Type: application/json")
    if path == "/api/labels" and doors.write is None:
        raise Refused(403, "nothing may be changed here: start with --write-key")
    wanted = doors.write if path == "/api/labels" else doors.token
    if wanted is not None and not (_same(_given(headers), wanted) or _same(_given(headers), doors.write)):
        raise Refused(401, "a token is wanted: send Authorization: Bearer TOKEN")


def _given(headers: dict[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _same(given: str, wanted: str | None) -> bool:
    """Compared in a time that tells nothing of either."""
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, wanted or "")]
    return hmac.compare_digest(*digests) and bool(wanted)


def _place_of(origin: str) -> str:
    """Its host and port; what none is called for what is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _host_of(said: str) -> str:
    try:
        return urlsplit(f"//{said}").hostname or ""
    except ValueError:
        return ""


async def _answer(send: Any, status: int, text: str, more: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = json.dumps({"error": text}).encode() if text else b""
    kind = [(b"content-type", b"application/json")] if text else []
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *length, *more]})
    await send({"type": "http.response.body", "body": body})
