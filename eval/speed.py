"""How fast an encoder and an index are on this machine, and what limits each: `mmr eval speed`."""

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from eval.tables import Table
from indexes import Store
from retrieval.callbacks import OnMessage, no_message
from retrieval.datatypes import Item
from retrieval.encoders import encoding
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest

SIZE = (1600, 1200)  # pixels of a photo
PICTURES, TEXTS = 64, 256
TOGETHER = (1, 32, 1000)  # queries
K = 10
ROUNDS, LEAST = 3, 0.5  # seconds that a measurement takes at the least
_SAID = {0: "", 1: ", one at a time"}
_SUBJECTS = "dog cat man woman child bird car boat house tree".split()
_PLACES = "on the beach,in the snow,near a river,in a park,at night,under a bridge,on a table".split(",")


@dataclass(frozen=True, slots=True)
class Speed:
    """A rate.

    Attributes:
        what: "pictures", "texts", "queries", "first query".
        together: How many at once; 0 where that is the encoder's own business.
        per_second: How many a second; of the first query, 1 / seconds.
        limit: What most of the time is spent on.
    """

    what: str
    together: int
    per_second: float
    limit: str


def of_encoder(encoder: Encoder, say: OnMessage = no_message) -> list[Speed]:
    """Pictures and texts a second."""
    say(f"drawing {PICTURES} photos of {SIZE[0]} x {SIZE[1]}")
    items = _photos(PICTURES)
    whole = _rate(lambda: sum(len(batch.items) for batch in encoding.encode(items, encoder)))
    seen = [encoding.prepare(item, encoder.preprocess) for item in items[:8]]
    assert all(isinstance(one, encoding.Prepared) for one in seen), "they were drawn here"
    decoded = _rate(lambda: len([encoding.prepare(item, encoder.preprocess) for item in items[:8]]))
    lanes = max(1, encoder.lanes)
    share = min(1.0, whole / (decoded * lanes))
    found = [Speed("pictures", 0, whole, f"{share:.0%} decoding and scaling, {1 - share:.0%} the tower")]
    texts = _texts(TEXTS)
    for count in (1, TEXTS):
        part = texts[:count]
        rate = _rate(partial(_encoded, encoder, part))
        found.append(Speed("texts", count, rate, "the tower" if count > 1 else "the tower, which reads one at a time"))
    return found


def of_index(encoder: Encoder, path: Path) -> list[Speed]:
    """Queries a second of an index: words in, rows out. Raises StoreError."""
    found = []
    with Store.open(path) as store:
        for count in TOGETHER:
            texts = _texts(count)
            vectors = encoder.encode_texts(texts)
            searched = _rate(partial(_searched, store, vectors))
            encoded = _rate(partial(_encoded, encoder, texts))
            rate = 1 / (1 / searched + 1 / encoded)
            found.append(Speed("queries", count, rate, f"{rate / encoded:.0%} words, {rate / searched:.0%} search"))
    return found


def first_query(path: Path, rounds: int = ROUNDS) -> Speed:
    """A cold `mmr search`, the whole process: the median of a few. Raises BadRequest where that fails."""
    command = [sys.executable, "-m", "cli.main", "search", "a dog", "--index", str(path), "--json"]
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True)
        if done.returncode not in (0, 1):
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise BadRequest(f"`mmr search` cannot ask {path}: {said[-1] if said else done.returncode}")
        taken.append(time.perf_counter() - started)
    return Speed("first query", 1, 1 / statistics.median(taken), "starting: the program, the encoder, the index")


def _encoded(encoder: Encoder, texts: Sequence[str]) -> int:
    return len(encoder.encode_texts(texts))


def _searched(store: Store, vectors: np.ndarray) -> int:
    return len(store.search(vectors, K).rows)


def _rate(work: Callable[[], int]) -> float:
    """Of things a second: the median of ROUNDS of LEAST seconds; what is loaded late is loaded before."""
    work()
    rates = []
    for _ in range(ROUNDS):
        done, started = 0, time.perf_counter()
        while (taken := time.perf_counter() - started) < LEAST or not done:
            done += work()
        rates.append(done / taken)
    return statistics.median(rates)


def _photos(count: int) -> list[Item]:
    """JPEGs as a camera writes them: smooth shapes with noise."""
    random = np.random.default_rng(0)
    items = []
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=88)
        items.append(Item(str(number), f"{number}.jpg", file.getvalue))
    return items


def _texts(count: int) -> list[str]:
    return [
        f"a {_SUBJECTS[number % 10]} {_PLACES[number // 10 % 7]} {number}" if number >= 70
        else f"a {_SUBJECTS[number % 10]} {_PLACES[number // 10]}"
        for number in range(count)
    ]  # fmt: skip


def table(title: str, found: Sequence[Speed]) -> Table:
    """A row a rate."""
    rows = [
        [
            one.what + _SAID.get(one.together, f", {one.together} together"),
            f"{one.per_second:.1f}/s", f"{1000 / one.per_second:.2f} ms", one.limit,
        ]
        for one in found
    ]  # fmt: skip
    return Table(title, ["", "rate", "each", "what takes the time"], rows, words=1)
