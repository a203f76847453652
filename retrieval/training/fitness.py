"""What a source of pairs cannot teach, said before anything is trained on it."""

from collections.abc import Sequence
from typing import NamedTuple

from retrieval import packages
from retrieval.callbacks import OnMessage
from retrieval.datatypes import Pair
from retrieval.errors import BadRequest
from retrieval.search.languages import unread

FEW = 20  # pictures, below which nothing but they themselves is learned
_LOOKED_AT = 1000  # captions
_WORTH_SAYING = 0.2  # share of the captions that a tower does not read
SHOWN = 60  # letters of a caption


def check(pairs: Sequence[Pair], say: OnMessage) -> None:
    """Raise BadRequest where the captions are all the same; say so where the pictures are few."""
    captions = {" ".join(pair.caption.lower().split()) for pair in pairs}
    pictures = len({pair.item.id for pair in pairs})
    if len(captions) == 1 and pictures > 1:
        raise BadRequest(
            f"all captions of the {pictures} pictures are `{pairs[0].caption[:SHOWN]}`, from which nothing is to be "
            "learned: write what tells the pictures apart, `mmr sample -n 100 --csv FILE` chooses for which"
        )
    if 1 < pictures < FEW:
        say(
            f"{pictures} pictures are too few to learn much more than those by heart: 100 with captions are a start, "
            "`mmr sample -n 100 --csv FILE` chooses them"
        )


def say_unread(pairs: Sequence[Pair], languages: Sequence[str], reader: str, say: OnMessage) -> None:
    """Say so where many captions are in a language that a text tower does not read.

    languages: codes of those that it reads; () where that is not known, and nothing is said. reader: what it is called.
    """
    some = unread_of(pairs, languages)
    if some.share >= _WORTH_SAYING:
        say(
            f"of the captions about {some.share:.0%} are like `{some.text[:SHOWN]}`, which looks like "
            f"{some.language}, and {reader} reads only {', '.join(languages)}: {_another(some.text)}"
        )


class Unread(NamedTuple):
    """The share of the captions that are not read, 0..1; the first of them, and its language."""

    share: float
    text: str
    language: str


def unread_of(pairs: Sequence[Pair], languages: Sequence[str]) -> Unread:
    """What of the captions is in none of those languages; of many some are looked at."""
    step = max(1, len(pairs) // _LOOKED_AT)
    looked_at = [pair.caption for pair in pairs[::step]]
    found = [(text, language) for text in looked_at if (language := unread(text, languages))]
    return Unread(len(found) / len(looked_at), *found[0]) if found else Unread(0.0, "", "")


def _another(text: str) -> str:
    """A tower that reads this."""
    able = [one.name for one in packages.PACKAGES.values() if one.languages and not unread(text, one.languages)]
    if able:
        return f"--set text_tower=package:{able[0]} reads it"
    return "leave text_tower out, and one is learned from the captions"
