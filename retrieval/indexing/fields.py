"""What the fields of a record are called (cards.py has their types). Costs no NumPy, for the shell's completion."""

from collections.abc import Iterator, Mapping
from typing import Any

URI, CAPTION, META, KEY = "uri", "caption", "meta", "key"


def names(fields: Mapping[str, Any]) -> Iterator[str]:
    """What `--where` may ask for: the names of the fields; those of `meta` count as the item's own."""
    yield from (name for name in fields if name != META)
    yield from fields.get(META, {})
