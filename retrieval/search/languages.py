"""Is a text in a language that an encoder reads? Told by letters alone: what is not sure is not said.

A letter is strange where no language of the encoder has it: of a script that none is written in, or one that the CLDR
lists for none of them, neither as its own nor in loan words. a to z are never strange. Detectors that guess by
statistics were measured on names of a word or three: they take 4 to 29 of 100 in known languages for others.
"""

import functools
import unicodedata
from collections.abc import Iterable, Sequence

from retrieval.callbacks import OnMessage
from retrieval.search import query
from retrieval.search.alphabets import DENSE, LANGUAGES, SCRIPTS, SHARED

_ALONE, _TOGETHER = 2, 3  # one strange word says it of two words, two of them of six
_NAMED = 3  # languages that a message names
_SHOWN, _QUOTED = 5, 40  # letters that a message shows, of an alphabet and of a query


def known_to(encoder: object) -> tuple[str, ...]:
    """The codes of the languages that an encoder says it reads; () where it does not say."""
    return tuple(getattr(encoder, "languages", ()))


def say_unread(queries: Iterable[str | Sequence[str]], encoder: object, on_message: OnMessage) -> None:
    """Say of queries that the encoder does not read them, as `say_of`. Raises BadRequest, as query.parse."""
    if known_to(encoder):
        parts = (part for one in queries for part in query.parse(one))
        say_of((part.text for part in parts if part.kind == "words"), encoder, on_message)


def say_of(texts: Iterable[str], encoder: object, on_message: OnMessage) -> None:
    """Say of texts that the encoder does not read them: a line for each language, with the first text in it."""
    languages = known_to(encoder)
    said = set()
    for text in texts:
        found = unread(text, languages)
        if found and found not in said:
            said.add(found)
            on_message(_message(text, found, encoder, languages))


def _message(text: str, found: str, encoder: object, languages: Sequence[str]) -> str:
    shown = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
    name = getattr(encoder, "name", "") or "the encoder"
    return (
        f"`{shown}` looks like {found}, which {name} does not read: answers may be chance, "
        f"ask in one of {', '.join(languages)}"
    )


def unread(text: str, languages: Sequence[str]) -> str:
    """What a text is written in, if that is surely none of these languages: "Hindi, Marathi or Nepali"; else "".

    languages: codes as "de", "zh-TW". Of none, or with one among them whose letters are not known here, all is read.

    Examples:
        >>> unread("một con chó trên bãi cỏ", ("en", "de"))
        'Vietnamese'
        >>> unread("the café in Łódź", ("en", "de"))
        ''
    """
    codes = frozenset(code.partition("-")[0] for code in languages)
    if text.isascii() or not codes or not codes <= LANGUAGES.keys():
        return ""
    words = [word for word in _words(text) if not _is_name(word)]
    strange = {word: found for word in words if (found := _strange(word, codes))}
    if not _are_enough(sum(word in strange for word in words), len(words)):
        return ""
    return _called("".join(strange), "".join(strange.values()), codes)


def _are_enough(strange: int, words: int) -> bool:
    """A dish or a street may have a strange name in any language."""
    return strange > 0 and (strange * _ALONE >= words or (strange > 1 and strange * _TOGETHER >= words))


def _words(text: str) -> list[str]:
    """Its words, letters in their usual form. A single letter is a sign and no word, where letters are sounds."""
    whole = unicodedata.normalize("NFKC", text)
    words = "".join(letter if _is_of_words(letter) else " " for letter in whole).split()
    return [word for word in words if len(word) > 1 or _script(word) in DENSE]


def _is_of_words(letter: str) -> bool:
    return letter.isalpha() or unicodedata.category(letter)[0] == "M"  # vowels of Indic scripts are marks


def _is_name(word: str) -> bool:
    """Names keep their letters in any language."""
    return word[0].isupper()


def _strange(word: str, codes: frozenset[str]) -> str:
    """The letters of a word that none of those languages has, each once."""
    letters, scripts = _of(codes)
    found = (letter for letter in word.lower() if letter.isalpha() and not letter.isascii())
    return "".join(dict.fromkeys(one for one in found if not _is_known(one, letters, scripts)))


def _is_known(letter: str, letters: frozenset[str], scripts: frozenset[str]) -> bool:
    script = _script(letter)
    if script not in SCRIPTS:  # a sign, or too rare to be sure of anything
        return True
    return script in scripts and (script not in SHARED or letter in letters)


@functools.cache
def _of(codes: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The letters and the scripts of those languages."""
    known = [LANGUAGES[code] for code in codes]
    return (
        frozenset("".join(one.letters + one.loans for one in known)),
        frozenset(script for one in known for script in one.scripts),
    )


def _script(letter: str) -> str:
    """The script of a letter, as its Unicode name begins."""
    first = unicodedata.name(letter, "").partition(" ")[0].partition("-")[0]
    return "CJK" if first == "IDEOGRAPHIC" else first


def _called(words: str, strange: str, codes: frozenset[str]) -> str:
    """The languages that have all the letters of those words; where they are many or none, what is strange of them."""
    names = [one.name for code, one in LANGUAGES.items() if code not in codes and _can_be(code, words.lower())]
    if 0 < len(names) <= _NAMED:
        return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    scripts = {_script(letter) for letter in strange}
    if not scripts & {*SHARED}:
        return f"{scripts.pop().capitalize()} letters"
    return f"a language with {', '.join(dict.fromkeys(strange[:_SHOWN]))}"


def _can_be(code: str, words: Iterable[str]) -> bool:
    language = LANGUAGES[code]
    return all(
        (script := _script(letter)) in language.scripts
        and (script not in SHARED or letter in language.letters or letter.isascii())
        for letter in words
        if letter.isalpha() and _script(letter) in SCRIPTS
    )
