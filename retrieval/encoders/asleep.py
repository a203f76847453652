"""Asleep: an encoder that is known, and loaded when it is first needed."""

from collections.abc import Callable
from typing import Any

from retrieval.encoders.protocol import Encoder


class Asleep:
    """Stands where an encoder stands, for answers by words alone, which need none.

    Args:
        name: By which it is found.
        fingerprint: Of its vectors.
        dim: Numbers in a vector.
        load: What loads it.
    """

    def __init__(self, name: str, fingerprint: str, dim: int, load: Callable[[], Encoder]) -> None:
        self.name, self.fingerprint, self.dim, self._load = name, fingerprint, dim, load
        self._awake: Encoder | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._awake is None:
            self._awake = self._load()
        return getattr(self._awake, name)
