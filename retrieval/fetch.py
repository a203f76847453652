"""A picture from an address, within limits. Called only where a person said that addresses may be fetched."""

import time
import urllib.error
import urllib.request
from http.client import HTTPException

from retrieval.errors import ImageError

MAX_BYTES = 50 << 20
CONNECT_SECONDS, ALL_SECONDS = 10, 60  # for each answer of the server; for the whole picture
_CHUNK = 1 << 16

# By name, so that a redirect finds neither file: nor ftp: nor data:.
_HANDLERS = (
    urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler,
)  # fmt: skip


def fetch(url: str) -> bytes:
    """What an http or https address holds: at most MAX_BYTES, within ALL_SECONDS. Raises ImageError with the reason."""
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    deadline = time.monotonic() + ALL_SECONDS
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "mmr", "Accept": "image/*"})
        with opener.open(request, timeout=CONNECT_SECONDS) as answer:
            return _read(answer, deadline)
    except urllib.error.HTTPError as error:
        raise ImageError(f"the server says {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        raise ImageError(f"cannot be fetched ({getattr(error, 'reason', error)})"[:200]) from error


def _read(answer, deadline: float) -> bytes:  # noqa: ANN001 - an HTTPResponse
    content = bytearray()
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise ImageError(f"larger than {MAX_BYTES >> 20} MB")
        if time.monotonic() > deadline:
            raise ImageError(f"not there within {ALL_SECONDS} seconds")
    if answer.length:  # of what was announced, still to come
        raise ImageError("not there whole: the connection was cut")
    return bytes(content)
