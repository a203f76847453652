"""How good, and how fast, is it. Never imported by retrieval."""

from eval.report import Report, evaluate

__all__ = ["Report", "evaluate"]
