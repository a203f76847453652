"""Values of tables, whatever wrote them, as plain JSON; and whether one is what a filter asks for."""

import math
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any


def plain(value: object) -> Any:
    """A value as JSON can hold it; None for what says nothing (NaN, infinity, bytes).

    Dates and times become ISO 8601, durations seconds, decimals numbers. Half of a letter, which no text can hold, is
    U+FFFD.
    """
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {text(str(key)): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    return _unusual(value)


def _unusual(value: object) -> Any:
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _number(value) if isinstance(value, Decimal) else text(str(value))


def _number(value: Decimal) -> int | float | str | None:
    """As exact as it was: what no float holds stays as its digits."""
    if not value.is_finite():
        return None
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def text(value: str) -> str:
    """The same, with U+FFFD for each lone surrogate: half of a letter, which UTF-8 cannot hold."""
    try:
        value.encode()
        return value
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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
