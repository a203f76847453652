"""What a record says of an item, by name (cards.py has the types). Costs no NumPy, for the shell's completion.

    uri       where it is
    caption   its text; of several texts a list
    meta      what its source says of it, under any names: columns, keys
    file      what its file says of itself: width, taken, ...
    labels    what heads say of it
    kind      "picture", "clip" or "sound"
    inside    where it lies in another file or on the web
    key       what tells its content from others
    numbers   what its vector was computed in, where that is not float32
    read      that the text in it was read; `file` has what it says, as `text`

Names of `meta`, `file` and `labels` are an item's fields; where two have one name, the first of them counts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from retrieval.sources import values

URI, CAPTION, META, FILE, LABELS = "uri", "caption", "meta", "file", "labels"
KIND, INSIDE, KEY, NUMBERS, READ = "kind", "inside", "key", "numbers", "read"
TEXT = "text"  # a field of a picture that was read
USUAL = "float32"  # of `numbers`: not said
OWN = (URI, CAPTION)  # what `--where` finds beside the fields
OBJECTS = (META, FILE, LABELS)  # where it looks for fields
# What files and folders say of themselves: asked for also where no item of an index has it.
OF_FILES = frozenset("width height size modified folder taken camera latitude longitude seconds video sound".split())


def names(record: Mapping[str, Any]) -> Iterator[str]:
    """What `--where` may ask for."""
    yield from (name for name in OWN if name in record)
    for objects in OBJECTS:
        yield from record.get(objects) or {}


def kept(said: Mapping[Any, Any]) -> dict[str, Any]:
    """What is said, as a record keeps it: plain JSON, without what says nothing."""
    plains = ((str(name), plain(value)) for name, value in said.items() if name is not None)
    return {name: value for name, value in plains if value is not None and value != ""}


def plain(value: object) -> Any:
    """A value as JSON can hold it; None for what says nothing (sources/values.py). Odd bytes of names stay."""
    return values.plain(value, text=str)
