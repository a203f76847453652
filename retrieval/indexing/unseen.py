"""What an index holds and its source does not show now. It is kept until it is known to be gone."""

import os
from collections.abc import Collection, Container, Iterable, Iterator
from pathlib import Path

from indexes import Store
from retrieval.datatypes import Item
from retrieval.errors import ImageError, NothingThere, Unreachable
from retrieval.images import kinds
from retrieval.indexing import contents
from retrieval.indexing.roots import recorded
from retrieval.sources.uri import Unseen, id_of


def places(items: Iterable[Item], known: Collection[str]) -> Iterator[Item]:
    """The items, without those that stand for what may well be nothing, where the index knows nothing below them."""
    for item in items:
        if not (is_doubtful(item) and not any(is_below(name, {item.id}) for name in known)):
            yield item


def is_doubtful(item: Item) -> bool:
    """Does an item stand for something that may well be nothing?"""
    return isinstance(item.content, Unseen) and item.content.doubtful


def is_below(name: str, unseen: Container[str]) -> bool:
    """Does an item lie below a place that could not be looked at? unseen: the ids of those places."""
    if "." in unseen:
        return True
    at = name.find("/")
    while at >= 0:
        if name[:at] in unseen:
            return True
        at = name.find("/", at + 1)
    return False


def is_lost(item: Item, key: str | None) -> bool:
    """Is the content of an item that does not decode another than it was? Only then it is gone.

    key: of the content that was encoded (contents.py). False where the item cannot be read to its end: the disk fails,
    or a share is not there.
    """
    try:
        if isinstance(item.content, Path):
            return contents.read(item.content) != key
        item.content()
    except Unreachable:
        return False
    except ImageError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return True


def explained(error: NothingThere, store: Store) -> NothingThere:
    """The same error, with the way on where the index holds items of what is gone or empty."""
    held, count = recorded(store), len(store)
    if held is None or error.folder is None:
        return error
    if _there(error.folder) not in map(_there, held.folders or [Path(held.path)]):
        return error
    if held.roots:
        root = id_of(Path(os.path.relpath(_there(error.folder), _there(Path(held.path)))).as_posix())
        count = sum(is_below(name, {root}) for name in store.stamps())
    if not count:
        return error
    others = ", or name the other folders alone" if held.roots else ""
    if _has_others(error.folder):
        return NothingThere(
            f"{error.folder} has no file that this encoder takes, and {store.path} holds {count} of it, which are "
            f"kept: give --model an encoder that takes them, or another --index{others}",
            error.folder,
        )
    said = (
        f"{error.folder} has no pictures now, and {store.path} holds {count} of it, which are kept: "
        f"bring its disk back{others}; to let go of them, add --gone to `mmr index`"
    )
    return NothingThere(said, error.folder)


def _has_others(folder: Path) -> bool:
    """Does it hold pictures, clips or sounds, which were not looked for? Then its disk is not away."""
    try:
        return any(one.suffix.lower() in kinds.ALL and one.is_file() for one in folder.iterdir())
    except OSError:
        return False


def _there(folder: Path) -> str:
    return os.path.normpath(folder.absolute())
