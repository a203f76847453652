"""Pairs -> encoder -> vectors -> hits: what the project is about.

Names are loaded when they are first used, so that importing one does not pay for torch where it is not needed. Type
checkers and editors, which run nothing, read them from the imports under TYPE_CHECKING; tests/test_types.py keeps the
two lists in step. Importing the package tells the libraries behind it to report nothing home (reporting.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from retrieval.reporting import decline

decline()  # before any of those libraries is imported, whoever does it

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

if TYPE_CHECKING:
    from retrieval.datatypes import Features as Features
    from retrieval.datatypes import Hit as Hit
    from retrieval.datatypes import Item as Item
    from retrieval.datatypes import Pair as Pair
    from retrieval.encoders.build import small_encoder as small_encoder
    from retrieval.encoders.encoder import DualEncoder as DualEncoder
    from retrieval.encoders.load import load_encoder as load_encoder
    from retrieval.errors import BadRequest as BadRequest
    from retrieval.errors import ImageError as ImageError
    from retrieval.errors import MissingModel as MissingModel
    from retrieval.errors import RetrievalError as RetrievalError
    from retrieval.indexing.find import find_index as find_index
    from retrieval.retriever import Retriever as Retriever
    from retrieval.sources.registry import open_items as open_items
    from retrieval.sources.registry import open_pairs as open_pairs
    from retrieval.training import recipes as recipes
    from retrieval.training.config import TrainConfig as TrainConfig
    from retrieval.training.loop import train as train
    from retrieval.training.recipes import RECIPES as RECIPES
else:

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'retrieval' has no attribute {name!r}")
        module = import_module(f"retrieval.{_WHERE[name]}")
        return module if name == "recipes" else getattr(module, name)
