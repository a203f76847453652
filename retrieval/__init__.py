"""Pairs -> encoder -> vectors -> hits: what the project is about.

Names are loaded when they are first used, so that importing one does not pay for torch where it is not needed.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "Hit": "datatypes", "Item": "datatypes", "Pair": "datatypes", "Features": "datatypes",
    "DualEncoder": "encoders.encoder", "load_encoder": "encoders.load", "small_encoder": "encoders.build",
    "open_items": "sources.registry", "open_pairs": "sources.registry",
    "TrainConfig": "training.config", "recipes": "training.recipes", "RECIPES": "training.recipes",
    "train": "training.loop",
    "Retriever": "retriever", "find_index": "indexing.find",
    "RetrievalError": "errors", "BadRequest": "errors", "MissingModel": "errors", "ImageError": "errors",
}  # fmt: skip

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
    module = import_module(f"retrieval.{_WHERE[name]}")
    return module if name == "recipes" else getattr(module, name)
