"""Words on their way: a query of an agent names no file and no address; a message names tools, not options."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.search import query
from retrieval.search.query import Part

_MOST = 100  # terms and signs of a query
_SAID = re.compile(r"(^|:)(id|text|https?):")  # what a term is, maybe behind a weight
# What the errors of the packages below call what an agent has under another name.
_NAMES = {
    "`mmr fields` shows": "list_fields shows",
    "see `mmr ls` for what it holds": "take an id from the answers of search",
    "`mmr ls` shows the names there are": "leave folder out",
    'as in mmr search "a dog"': "as in a dog",
    "send the picture itself": "ask with words, or with id:ITEM",
    "--min-confidence": "min_confidence",
    "--unlike": "unlike",
    "--like": "like",
    "--where": "where",
    "--in ": "folder ",
}


def parts(asked: str | Sequence[str]) -> tuple[Part, ...]:
    """The parts of a query: a text is words or an item, of a list + and - alone stand between terms.

    Raises BadRequest for addresses, for what can only be meant as a path, for very many terms, and as query.parse_sent.
    """
    given = [asked] if isinstance(asked, str) else list(asked)
    if len(given) > _MOST:
        raise BadRequest(f"a query of {len(given)} terms is more than {_MOST}: ask with fewer")
    if meant := next((word for word in given if _means_a_file(word)), ""):
        raise BadRequest(
            f"{meant[:60]} looks like a file, and a query opens none: "
            "ask with id:ITEM for a picture of the index, or with text:... for these very words"
        )
    return tuple(_no_picture(part) for part in query.parse_sent(given))


def _means_a_file(text: str) -> bool:
    if _SAID.search(text):
        return False
    ending = PurePath(text).suffix.lower()
    named_so = ending in kinds.ALL
    return (named_so and " " not in text.strip()) or text.startswith(("./", "../", "/", "~/"))


def _no_picture(part: Part) -> Part:
    """Nothing is sent here: "picture: a dog" is words."""
    return replace(part, kind="words", text=f"picture:{part.text}") if part.kind == "sent" else part


def bare(id: str) -> str:
    """An id as an item has it: the answers write id: before it, as a query does."""
    return id.removeprefix("id:")


def looks_like_a_sum(asked: str | Sequence[str]) -> bool:
    """Does a text hold + or - between words, which only a list makes operators?"""
    return isinstance(asked, str) and not asked.startswith("id:") and any(f" {sign} " in asked for sign in "+-")


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
