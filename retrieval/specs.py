"""What a tower's spec of another hand may ask for: no files of its own, and no more than its weights can fill."""

import re
from collections.abc import Iterator
from typing import Any

from indexes.typed import Malformed

_LARGEST = 1 << 24  # of any number: tokens of a vocabulary
_ENTRIES = 64  # of a list or dict
_REPEATED = re.compile(
    r"(.*_)?(layers?|blocks|groups?|experts?|stages)|inner_group_num"
)  # names of what has weights of its own, each one of them
_ELSEWHERE = ("weights", "pretrained")  # names of other files, of which a saved spec has none


def check_spec(spec: dict[str, Any], tensors: int) -> None:
    """Raise Malformed for a spec that names other files, or asks for more than weights of so many tensors can fill."""
    for key, value in _entries(spec):
        if key in _ELSEWHERE and value not in (None, "", "no"):
            raise Malformed(f"`{key}` names weights of its own")
        most = tensors if _REPEATED.fullmatch(key) else _LARGEST
        if isinstance(value, int) and not 0 <= value <= most:
            raise Malformed(f"`{key}` is {value}")
        if isinstance(value, list | dict) and len(value) > _ENTRIES:
            raise Malformed(f"`{key}` has {len(value)} entries")


def _entries(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Everything within, with the nearest key above it."""
    yield key, value
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _entries(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from _entries(each, key)
