"""Words on their way: a query of an agent names no file and no address; a message names tools, not options."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from retrieval.errors import BadRequest
from retrieval.images import kinds

_SIGNS = ("+", "-")
_MOST = 100  # terms and signs of a query
# What a digit follows is no weight: "16:9", "12:30 on a clock".
_WEIGHED = re.compile(r"(-?(?:\d+\.?\d*|\.\d+):)(?!\s*\.?\d)(.+)", re.DOTALL | re.ASCII)
_EXPLICIT = ("id:", "text:")
_SUM = re.compile(r"\S\s+[-+]\s+\S")
# What the errors of the command line call what an agent has under another name.
_NAMES = {
    "`mmr fields` shows": "list_fields shows",
    "see `mmr ls` for what it holds": "take an id from the answers of search",
    "`mmr ls` shows the names there are": "leave folder out",
    "--min-confidence": "min_confidence",
    "--where": "where",
    "--in ": "folder ",
    'as in mmr search "a dog"': "as in a dog",
}


def terms(query: str | Sequence[str]) -> list[str]:
    """A query with each of its terms said outright: words as text:..., items as id:..., so that none is a path.

    A text is words; of a list, + and - alone stand between terms, as arguments of `mmr search`. A weight stays before
    its term. Raises BadRequest for addresses, for what can only be meant as a path, and for very many terms.
    """
    if not isinstance(query, str) and len(query) > _MOST:
        raise BadRequest(f"a query of {len(query)} terms is more than {_MOST}: ask with fewer")
    return list(_explicit([query] if isinstance(query, str) else query))


def _explicit(words: Sequence[str]) -> Iterator[str]:
    collected: list[str] = []
    for word in [*words, None]:
        if word is not None and word not in _SIGNS:
            collected.append(word)
            continue
        if collected:
            yield _term(" ".join(collected))
        if word is not None:
            yield word
        collected = []


def _term(text: str) -> str:
    weight, bare = _split(text)
    if bare.startswith(_EXPLICIT):
        return text
    if bare.lower().startswith(("http://", "https://", "file://")):
        raise BadRequest(f"{_short(bare)} is an address, and none is fetched: ask with words, or with id:ITEM")
    if _means_a_file(bare):
        raise BadRequest(
            f"{_short(bare)} looks like a file, and a query opens none: "
            "ask with id:ITEM for a picture of the index, or with text:... for these very words"
        )
    return f"{weight}text:{bare}" if bare.strip() else ""


def _split(text: str) -> tuple[str, str]:
    """(weight with its colon or "", the rest)."""
    found = _WEIGHED.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


def _means_a_file(text: str) -> bool:
    ending = PurePath(text).suffix.lower()
    named_so = ending in kinds.PICTURES or ending in kinds.CLIPS
    return (named_so and " " not in text.strip()) or text.startswith(("./", "../", "/", "~/"))


def bare(id: str) -> str:
    """An id as an item has it: the answers write id: before it, as a query does."""
    return id.removeprefix("id:")


def are_words(asked: Sequence[str]) -> bool:
    """Is a query, as `terms` gave it, of words alone?"""
    return all(term in _SIGNS or not _split(term)[1].startswith("id:") for term in asked)


def looks_like_a_sum(query: str | Sequence[str]) -> bool:
    """Does a text hold + or - between words, which only a list makes operators?"""
    return isinstance(query, str) and not query.startswith(_EXPLICIT) and bool(_SUM.search(query))


def for_agents(message: str) -> str:
    """A message of the command line, in one line and in the words of the tools."""
    for ours, theirs in _NAMES.items():
        message = message.replace(ours, theirs)
    return " ".join(message.removeprefix("mmr: ").split())


def encodable(value: Any) -> Any:
    """A value of JSON as UTF-8 can hold it: odd bytes of names are written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(name): encodable(one) for name, one in value.items()}
    return [encodable(one) for one in value] if isinstance(value, list | tuple) else value


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:60]}..."
