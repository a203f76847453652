"""What of a record is searched by words, and how texts are made ready for SQLite's tokenizer.

    said    its `caption`: all texts that its source says of it
    named   its `uri`: folders and the file's name, without its ending
    told    whatever else is said of it in `meta`, `file` (but its dates) and `labels`
    read    the text in the picture: what `file` has as `text` (OCR)

What differs in case, accents and vowel points only is alike: `STRASSE` and Straße, `duong` and đường.
SQLite's `unicode61` ends words at spaces and signs. Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese are written
without spaces: there each letter is made a word of its own, so that any part of a text, from one letter on, is found as
a phrase. A picture sign (an emoji) is a word too. Of a text the first 65,536 letters count.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

COLUMNS = ("said", "named", "told", "read")
_SAID, _NAMED, _TOLD, _FILE, _LABELS, _READ = "caption", "uri", "meta", "file", "labels", "text"
_UNSAID = {_READ, "modified", "taken", "folder"}  # of a file: its dates have parts that are in all others, too
_LONGEST = 1 << 16  # letters of a column: what a page of text holds many times over
_DEEPEST = 8  # lists in lists
_MARKS = "".join(
    chr(code) for code in range(0x0E00, 0x1800) if unicodedata.category(chr(code)).startswith("M")
)  # fmt: skip
# Scripts without spaces between words, a letter with its marks; then signs that are pictures.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f"
    f"\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff][{_MARKS}\u3099\u309a]*"
    "|[\u2190-\u2bff\U0001f000-\U0001faff]"
)
# Within a word, and no part of it; the colors of skin of an emoji among them.
_SILENT = re.compile("[\u00ad\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff\U0001f3fb-\U0001f3ff]")
# Accents and points of Latin, Greek, Cyrillic, Hebrew and Arabic. Those of others are letters (Hindi, Thai) or tell
# letters apart (Japanese).
_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670]")
_LIKE = str.maketrans({"ł": "l", "đ": "d", "ø": "o", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})
_PARTS_OF_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")  # goldenRetriever2


def of(fields: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """The texts of a record's fields, one of COLUMNS each, ready to be tokenized. Of other types there are none."""
    file = fields.get(_FILE)
    read = file.get(_READ) if isinstance(file, dict) else None
    others = {name: file[name] for name in file if name not in _UNSAID} if isinstance(file, dict) else file
    told = [*_texts(fields.get(_TOLD), numbers=True), *_texts(others), *_texts(fields.get(_LABELS))]
    uri = fields.get(_NAMED)
    return (
        _joined(_texts(fields.get(_SAID))), ready(_name(uri)) if isinstance(uri, str) else "", _joined(told),
        _joined(_texts(read)),
    )  # fmt: skip


def ready(text: str) -> str:
    """A text as it is tokenized: what looks alike is alike (NFKD, case folding, no accents), and letters of unspaced
    scripts stand apart."""
    text = text.replace("\0", " ")
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", text.encode("utf-8", "replace").decode()).casefold()
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", apart)))
    return UNSPACED.sub(r" \g<0> ", _SILENT.sub("", plain.translate(_LIKE)))


def _joined(texts: "Iterator[str] | list[str]") -> str:
    return ready("\n".join(texts)[:_LONGEST])


def _texts(value: Any, numbers: bool = False, depth: int = 0) -> Iterator[str]:
    """All texts in a JSON value. numbers: whole ones as well, such as a year."""
    if isinstance(value, str):
        yield value
    elif numbers and isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, (dict, list)) and depth < _DEEPEST:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one, numbers, depth + 1)


def _name(uri: str) -> str:
    """A path without the ending of its file; words that were written together apart as well."""
    folder, _, file = uri.rpartition("/")
    stem = f"{folder} {file.rpartition('.')[0] or file}".strip()[-_LONGEST:]
    apart = _PARTS_OF_NAME.sub(" ", stem)
    return stem if apart == stem else f"{stem} {apart}"
