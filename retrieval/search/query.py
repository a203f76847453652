"""What a person asks: words, pictures and items, added and taken away, as one unit vector.

    a dog                                   words; several arguments are one text
    ./dog.jpg   https://.../dog.jpg         a picture; an address is fetched only where that is allowed
    id:holiday/beach.jpg                    an item of the index, by its uri
    2:golden retriever + ./pool.jpg - people    arguments that are exactly + or - ; a weight stands before a colon

Each part is of unit length before it is weighed, and so is the sum: scores of all queries are cosines.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, ImageError
from retrieval.images import kinds
from retrieval.sources.captions import whole

_WEIGHT = re.compile(r"(\d+(?:\.\d+)?|\.\d+|\d+\.):(.+)", re.DOTALL | re.ASCII)
_SIGNS = {"+": 1.0, "-": -1.0}
_NOTHING = 1e-4  # a sum shorter than this share of its weights is rounding
_EMPTY = 'the query is empty: write what you look for, as in mmr search "a dog"'


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a query. text: the words, the path, the address or the item's uri. weight: below 0 is taken away."""

    kind: Literal["words", "picture", "url", "item"]
    text: str
    weight: float = 1.0


def parse(asked: str | Sequence[str]) -> tuple[Part, ...]:
    """The parts of a query. A text is one part; of a list, the arguments + and - part the others.

    Raises BadRequest where an operator has nothing to work on, or a path names no picture.
    """
    words = [asked] if isinstance(asked, str) else list(asked)
    return tuple(_part(sign, text) for sign, text in _terms(words))


def _terms(words: Iterable[str]) -> Iterator[tuple[float, str]]:
    """(sign, text) of each term: the words between two operators are one text."""
    sign, operator, collected = 1.0, "", []
    for word in words:
        if word not in _SIGNS:
            collected.append(word)
            continue
        if collected or operator:
            yield sign, _joined(collected, operator)
        sign, operator, collected = _SIGNS[word], word, []
    yield sign, _joined(collected, operator)


def _joined(words: Sequence[str], operator: str) -> str:
    text = " ".join(words)
    if not text.strip():
        raise BadRequest(f"nothing follows `{operator}`: write a word or a picture behind it" if operator else _EMPTY)
    return text


def _part(sign: float, text: str) -> Part:
    match = _WEIGHT.fullmatch(text)
    weight, text = (float(match[1]), match[2]) if match else (1.0, text)
    if not math.isfinite(weight):
        raise BadRequest("a weight of that size is none: write, say, 2:dog")
    if not text.strip():
        raise BadRequest(_EMPTY)
    if text.startswith("id:"):
        return Part("item", text[3:], sign * weight)
    if text.lower().startswith(("http://", "https://")):
        return Part("url", text.strip(), sign * weight)
    return Part("picture", text, sign * weight) if _is_path(text) else Part("words", whole(text), sign * weight)


def _is_path(text: str) -> bool:
    """True for an existing picture, and for what can only be meant as one: `./dog.jpg`, `dog.jpg`, not `a dog.`"""
    if is_picture(text):
        return True
    looks_like_file = Path(text).suffix.lower() in kinds.PICTURES and " " not in text.strip()
    if looks_like_file or text.startswith(("./", "../", "/", "~/")):
        if not _is_file(text):
            raise BadRequest(f"no such picture: {text}: check the path, or write words")
        return True
    return False


def is_picture(text: str) -> bool:
    """True where the text names an existing file that looks like a picture: `./dog.jpg`, not `a dog.`"""
    return _file(text).suffix.lower() in kinds.PICTURES and _is_file(text)


def _is_file(text: str) -> bool:
    try:
        return _file(text).is_file()
    except OSError:  # too long for a name, say
        return False


def _file(text: str) -> Path:
    """A weight before a path keeps the shell from seeing its ~."""
    return Path.home() / text[2:] if text.startswith("~/") else Path(text)


def files(parts: Iterable[Part]) -> list[Path]:
    """The pictures on this machine that a query asks with."""
    return [_file(part.text) for part in parts if part.kind == "picture"]


def encode(
    queries: Sequence[Sequence[Part]], encoder: Encoder,
    vector_of: Callable[[str], np.ndarray], urls: bool = False,
) -> np.ndarray:  # fmt: skip
    """Each query as a row: float32 (n, d), unit length. All their texts are encoded in one call, so are all pictures.

    vector_of: the unit vector of an item, by its uri. urls: addresses may be fetched. Raises BadRequest for a picture
    that cannot be had, and for parts that cancel out.
    """
    parts = list(dict.fromkeys((part.kind, part.text) for query in queries for part in query))
    known = {("item", text): vector_of(text) for kind, text in parts if kind == "item"}
    texts = [text for kind, text in parts if kind == "words"]
    if texts:
        known |= zip([("words", text) for text in texts], encoder.encode_texts(texts), strict=True)
    pictures = [part for part in parts if part[0] in ("picture", "url")]
    if pictures:
        decoded = [_picture(kind, text, 2 * encoder.preprocess.size, urls) for kind, text in pictures]
        known |= zip(pictures, encoder.encode_images(decoded), strict=True)
    return np.stack([_sum(query, [known[part.kind, part.text] for part in query]) for query in queries])


def _picture(kind: str, text: str, at_least: int, urls: bool) -> Image.Image:
    if kind == "url" and not urls:
        raise BadRequest(f"{text} is an address: add --urls to have it fetched, or give a file")
    from retrieval.images import load  # a query of words does without

    try:
        if kind == "picture":
            return load.decode(_file(text), at_least)
        from retrieval.sources import web

        return load.decode(web.fetch(text, local=True), at_least)
    except ImageError as error:
        raise BadRequest(f"{text}: {error}: give another picture, or words") from error


def _sum(parts: Sequence[Part], vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The weighed sum of unit vectors, float32 (d,) of unit length."""
    weights = np.array([part.weight for part in parts], np.float64)
    total = weights / (np.abs(weights).max() or 1) @ np.stack(vectors).astype(np.float64)  # so that no weight overflows
    length = np.linalg.norm(total)
    if not length > _NOTHING:
        raise BadRequest("the parts of the query cancel out: change a weight, or take one away")
    return (total / length).astype(np.float32)
