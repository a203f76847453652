"""Pictures fetched from a list of URLs: only where that was asked for, http(s) only, with limits on time and size.

Addresses of this machine and of private networks are refused, also behind a redirect or a name, unless allowed: the
address that was checked is the one that is connected to. Proxies are not used, as they would hide it.
"""

import http.client
import ipaddress
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

from retrieval.datatypes import Item
from retrieval.errors import BadRequest, ImageError
from retrieval.sources.uri import Uri, id_of
from retrieval.sources.within import OnWeb

SECONDS = 20.0  # for one picture, all in all
MAX_BYTES = 64_000_000
_CHUNK = 1 << 16


def item(url: str, uri: Uri, meta: dict[str, Any]) -> Item:
    """The picture at a URL. Raises BadRequest where fetching was not asked for; nothing is fetched yet."""
    if not uri.options.urls:
        raise BadRequest(f"{uri.path} lists URLs, and nothing is fetched unless asked: add --urls")
    local = uri.options.local_urls
    return Item(id_of(url), url, lambda: fetch(url, local=local), stamp="url", meta=meta, within=OnWeb(url))


def fetch(url: str, *, local: bool = False) -> bytes:
    """The bytes at a URL. local: this machine and private networks are allowed. Raises ImageError with the reason."""
    sockets: list[socket.socket] = []
    overdue = threading.Event()
    timer = threading.Timer(SECONDS, _cut, (sockets, overdue))  # a server may send a byte now and then for ever
    timer.daemon = True
    timer.start()
    try:
        with _opener(local, sockets).open(_request(url), timeout=SECONDS) as answer:
            body = _body(answer)
            if overdue.is_set():  # what was cut off looks like the end
                raise ImageError("took too long to fetch")
            return body
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError("took too long to fetch" if overdue.is_set() else _reason(error)) from error
    finally:
        timer.cancel()


def _request(url: str) -> urllib.request.Request:
    if url.split(":", 1)[0].lower() not in ("http", "https"):
        raise ImageError("not an http or https URL")
    return urllib.request.Request(url, headers={"User-Agent": "mmr", "Accept": "image/*"})


def _body(answer: http.client.HTTPResponse) -> bytes:
    parts, size = [], 0
    while part := answer.read1(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise ImageError(f"too large: more than {MAX_BYTES // 1_000_000} MB")
    return b"".join(parts)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"cannot be fetched: {error.code} {error.reason}"[:200]
    cause = getattr(error, "reason", error)
    return f"cannot be fetched: {cause}".splitlines()[0][:200]


def _cut(sockets: list[socket.socket], overdue: threading.Event) -> None:
    overdue.set()
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is closed already
            continue


def _opener(local: bool, sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
    connect = partial(_connect, local, sockets)

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(partial(_connection, http.client.HTTPConnection, connect), request)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(partial(_connection, http.client.HTTPSConnection, connect), request)

    opener = urllib.request.OpenerDirector()  # build_opener would add file:, ftp:, data: and proxies
    for handler in (Plain, Secure, urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler,
                    urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _connection(
    kind: Callable[..., http.client.HTTPConnection], connect: Callable[..., socket.socket], host: str, **options: Any
) -> http.client.HTTPConnection:
    connection = kind(host, **options)
    # http.client's own seam for this, which no type stub has; TLS still checks the host's name.
    vars(connection)["_create_connection"] = connect
    return connection


def _connect(
    local: bool, sockets: list[socket.socket], address: tuple[str, int], timeout: float, source: object = None
) -> socket.socket:
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    targets = [(str(host), port) for *_, (host, port, *_) in found if local or is_public(str(host))]
    if not targets:
        raise OSError(f"{address[0]} is no public address")
    connected = socket.create_connection(targets[0], timeout)
    sockets.append(connected)
    return connected


def is_public(address: str) -> bool:
    """True for an IP address of the internet: not this machine's, no private network's, no group's."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_global and not parsed.is_multicast
