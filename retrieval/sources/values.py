"""Values of tables, whatever wrote them, as plain JSON; and whether one is what a filter asks for."""

import math
import re
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: no text can be written with one alone
_DEEPEST = 24  # lists in lists: SQLite reads no JSON that is nested without end


def whole(text: str) -> str:
    """A text with U+FFFD in place of half characters, which neither tokenizers nor files take."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def plain(value: object, text: Callable[[str], str] = whole, depth: int = _DEEPEST) -> Any:
    """A value as JSON can hold it; None for what says nothing: NaN, infinity, bytes, what is nested without end.

    Dates and times become ISO 8601, durations seconds, decimals numbers. text: what is done to every text in it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {text(str(key)): plain(part, text, depth - 1) for key, part in value.items()} if depth else None
    if isinstance(value, list | tuple):
        return [plain(part, text, depth - 1) for part in value] if depth else None
    return None if isinstance(value, bytes | bytearray | memoryview) else _unusual(value)


def _unusual(value: object) -> Any:
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _number(value) if isinstance(value, Decimal) else str(value)


def _number(value: Decimal) -> int | float | str | None:
    """As exact as it was: what no float holds stays as its digits."""
    if not value.is_finite():
        return None
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def says(value: object, asked: str) -> bool:
    """Is a value what `?column=asked` asks for? Numbers are compared as numbers, `true` and `false` with truth values.

    A list says what any of its parts says; what is absent says "".
    """
    if value is None:
        return asked == ""
    if isinstance(value, list):
        return any(says(part, asked) for part in value)
    if isinstance(value, bool):
        return asked.lower() in (("true", "1") if value else ("false", "0"))
    if isinstance(value, int | float):
        return _equals(value, asked)
    return str(value) == asked


def _equals(number: int | float, asked: str) -> bool:
    for kind in (int, float):  # a float would round large integers
        try:
            return number == kind(asked)
        except ValueError:
            continue
    return False
