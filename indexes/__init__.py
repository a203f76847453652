"""Vectors in, ids out: a durable store and the search over it. Knows nothing of images, text or models.

Names are loaded when they are first used: an error's type costs no NumPy. Type checkers read them from the imports
under TYPE_CHECKING (as in retrieval/__init__.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Store": "store", "Record": "items", "Neighbors": "segments",
    "StoreError": "errors", "NotAnIndex": "errors", "NewerFormat": "errors", "Locked": "errors", "Damaged": "errors",
    "Outdated": "errors", "WrongEncoder": "errors", "ShardAway": "errors", "BadFilter": "errors", "BadWords": "errors",
    "Condition": "filters", "Words": "fulltext.words",
}  # fmt: skip

__all__ = sorted(_WHERE)

if TYPE_CHECKING:
    from indexes.errors import BadFilter as BadFilter
    from indexes.errors import BadWords as BadWords
    from indexes.errors import Damaged as Damaged
    from indexes.errors import Locked as Locked
    from indexes.errors import NewerFormat as NewerFormat
    from indexes.errors import NotAnIndex as NotAnIndex
    from indexes.errors import Outdated as Outdated
    from indexes.errors import ShardAway as ShardAway
    from indexes.errors import StoreError as StoreError
    from indexes.errors import WrongEncoder as WrongEncoder
    from indexes.filters import Condition as Condition
    from indexes.fulltext.words import Words as Words
    from indexes.items import Record as Record
    from indexes.segments import Neighbors as Neighbors
    from indexes.store import Store as Store
else:

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'indexes' has no attribute {name!r}")
        return getattr(import_module(f"indexes.{_WHERE[name]}"), name)
