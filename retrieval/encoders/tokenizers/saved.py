"""The tokenizers that a query can use without open_clip or transformers: how each is saved and loaded.

To add one, write its two functions and name them in KINDS.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from indexes import durable
from retrieval.encoders.tokenizers import clip
from retrieval.encoders.tokenizers.clip import CLEANERS, ClipTokenizer, cleaner_of, compile_tokenizer

Tokenize = Callable[[Sequence[str]], np.ndarray]  # texts -> int64 (n, length)
_JSON, _DATABASE = "tokenizer.json", "tokenizer.db"


def can_save(tokenize: Tokenize) -> bool:
    """True where `save` knows this tokenizer."""
    return _kind(tokenize) is not None


def save(tokenize: Tokenize, folder: Path) -> dict:
    """Write a tokenizer into a folder; what `load` wants to know of it."""
    kind = _kind(tokenize)
    return {"kind": kind, **_SAVERS[kind](tokenize, folder)}


def load(folder: Path, facts: dict) -> Tokenize:
    """The tokenizer that `save` wrote."""
    return _LOADERS[facts["kind"]](folder, facts)


def _kind(tokenize: Tokenize) -> str | None:
    inner = getattr(tokenize, "tokenizer", None)  # of OpenClipTokenizer
    if type(tokenize).__name__ == "CaptionTokenizer":
        return "caption"
    if inner is not None and clip.can_compile(inner):
        return "clip"
    return "hub" if inner is not None and _is_plain_hub(inner) else None


def _is_plain_hub(inner: object) -> bool:
    plain = type(inner).__name__ == "HFTokenizer" and inner.tokenizer_mode == "" and cleaner_of(inner) is not None
    fast = plain and getattr(inner.tokenizer, "backend_tokenizer", None) is not None
    return bool(fast) and inner.tokenizer.padding_side == "right" and inner.tokenizer.truncation_side == "right"


# ---------------------------------------------------------------- our own


def _save_caption(tokenize: Tokenize, folder: Path) -> dict:
    durable.write_bytes(folder / _JSON, tokenize.to_json().encode())
    return {"context": tokenize.context}


def _load_caption(folder: Path, facts: dict) -> Tokenize:
    from retrieval.encoders.tokenizers.captions import CaptionTokenizer

    return CaptionTokenizer.from_json((folder / _JSON).read_text(), facts["context"])


# ---------------------------------------------------------------- CLIP's


def _save_clip(tokenize: Tokenize, folder: Path) -> dict:
    compile_tokenizer(tokenize.tokenizer, folder / _DATABASE)
    return {}


def _load_clip(folder: Path, facts: dict) -> Tokenize:
    return ClipTokenizer(folder / _DATABASE)


# ---------------------------------------------------------------- those of the model hub (SigLIP 2, say)


def _save_hub(tokenize: Tokenize, folder: Path) -> dict:
    inner = tokenize.tokenizer
    durable.write_bytes(folder / _JSON, inner.tokenizer.backend_tokenizer.to_str().encode())
    zeroed = inner.tokenizer.sep_token_id if inner.strip_sep_token else None
    facts = {"context": inner.context_length, "pad": inner.tokenizer.pad_token_id}
    return {**facts, "clean": cleaner_of(inner), "zeroed": zeroed}


def _load_hub(folder: Path, facts: dict) -> Tokenize:
    from retrieval.encoders.tokenizers.pretrained import HubTokenizer

    return HubTokenizer((folder / _JSON).read_text("utf-8"), CLEANERS[facts["clean"]], facts)


_SAVERS = {"caption": _save_caption, "clip": _save_clip, "hub": _save_hub}
_LOADERS = {"caption": _load_caption, "clip": _load_clip, "hub": _load_hub}
