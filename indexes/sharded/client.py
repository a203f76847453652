"""Shard: who answers for one shard, here or on another machine, and the questions that are put to it."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from indexes.reader import StoreReader

Question = Literal[
    "search", "search_words", "words_in", "words_weight", "rows", "among", "records", "vectors", "stamps", "stamps_of",
    "fields_of", "ids_between", "describe", "approximate", "marks", "verify", "damaged", "require_sound",
]  # fmt: skip


class Shard(Protocol):
    """Who answers for one shard. Threads may share it."""

    def ask(self, question: Question, *given: Any) -> Any:
        """Ask the shard.

        Args:
            question: The name of what a StoreReader has.
            *given: Its arguments, rows as the shard numbers them: arrays, numbers, texts, Conditions.

        Returns:
            What it answers: Neighbors, arrays, Records, ...

        Raises:
            ShardAway: There is nobody who could answer.
            StoreError: As the StoreReader does.
        """
        ...

    def close(self) -> None:
        """Let go of it. Twice does no harm."""
        ...


def answer(store: StoreReader, question: Question, given: Sequence[Any]) -> Any:
    """The answer of the store that a shard is, for those who hold it open."""
    asked = getattr(store, question)
    return asked(*given) if callable(asked) else asked
