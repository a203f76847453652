"""What a person asks: words, pictures and items, added and taken away, as one unit vector.

    a dog                                   words; several arguments are one text
    ./dog.jpg   https://.../dog.jpg         a picture, clip or sound; an address is fetched only where that is allowed
    id:holiday/beach.jpg                    an item of the index, by its uri
    text:dog.jpg                            words, whatever they look like
    2:golden retriever + ./pool.jpg - people    arguments that are exactly + or - ; a weight stands before a colon

What names an existing file is asked with as a picture, whatever it is called, and never searched for as words. A number
is a weight before anything but a digit, and beside + and -; "12:30 on a clock" and "16:9" alone are words.

Each part is of unit length before it is weighed, and so is the sum: scores of all queries are cosines.
"""

import math
import re
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from retrieval import cache
from retrieval.datatypes import Picture
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest, ImageError, NeedsLibrary
from retrieval.images import kinds
from retrieval.images.regions import Region
from retrieval.sources.captions import whole

_WEIGHT = re.compile(r"(-?)(\d+(?:\.\d+)?|\.\d+|\d+\.):(.+)", re.DOTALL | re.ASCII)
_NUMBER = re.compile(r"\s*\.?\d")
_LONGEST = 10_000  # letters of a query: towers read a few hundred
_LONGEST_WORD = 2000  # CLIP's tokenizer takes a second for it, and its time grows with the square
_SIGNS = {"+": 1.0, "-": -1.0}
_NOTHING = 1e-4  # a sum shorter than this share of its weights is rounding
_SPACED_SIGN = re.compile(r"(?<=\S)\s+([-+])\s+(?=\S)")
_Kind = Literal["words", "item", "sent"]
_KINDS: dict[str, _Kind] = {"text:": "words", "id:": "item"}
_SENT = "picture:"
_EMPTY = 'the query is empty: write what you look for, as in mmr search "a dog"'


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a query. text: the words, the path, the address, the item's uri, or what a picture that was sent is
    called (`parse_sent`). weight: below 0 is taken away. region: the part of a picture that is asked with; None: all.
    """

    kind: Literal["words", "picture", "url", "item", "sent"]
    text: str
    weight: float = 1.0
    region: Region | None = None


def parse(asked: str | Sequence[str]) -> tuple[Part, ...]:
    """The parts of a query. A text is one part; of a list, the arguments + and - part the others.

    Raises BadRequest where an operator has nothing to work on, or a path names no picture.
    """
    words = [asked] if isinstance(asked, str) else list(asked)
    summed = any(word in _SIGNS for word in words)
    return tuple(_part(sign, text, summed) for sign, text in _terms(words))


def cropped(parts: Sequence[Part], region: Region | None) -> tuple[Part, ...]:
    """The parts of a query with a region of its one picture; as they are where there is no region.

    Raises BadRequest where the query has no picture, or several.
    """
    if region is None:
        return tuple(parts)
    if sum(part.kind in ("picture", "url") for part in parts) != 1:
        raise BadRequest(
            "--crop is of one picture of the query: ask as in mmr search ./photo.jpg --crop 10%,20%,50%,50%"
        )
    return tuple(replace(part, region=region) if part.kind in ("picture", "url") else part for part in parts)


def parse_sent(asked: Sequence[str]) -> tuple[Part, ...]:
    """The parts of a query that came over a network: as `parse`, but nothing is a file of this machine.

    picture:NAME is a picture that was sent before. Raises BadRequest, also for an address: none is fetched.
    """
    summed = any(word in _SIGNS for word in asked)
    return tuple(_sent(sign, text, summed) for sign, text in _terms(asked, files=False))


def _sent(sign: float, text: str, summed: bool) -> Part:
    match = _WEIGHT.fullmatch(text)
    weighed = match and (summed or not _NUMBER.match(match[3]))
    weight, text = (_weight(match), match[3]) if match and weighed else (1.0, text)
    if not text.strip():
        raise BadRequest(_EMPTY)
    for start, kind in (_KINDS | {_SENT: "sent"}).items():
        if text.startswith(start):
            return _named(kind, text.removeprefix(start), sign * weight)
    if text.lower().startswith(("http://", "https://")):
        raise BadRequest(f"{_short(text)} is an address, and none is fetched: send the picture itself")
    return _named("words", text, sign * weight)


def _terms(words: Iterable[str], files: bool = True) -> Iterator[tuple[float, str]]:
    """(sign, text) of each term: the words between two operators are one text."""
    sign, operator, collected = 1.0, "", []
    for word in words:
        if word not in _SIGNS:
            collected.append(word)
            continue
        if collected or operator:
            yield sign, _joined(collected, operator, files)
        sign, operator, collected = _SIGNS[word], word, []
    yield sign, _joined(collected, operator, files)


def _joined(words: Sequence[str], operator: str, files: bool) -> str:
    text = " ".join(words)
    if not text.strip():
        raise BadRequest(f"nothing follows `{operator}`: write a word or a picture behind it" if operator else _EMPTY)
    if len(text) > _LONGEST:
        raise BadRequest(f"a query of {len(text)} letters is more than {_LONGEST}: write fewer words")
    if files and len(words) > 1 and not _mode(text):
        _check_apart(words)
    return text


def _check_apart(words: Sequence[str]) -> None:
    """Raise BadRequest where files stand among words with no operator between, as a shell's * gives them."""
    file = next((word for word in words if _looks_like_file(word) and _mode(word)), None)
    if file is not None:
        raise BadRequest(f"{file} is a file among other words: write + or - between them, as in {file} + a dog")


