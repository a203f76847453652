"""How good, and how fast, is it. Never imported by retrieval.

Names are loaded when they are first used: a benchmark's peer runs where torch is not installed. Type checkers read
them from the imports under TYPE_CHECKING (as in retrieval/__init__.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {"Report": "report", "evaluate": "report"}

__all__ = sorted(_WHERE)

if TYPE_CHECKING:
    from eval.report import Report as Report
    from eval.report import evaluate as evaluate
else:

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'eval' has no attribute {name!r}")
        return getattr(import_module(f"eval.{_WHERE[name]}"), name)
