"""Connections: how many there are at once, and how long one may take to ask, or to take its answer.

uvicorn waits for ever for a request that does not come, or comes byte by byte, and for who does not read; when there
are too many it refuses whoever asks next. Here those who ask nothing make room for those who do, the longest idle
first, and only where all are being answered is a new one told so.
"""

import asyncio
from contextlib import suppress
from typing import Any

MOST = 4096  # at once: some 20 KB each
FILES = 65_536  # descriptors that this process may want, for connections, pictures and indexes
ASKS_WITHIN = 15.0  # seconds for the head of a request
TAKES_WITHIN = 60.0  # seconds in which some of an answer must be taken
_TEXT = b'{"error":"the server is full: ask again in a second"}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


def room(most: int = MOST) -> int:
    """Let this process open as many files as the system lets it; for how many connections that is enough."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (FILES, 10_240):  # macOS has another limit beside the hard one, and refuses more than this
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
    return most if soft == resource.RLIM_INFINITY else min(most, soft * 3 // 4)


def bounded(protocol: type[Any], most: int = MOST) -> type[Any]:
    """A protocol of uvicorn's for HTTP, of which so many connections are open at once. One class for each server."""
    idle: dict[Any, None] = {}  # connections that nobody answers, the longest so first

    class Bounded(protocol):
        """A connection that is closed where it asks nothing, or takes nothing."""

        _asks: asyncio.TimerHandle | None = None
        _takes: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most and not _make_room():
                transport.write(_FULL)
                transport.close()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._wait()  # it began to ask, or goes on to send what nobody wants any more
            else:
                self._stop("_asks")
                idle.pop(self, None)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                idle[self] = None  # uvicorn closes it, if nothing comes

        def connection_lost(self, error: Exception | None) -> None:
            self._stop("_asks")
            self._stop("_takes")
            idle.pop(self, None)
            super().connection_lost(error)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._takes = self.loop.call_later(TAKES_WITHIN, self.transport.abort)

        def resume_writing(self) -> None:
            self._stop("_takes")
            super().resume_writing()

        def _wait(self) -> None:
            if not self.transport.is_closing():
                idle[self] = None
                self._asks = self._asks or self.loop.call_later(ASKS_WITHIN, self.transport.abort)

        def _stop(self, name: str) -> None:
            if timer := getattr(self, name):
                timer.cancel()
                setattr(self, name, None)

    def _make_room() -> bool:
        if (longest := next(iter(idle), None)) is None:
            return False
        del idle[longest]
        longest.transport.abort()
        return True

    return Bounded
