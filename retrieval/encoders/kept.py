"""What an encoder made of a source, kept in the user's cache: encoded once, believed only where it is whole.

A file is named after all that decides its content, and says the SHA-256 of what it holds. One that is cut short, or of
another hand, is as good as none.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from indexes import durable
from retrieval import cache
from retrieval.datatypes import Item

_DIGEST = "sha256"
_NAME = 16  # bytes of a name
_UNKEPT = b"not kept: "  # how names of what cannot be told apart later begin: they are longer
_SIZE = 8  # bytes at a file's start that say how long its header is


def key_of(items: Sequence[Item], made_by: str) -> str | None:
    """A name for what is made of items: another one when a picture changes or who made it does.

    made_by: tells the maker and what it makes from every other. None where a source does not say when a picture
    changes.
    """
    if not items or not all(item.stamp for item in items):
        return None
    digest = hashlib.sha256(made_by.encode())
    for item in items:
        digest.update(f"{_content(item)}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]


def _content(item: Item) -> str:
    """What tells an item as it is from every other, and from itself as it was."""
    where = item.content.absolute() if isinstance(item.content, Path) else item.id
    return f"{where}\0{item.stamp}"


class Pool:
    """Rows that one maker made of many things, each under a name: what is there is not made again.

    In the cache they are float16. Of more than MOST bytes those that were added first are let go.

    Args:
        part: Of the cache.
        made_by: Tells the maker, and what it makes, from every other.
        width: Numbers in a row; what was kept of another width is not taken.
    """

    MOST = 4 << 30

    def __init__(self, part: str, made_by: str, width: int) -> None:
        self._part, self._key = part, hashlib.sha256(made_by.encode()).hexdigest()[:32]
        found = read(part, self._key) or {}
        names, rows = found.get("names", np.empty((0, _NAME), np.uint8)), found.get("rows", np.empty((0, width)))
        fits = names.dtype == np.uint8 and names.shape == (len(rows), _NAME) and rows.shape[1:] == (width,)
        fits = fits and bool(np.isfinite(rows).all())
        self._names = [bytes(name) for name in names] if fits else []
        self._rows = np.asarray(rows, np.float16) if fits else np.empty((0, width), np.float16)
        self._places = {name: place for place, name in enumerate(self._names)}

    def __contains__(self, name: bytes) -> bool:
        return name in self._places

    def rows(self, names: Sequence[bytes]) -> np.ndarray:
        """float32 (n, width) of names that are there."""
        return self._rows[[self._places[name] for name in names]].astype(np.float32)

    def add(self, names: Sequence[bytes], rows: np.ndarray) -> None:
        """Take rows in, and keep all in the cache. Some names are not kept (`name_of`)."""
        for name in names:
            self._places[name] = len(self._names)
            self._names.append(name)
        self._rows = np.concatenate([self._rows, rows.astype(np.float16)])
        fitting = max(1, self.MOST // max(1, 2 * self._rows.shape[1]))
        places = [place for name, place in self._places.items() if not name.startswith(_UNKEPT)][-fitting:]
        if places:
            kept = np.frombuffer(b"".join(self._names[place] for place in places), np.uint8).reshape(-1, _NAME)
            write(self._part, self._key, {"names": kept, "rows": self._rows[places]})


def name_of(item: Item) -> bytes:
    """A name of a picture's content as a Pool has them; one that is not kept where the source does not say a stamp."""
    name = name_of_text(_content(item))
    return name if item.stamp else _UNKEPT + name


def name_of_text(text: str) -> bytes:
    """A name of a text as a Pool has them."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:_NAME]


def read(part: str, key: str) -> dict[str, np.ndarray] | None:
    """The arrays of that key in a part of the cache; None where there are none, or not as they were written."""
    file = _file(part, key)
    try:
        content = file.read_bytes()
        arrays, said = load(content), _metadata(content).get(_DIGEST)
        if said == _digest(arrays):
            return arrays
        reason = "they are not as they were written"
    except FileNotFoundError:
        return None
    # Cut short, or written by somebody else: it is only a cache.
    except Exception as error:
        reason = str(error)
    logging.getLogger(__name__).info("cached vectors %s cannot be used: %s", file, reason)
    return None


def write(part: str, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays under that key. A disk that is full or read-only is no matter: they are made again the next time."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        durable.make_folder(_file(part, key).parent)
        durable.write_bytes(_file(part, key), save(arrays, {_DIGEST: _digest(arrays)}))
    except OSError as error:
        logging.getLogger(__name__).info("vectors are not cached: %s", error)


def _file(part: str, key: str) -> Path:
    return cache.folder(part) / f"{key}.safetensors"


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in a safetensors header, which `load` has checked."""
    length = int.from_bytes(content[:_SIZE], "little")
    return json.loads(content[_SIZE : _SIZE + length]).get("__metadata__") or {}


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
