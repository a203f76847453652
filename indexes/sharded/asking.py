"""Shards asked all at once: who answered, and who is away."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from indexes.errors import ShardAway, StoreError
from indexes.sharded.client import Question, Shard

THREADS = 64  # for all requests together; each is used again, and made when it is first needed


class Threads:
    """Threads that outlive a request, made anew in a forked child, which has none of its parent's."""

    def __init__(self, shards: int) -> None:
        self._count, self._process = min(4 * shards, THREADS), 0
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, do: Callable[..., Any], *given: Any) -> Future:
        """Have that done."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = ThreadPoolExecutor(self._count, "shards"), os.getpid()
        return self._pool.submit(do, *given)


class Asking:
    """The shards as one request asks them. away: those that did not answer it; they are not asked again."""

    def __init__(self, name: str, shards: Sequence[Shard], threads: Threads) -> None:
        self._name, self.shards, self._threads = name, shards, threads
        self.away: set[int] = set()

    def again(self) -> "Asking":
        """For another request: it asks everyone."""
        return Asking(self._name, self.shards, self._threads)

    def everyone(self, question: Question, *given: Any) -> dict[int, Any]:
        """What the shards answer, by their numbers, ascending; those that are away are noted and left out.

        Raises StoreError where all are.
        """
        answers = self._ask(question, {number: given for number in range(len(self.shards)) if number not in self.away})
        if not answers:
            raise StoreError(f"none of the {len(self.shards)} shards of {self._name} answers: ask again in a moment")
        return answers

    def some(self, question: Question, given: dict[int, tuple[Any, ...]]) -> dict[int, Any]:
        """What these shards answer, each to its own. Raises ShardAway where one of them is away."""
        answers = self._ask(question, {number: own for number, own in given.items() if number not in self.away})
        if missing := sorted(given.keys() - answers.keys()):
            raise ShardAway(f"{_named(missing)} of {self._name} does not answer: ask again in a moment")
        return answers

    def _ask(self, question: Question, given: dict[int, tuple[Any, ...]]) -> dict[int, Any]:
        if len(given) == 1:  # no thread need wait for another
            return dict(filter(None, (self._one(number, question, own) for number, own in given.items())))
        futures = [self._threads.submit(self._one, number, question, own) for number, own in sorted(given.items())]
        return dict(filter(None, [future.result() for future in futures]))

    def _one(self, number: int, question: Question, given: tuple[Any, ...]) -> tuple[int, Any] | None:
        try:
            return number, self.shards[number].ask(question, *given)
        except ShardAway:
            self.away.add(number)
            return None


def _named(numbers: Iterable[int]) -> str:
    return ", ".join(f"shard {number}" for number in numbers)
