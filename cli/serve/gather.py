"""Gatherer: the queries of a few milliseconds become one encoding and one scan.

A query that comes alone is answered at once. While it is, others wait, and are answered together; once several came
together, the next ones are waited for a moment, as those who were just answered ask again at about the same time.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool

from cli.serve.sent import Sent
from cli.serve.shelf import Shelf
from indexes import Outdated, ShardAway, Store
from retrieval.datatypes import Hit
from retrieval.search.answers import Request

MOST = 64  # queries that are answered together
WAITED = 0.004  # seconds that several are waited for
_TIMES = 3  # a query is asked, where its state was collected, or a shard went, before all was read from it

_Answer = TypeVar("_Answer")


class Found(NamedTuple):
    """What answers a query, and the state that it was asked of: what else is said of the hits is read there."""

    hits: list[Hit]
    store: Store


@dataclass(slots=True)
class _Waiting:
    request: Request
    answer: "Future[Found]" = field(default_factory=Future)


class Gatherer:
    """Answers the queries to one index in a thread of its own."""

    def __init__(self, shelf: Shelf, sent: Sent) -> None:
        self._shelf, self._sent = shelf, sent
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._several = 1  # that came together the last time
        self._thread = threading.Thread(target=self._work, name=f"gather {shelf.name}", daemon=True)
        self._thread.start()

    def ask(self, request: Request) -> "Future[Found]":
        """The hits with their state, once they are there; or the error of this query."""
        waiting = _Waiting(request)
        self._queue.put(waiting)
        return waiting.answer

    async def answer(self, request: Request, then: Callable[[Found], _Answer], aside: bool = False) -> _Answer:
        """What `then` makes of the hits and their state; asked again where that, or a shard of it, is gone meanwhile.

        aside: in a thread, where it reads much; else it holds up all others.
        """
        for _ in range(_TIMES - 1):
            with suppress(Outdated, ShardAway):
                return await self._once(request, then, aside)
        return await self._once(request, then, aside)

    async def _once(self, request: Request, then: Callable[[Found], _Answer], aside: bool) -> _Answer:
        found = await asyncio.wrap_future(self.ask(request))
        return await run_in_threadpool(then, found) if aside else then(found)

    def waiting(self) -> int:
        """Queries that nobody has begun."""
        return self._queue.qsize()

    def close(self) -> None:
        """End the thread, when what was asked is answered."""
        self._queue.put(None)
        self._thread.join(10)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            together, ended = self._others(first)
            asked = [one for one in together if one.answer.set_running_or_notify_cancel()]
            self._several = len(together)
            self._answer(asked)
            if ended:
                return

    def _others(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        together, until = [first], time.monotonic() + WAITED
        while len(together) < MOST:
            left = until - time.monotonic() if len(together) < self._several else 0.0
            try:
                one = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if one is None:
                return together, True
            together.append(one)
        return together, False

    def _answer(self, asked: list[_Waiting]) -> None:
        requests, retriever = [one.request for one in asked], self._shelf.retriever
        sent = self._sent.vectors(retriever.encoder)
        try:
            found, store = retriever.whole(lambda store: (retriever.each(store, requests, sent), store))
            self._shelf.collection.require_untouched()
        except Exception as error:
            if len(asked) == 1:
                asked[0].answer.set_exception(error)
                return
            for one in asked:  # the error is of some of them only
                self._answer([one])
            return
        for one, hits in zip(asked, found, strict=True):
            one.answer.set_result(Found(hits, store))
