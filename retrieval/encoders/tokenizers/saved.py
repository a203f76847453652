"""The tokenizers that a query can use without open_clip or transformers: how each is saved and loaded.

To add one, give it `kind` and `save` (protocol.SavedTokenizer), write the function that loads it, and name that in
LOADERS. What a kind needs is imported when one is loaded: a query pays for its own alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.encoders.protocol import SavedTokenizer, Tokenizer
from retrieval.encoders.tokenizers.clip import CLEANERS, ClipTokenizer

Facts = dict[str, Any]  # what is kept of a tokenizer in a manifest: its kind, and what its files do not say


def can_save(tokenize: Tokenizer) -> bool:
    """True where `save` can write this tokenizer so that `load` gives the same tokens."""
    return isinstance(tokenize, SavedTokenizer) and tokenize.kind is not None


def save(tokenize: Tokenizer, folder: Path) -> Facts:
    """Write a tokenizer into a folder; what `load` wants to know of it. Raises TypeError where `can_save` is false."""
    if not isinstance(tokenize, SavedTokenizer) or tokenize.kind is None:
        raise TypeError(f"{type(tokenize).__name__} cannot be saved")
    return {"kind": tokenize.kind, **tokenize.save(folder)}


def load(folder: Path, facts: Facts) -> Tokenizer:
    """The tokenizer that `save` wrote."""
    return LOADERS[facts["kind"]](folder, facts)


def _caption(folder: Path, facts: Facts) -> Tokenizer:
    from retrieval.encoders.tokenizers.captions import CaptionTokenizer

    return CaptionTokenizer.from_json((folder / "tokenizer.json").read_text("utf-8"), facts["context"])


def _clip(folder: Path, facts: Facts) -> Tokenizer:
    return ClipTokenizer(folder / "tokenizer.db")


def _hub(folder: Path, facts: Facts) -> Tokenizer:
    """One of the model hub, as SigLIP 2 has."""
    from retrieval.encoders.tokenizers.pretrained import HubTokenizer

    return HubTokenizer((folder / "tokenizer.json").read_text("utf-8"), CLEANERS[facts["clean"]], facts)


LOADERS: dict[str, Callable[[Path, Facts], Tokenizer]] = {"caption": _caption, "clip": _clip, "hub": _hub}
