"""Pairs -> encoder -> vectors -> hits: what the project is about.

Names are loaded when they are first used, so that importing one does not pay for torch where it is not needed.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "Hit": "datatypes", "Item": "datatypes", "Pair": "datatypes", "Features": "datatypes",
    "DualEncoder": "encoder", "load_encoder": "encoder", "small_encoder": "encoder",
    "open_items": "sources", "open_pairs": "sources",
    "TrainConfig": "config", "recipes": "recipes", "RECIPES": "recipes",
    "Retriever": "retriever", "find_index": "retriever",
    "RetrievalError": "errors", "BadRequest": "errors", "MissingModel": "errors", "ImageError": "errors",
}  # fmt: skip

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _WHERE:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    module = import_module(f"retrieval.{_WHERE[name]}")
    return module if _WHERE[name] == name else getattr(module, name)
