"""Is there such a picture at all? A score beside what captions of any kind get from the same index.

A cosine alone says little: what is high for one encoder and one collection is low for another. So a bank of prompts is
asked as well, and the confidence of an answer is the share of prompts whose best answer has a lower score: of queries
about nothing that is there, a share of 1 - P passes `--min-confidence P`. It orders queries as the score does. Scores
set off picture by picture against many captions were measured and told less (docs/log.md).
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexes import Store, durable
from retrieval import cache
from retrieval.encoders import prompts
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.indexing import stored
from retrieval.search.query import Part

_TOGETHER = 128  # texts that are encoded at once


@dataclass(frozen=True, slots=True)
class Background:
    """The best score of each prompt of the bank, float32 (n,), ascending."""

    best: np.ndarray

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        """The share of prompts whose best picture is farther than these scores, 0 to 1; 0 for an empty index."""
        return np.searchsorted(self.best, scores, "left") / max(1, len(self.best))


def check(queries: Iterable[Iterable[Part]]) -> None:
    """Raise BadRequest for a query that is more than words: what pictures get is of another range than prompts get."""
    if any(part.kind != "words" for query in queries for part in query):
        raise BadRequest("--min-confidence is measured for words alone: ask without pictures, or give --min-score")


def background(store: Store, encoder: Encoder, device: str = "cpu") -> Background:
    """What the bank of prompts gets from a store: asked once for each state of it, then read from the user's cache."""
    file = cache_file(store, encoder)
    kept = _read(file)
    if kept is None:
        kept = ask(store, encoder, device)
        if stored.are_all(store):
            _keep(file, kept)
    return kept


def ask(store: Store, encoder: Encoder, device: str = "cpu") -> Background:
    """Ask the bank now."""
    bank = prompts.prompts()
    texts = [bank[start : start + _TOGETHER] for start in range(0, len(bank), _TOGETHER)]
    vectors = np.concatenate([encoder.encode_texts(part) for part in texts])
    best = store.search(vectors, 1, device).scores[:, 0]
    return Background(np.sort(best[np.isfinite(best)]))


def cache_file(store: Store, encoder: Encoder) -> Path:
    """Where the scores of the bank are kept, by the index's place, its state and the encoder.

    An index made again, elsewhere or in its place, is another.
    """
    state = f"{store.path.resolve()}\0{store.generation}\0{encoder.fingerprint}\0{_mark(store)}"
    return cache.folder(cache.BACKGROUND) / f"{hashlib.sha256(state.encode('utf-8', 'replace')).hexdigest()}.npy"


def _mark(store: Store) -> str:
    """Tells an index from another one that was made in its place."""
    rows = store.rows()
    return f"{len(rows)}:{store.records(rows[-1:])}" if len(rows) else ""


def _read(file: Path) -> Background | None:
    try:
        return Background(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError):  # not there, or damaged: asked again
        return None


def _keep(file: Path, found: Background) -> None:
    content = io.BytesIO()
    np.save(content, found.best, allow_pickle=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write_bytes(file, content.getvalue())
    except OSError:  # a cache that cannot be written is no reason to answer nothing
        return
