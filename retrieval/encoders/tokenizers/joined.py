"""Several tokenizers as one: what each makes of a text, side by side, for text towers that stand side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.encoders.protocol import KeptTokenizer


class JoinedTokenizer:
    """Texts to token rows of n tokenizers: place i of a row is place i // n of what number i % n of them gives.

    So zeros at the end of a row are padding of each of them, however many there are.
    """

    kind = "joined"

    def __init__(self, parts: Sequence[KeptTokenizer]) -> None:
        self.parts = tuple(parts)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, length of the longest of any, times their number), filled with 0."""
        found = [part(texts) for part in self.parts]
        joined = np.zeros((len(texts), max(rows.shape[1] for rows in found), len(found)), np.int64)
        for place, rows in enumerate(found):
            joined[:, : rows.shape[1], place] = rows
        return joined.reshape(len(texts), -1)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without the padding at their end."""
        count = len(self.parts)
        lines = [np.trim_zeros(row, "b") for row in self(texts)]
        return [np.pad(line, (0, -len(line) % count)).tolist() or [0] * count for line in lines]

    def content(self) -> bytes:
        """All that decides its tokens."""
        return b"\0".join(part.content() for part in self.parts)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write each into a folder of its own; the facts that saved.load wants."""
        facts = []
        for place, part in enumerate(self.parts):
            inner = folder / str(place)
            inner.mkdir(exist_ok=True)
            facts.append({"kind": part.kind, **part.save(inner)})
        return {"parts": facts}
