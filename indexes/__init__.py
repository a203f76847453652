"""Vectors in, ids out: a durable store and the search over it. Knows nothing of images, text or models.

Names are loaded when they are first used: an error's type costs no NumPy.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "Store": "store", "Record": "items", "Neighbors": "segments",
    "StoreError": "errors", "NotAnIndex": "errors", "NewerFormat": "errors", "Locked": "errors", "Damaged": "errors",
    "WrongEncoder": "errors", "BadFilter": "errors", "Condition": "filters",
}  # fmt: skip

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'indexes' has no attribute {name!r}")
    return getattr(import_module(f"indexes.{_WHERE[name]}"), name)
