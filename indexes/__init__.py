"""Vectors in, ids out: a durable store and the search over it. Knows nothing of images, text or models."""

from indexes.errors import Damaged, Locked, NewerFormat, NotAnIndex, StoreError, WrongEncoder
from indexes.exact import Neighbors
from indexes.store import Record, Store

__all__ = [
    "Damaged", "Locked", "Neighbors", "NewerFormat", "NotAnIndex", "Record", "Store", "StoreError", "WrongEncoder",
]  # fmt: skip
