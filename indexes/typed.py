"""JSON that other hands may have written, read within limits and as the types it should have, before it is believed."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

__all__ = ["Malformed", "Meta", "checked", "parse", "read"]

BYTES = 16 << 20  # of a text; what mmr writes is far below
DEPTH = 32  # of lists in lists

Natural = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
Size = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e12)]  # since 1970

T = TypeVar("T")


class Malformed(ValueError):
    """A text is not the JSON that it should be. The message says where and how, in a few words."""


def read(file: Path, kind: type[T], most: int = BYTES) -> T:
    """The content of a JSON file as a value of that type.

    Args:
        file: Its path.
        kind: A dataclass, a TypedDict, `dict[str, Any]`, ...: whatever msgspec converts to, with `Meta` for bounds.
        most: Bytes.

    Returns:
        The value.

    Raises:
        Malformed: It is no such JSON, or too large.
        OSError: It cannot be read.
    """
    with file.open("rb") as opened:
        content = opened.read(most + 1)
    return parse(content, kind, most)


def parse(text: str | bytes, kind: type[T], most: int = BYTES) -> T:
    """A JSON text as a value of that type; `read` has the arguments. NaN and Infinity are no JSON. Raises Malformed."""
    if len(text) > most:
        raise Malformed(f"more than {most} bytes")
    try:
        found = json.loads(text, parse_constant=_refused)
    except RecursionError as error:
        raise Malformed(f"nested more than {DEPTH} deep") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise Malformed(f"no JSON ({error})") from error
    return checked(found, kind)


def checked(found: Any, kind: type[T]) -> T:
    """A value that JSON gave as one of that type. Raises Malformed."""
    check_depth(found)
    try:
        return msgspec.convert(found, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise Malformed(str(error)) from error


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number")


def check_depth(found: Any) -> None:
    """Raise Malformed where lists and objects stand in each other more than DEPTH deep."""
    layer = [found]
    for _ in range(DEPTH):
        layer = [each for one in layer if isinstance(one, dict | list) for each in _within(one)]
        if not layer:
            return
    raise Malformed(f"nested more than {DEPTH} deep")


def _within(one: dict | list) -> list:
    return list(one.values()) if isinstance(one, dict) else one
