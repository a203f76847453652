"""How good, and how fast, is it. Never imported by retrieval.

Names are loaded when they are first used: a benchmark's peer runs where torch is not installed.
"""

from importlib import import_module
from typing import Any

__all__ = ["Report", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'eval' has no attribute {name!r}")
    return getattr(import_module("eval.report"), name)
