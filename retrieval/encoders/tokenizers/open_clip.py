"""The tokenizers of open_clip's models, and how they are saved for a query that must not import open_clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexes import durable
from retrieval import errors
from retrieval.encoders.tokenizers.clip import CLEANERS, compile_tokenizer
from retrieval.errors import MissingModel


class OpenClipTokenizer:
    """open_clip's tokenizer of a model, giving NumPy. tokenizer: its SimpleTokenizer, HFTokenizer or another."""

    def __init__(self, tokenizer: Any) -> None:  # open_clip carries no types
        self.tokenizer = tokenizer

    @classmethod
    def of_model(cls, name: str) -> "OpenClipTokenizer":
        """The one that open_clip's model NAME is trained with. Raises MissingModel where it cannot be had."""
        import open_clip

        try:
            return cls(open_clip.get_tokenizer(name))
        # Those of the model hub need a library that is not a dependency here, and a network or a cache.
        except (ImportError, OSError, ValueError) as error:
            raise MissingModel(
                f"the tokenizer of {name} cannot be had ({errors.first_line(error)}): pip install transformers, "
                f"or use a model whose tokenizer is CLIP's own"
            ) from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (n, context)."""
        return self.tokenizer(list(texts)).numpy()

    # ---------------------------------------------------------------- for queries

    @property
    def kind(self) -> str | None:
        """How `save` writes it: "clip" as merges, "hub" as the model hub's JSON; None where neither has its tokens."""
        from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

        if type(self.tokenizer) is SimpleTokenizer:
            plain = self.tokenizer.reduction_fn is None  # else it draws lots where a text is too long
            return "clip" if plain and self._cleaning() else None
        if type(self.tokenizer) is HFTokenizer:
            return "hub" if _is_plain(self.tokenizer) and self._cleaning() else None
        return None

    def save(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer.db, of kind "clip", or tokenizer.json, of kind "hub"; the facts that saved.load wants."""
        clean = self._cleaning()
        assert clean is not None, "saved.can_save says which tokenizers are to be saved"
        if self.kind == "clip":
            compile_tokenizer(self.tokenizer, clean, folder / "tokenizer.db")
            return {}
        inner = self.tokenizer.tokenizer
        durable.write_bytes(folder / "tokenizer.json", inner.backend_tokenizer.to_str().encode())
        zeroed = inner.sep_token_id if self.tokenizer.strip_sep_token else None
        facts = {"context": self.tokenizer.context_length, "pad": inner.pad_token_id}
        return {**facts, "clean": clean, "zeroed": zeroed}

    def _cleaning(self) -> str | None:
        """The name in CLEANERS of what is done to a text first, or None where it is something else."""
        from open_clip.tokenizer import get_clean_fn

        return next((name for name in CLEANERS if get_clean_fn(name) is self.tokenizer.clean_fn), None)


def _is_plain(tokenizer: Any) -> bool:  # an HFTokenizer: of a mode of its own it gives other tokens
    inner = tokenizer.tokenizer
    fast = getattr(inner, "backend_tokenizer", None) is not None  # transformers' slow ones have none
    return bool(tokenizer.tokenizer_mode == "" and fast and inner.padding_side == inner.truncation_side == "right")