def _part(sign: float, text: str, summed: bool) -> Part:
    weight = 1.0
    match = None if _mode(text) else _WEIGHT.fullmatch(text)
    if match and (summed or not _NUMBER.match(match[3])):
        weight, text = _weight(match), match[3]
    if not text.strip():
        raise BadRequest(_EMPTY)
    for start, kind in _KINDS.items():
        if text.startswith(start):
            return _named(kind, text.removeprefix(start), sign * weight)
    if text.lower().startswith(("http://", "https://")):
        return Part("url", text.strip(), sign * weight)
    if _is_file(text):
        return Part("picture", text, sign * weight)
    return _named("words", text, sign * weight)


def _weight(match: re.Match[str]) -> float:
    if match[1]:
        raise BadRequest(f"the weight of {_short(match[0])} is below 0: take away with - {_short(match[0][1:])}")
    if not math.isfinite(weight := float(match[2])):
        raise BadRequest("a weight of that size is none: write, say, 2:dog")
    return weight


def _named(kind: _Kind, text: str, weight: float) -> Part:
    if not text.strip():
        raise BadRequest(_EMPTY)
    if kind == "words" and (longest := max(map(len, text.split()))) > _LONGEST_WORD:
        raise BadRequest(f"a word of {longest} letters is more than {_LONGEST_WORD}: write shorter ones")
    return Part(kind, whole(text) if kind == "words" else text, weight)


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:60]}..."


def _is_file(text: str) -> bool:
    """True for an existing file. Raises BadRequest for a folder, and for what can only be meant as a path but is none.

    That is `./dog.jpg`, `dog.jpg`, not `a dog.`
    """
    if stat.S_ISDIR(_mode(text)):
        raise BadRequest(f"{text} is a folder, not words: ask with a picture of it, or write text:{text} for the words")
    if _mode(text):
        return True
    if _looks_like_file(text):
        noun = kinds.kind(Path(text))
        raise BadRequest(f"no such {noun}: {_short(text)}: check the path, or write text:{_short(text)} for the words")
    return False


def _looks_like_file(text: str) -> bool:
    ending = PurePath(text).suffix.lower()
    named_so = ending in kinds.ALL
    return (named_so and " " not in text.strip()) or text.startswith(("./", "../", "/", "~/"))


def _mode(text: str) -> int:
    """What kind of file a text names, as `stat` tells it; 0 where it names none."""
    try:
        return _file(text).stat().st_mode
    except (OSError, ValueError):  # none, too long for a name, no text that a name may hold
        return 0


def _file(text: str) -> Path:
    """A weight before a path keeps the shell from seeing its ~."""
    return cache.home() / text[2:] if text.startswith("~/") else Path(text)


