"""A WHERE expression (filters.py) as its words: names, values, keywords, signs, each with its place."""

import re
from dataclasses import dataclass

from indexes.errors import BadFilter

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<date>\d{4}-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d)?)?)?(?![\w.:-]))
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<quoted>`[^`"\\]+`)
    | (?P<word>[^\W\d](?:[\w.]|[^\x00-\x7f\s])*)
    | (?P<sign><=|>=|==|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
_KEYWORDS = ("and", "or", "not", "in", "is", "null", "contains", "like", "between", "true", "false")


class Date(str):
    """A date as it was written: all of the day, month or minute that it names."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Token:
    """A word of an expression. at: the offset at which it stands."""

    kind: str  # number, text, date, name, keyword, sign, end
    text: str
    at: int


def tokens(where: str) -> list[Token]:
    """The words of an expression, and "end". Raises BadFilter."""
    found, at = [], 0
    while where[at:].strip():
        match = _TOKEN.match(where, at)
        kind = match and match.lastgroup
        if not match or not kind:
            raise BadFilter(message(where, at, "a name, a value or an operator is expected"))
        text, at = match.group(kind), match.end()
        start = match.start(kind)
        if kind == "word":
            kind, text = ("keyword", text.lower()) if text.lower() in _KEYWORDS else ("name", text)
        elif kind == "quoted":
            kind, text = "name", text[1:-1]
        elif kind == "text":
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        elif kind == "date":
            text = Date(text)  # ISO 8601 sorts as text does
        found.append(Token(kind, text, start))
    return [*found, Token("end", "", len(where))]


def message(where: str, at: int, what: str) -> str:
    """The line about what makes no sense at an offset of an expression."""
    return f"--where {where!r}: {what} at position {at + 1}: write, say, --where \"year >= 2011 and colour == 'Red'\""