def signs_inside(asked: Sequence[str]) -> str:
    """A line for who typed a sum within one pair of quotes, which is words; "" for any other query."""
    for at, word in enumerate(asked):
        pieces = [] if word.startswith("text:") or _mode(word) else _SPACED_SIGN.split(word)
        if len(pieces) > 1:
            apart = [*asked[:at], *pieces, *asked[at + 1 :]]
            typed = " ".join(one if one in _SIGNS else shlex.quote(one) for one in apart)
            return f"{shlex.quote(word)} is searched for as words: a sum is written mmr search {typed}"
    return ""


def files(parts: Iterable[Part]) -> list[Path]:
    """The pictures on this machine that a query asks with."""
    return [_file(part.text) for part in parts if part.kind == "picture"]


def encode(
    queries: Sequence[Sequence[Part]], encoder: Encoder,
    vector_of: Callable[[str], np.ndarray], urls: bool = False, sent: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """Each query as a row: float32 (n, d), unit length. All their texts are encoded in one call, so are all pictures.

    vector_of: the unit vector of an item, by its uri. urls: addresses may be fetched. sent: the unit vectors of
    pictures that were sent. Raises BadRequest for a picture that cannot be had, and for parts that cancel out.
    """
    parts = list(dict.fromkeys(replace(part, weight=1.0) for query in queries for part in query))
    known = {part: vector_of(part.text) for part in parts if part.kind == "item"}
    known |= {part: _sent_before(part.text, sent or {}) for part in parts if part.kind == "sent"}
    texts = [part for part in parts if part.kind == "words"]
    if texts:
        known |= zip(texts, encoder.encode_texts([part.text for part in texts]), strict=True)
    pictures = [part for part in parts if part.kind in ("picture", "url")]
    if pictures:
        known |= zip(pictures, seen([_shown(part, encoder, urls) for part in pictures], encoder), strict=True)
    return np.stack([_sum(query, [known[replace(part, weight=1.0)] for part in query]) for query in queries])


def _sent_before(name: str, sent: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in sent:
        raise BadRequest(f"no picture {_short(name)} is kept any more: send it again")
    return sent[name]


def seen(shown: Sequence[Sequence[Picture]], encoder: Encoder) -> np.ndarray:
    """A vector of each picture, of the frames of each clip, of the windows of each sound: float32 (n, d)."""
    from retrieval.encoders.encoding import pooled

    vectors = encoder.encode_images([image for images in shown for image in images])
    return pooled(vectors, np.array([len(images) for images in shown]), encoder.pool_frames)


def _shown(part: Part, encoder: Encoder, urls: bool) -> Sequence[Picture]:
    """What a file or an address shows: a picture, frames of a clip, windows of a sound; or a region of what is seen."""
    looked = _looked_at(part, encoder, urls)
    if part.region is None:
        return looked
    if any(isinstance(image, np.ndarray) for image in looked):
        raise BadRequest(f"{part.text} is heard, and --crop is of what is seen: leave --crop out")
    return [part.region.of(image) for image in looked if not isinstance(image, np.ndarray)]


def _looked_at(part: Part, encoder: Encoder, urls: bool) -> Sequence[Picture]:
    text, whole = part.text, part.region is not None
    if part.kind == "url" and not urls:
        raise BadRequest(f"{text} is an address: add --urls to have it fetched, or give a file")
    from retrieval.encoders import encoding  # a query of words does without

    try:
        if part.kind == "picture":
            return encoding.taken_in(_file(text), encoder.preprocess, whole=whole)
        from retrieval.sources import web

        return encoding.taken_in(web.fetch(text, local=True), encoder.preprocess, text, whole)
    except NeedsLibrary as error:  # its message says what to type
        raise BadRequest(f"{text}: {error}") from error
    except ImageError as error:
        as_words = f", or text:{text} for the words" if part.kind == "picture" else ", or words"
        raise BadRequest(f"{text}: {error}: give another {kinds.kind(Path(text))}{as_words}") from error


def _sum(parts: Sequence[Part], vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The weighed sum of unit vectors, float32 (d,) of unit length."""
    weights = np.array([part.weight for part in parts], np.float64)
    total = weights / (np.abs(weights).max() or 1) @ np.stack(vectors).astype(np.float64)  # so that no weight overflows
    length = np.linalg.norm(total)
    if not length > _NOTHING:
        raise BadRequest("the parts of the query cancel out: change a weight, or take one away")
    return (total / length).astype(np.float32)
