"""The tokenizers that a query can use without open_clip or transformers: how each is saved and loaded.

To add one, give it `kind` and `save` (protocol.SavedTokenizer), write the function that loads it, and name that in
LOADERS. What a kind needs is imported when one is loaded: a query pays for its own alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from indexes import typed
from indexes.typed import Malformed, Meta
from retrieval.encoders.protocol import KeptTokenizer, SavedTokenizer, Tokenizer
from retrieval.encoders.tokenizers.clip import CLEANERS, ClipTokenizer

Facts = dict[str, Any]  # what is kept of a tokenizer in a manifest: its kind, and what its files do not say
_LARGEST = 1 << 24  # of a token's number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """Facts of any kind, with types.

    context: tokens of a text. clean, pad, zeroed: a hub tokenizer's alone. sha256: of a unigram tokenizer's file.
    prefix, special, skipped, characters: a sentence encoder's. parts: facts of a joined one's.
    """

    kind: str
    context: Annotated[int, Meta(ge=1, le=1 << 16)] = 64
    clean: Literal["lower", "whitespace", "canonicalize"] = "lower"
    pad: Annotated[int, Meta(ge=0, le=_LARGEST)] = 0
    zeroed: Annotated[int, Meta(ge=0, le=_LARGEST)] | None = None
    sha256: Annotated[str, Meta(max_length=64)] = ""
    prefix: Annotated[str, Meta(max_length=1000)] = ""
    special: bool = True
    skipped: Annotated[int, Meta(ge=0, le=_LARGEST)] | None = None
    characters: Annotated[int, Meta(ge=1)] | None = None
    parts: Annotated[list[dict[str, Any]], Meta(max_length=8)] = field(default_factory=list)


def can_save(tokenize: Tokenizer) -> bool:
    """True where `save` can write this tokenizer so that `load` gives the same tokens."""
    return isinstance(tokenize, SavedTokenizer) and tokenize.kind is not None


def save(tokenize: Tokenizer, folder: Path) -> Facts:
    """Write a tokenizer into a folder; what `load` wants to know of it. Raises TypeError where `can_save` is false."""
    if not isinstance(tokenize, SavedTokenizer) or tokenize.kind is None:
        raise TypeError(f"{type(tokenize).__name__} cannot be saved")
    return {"kind": tokenize.kind, **tokenize.save(folder)}


def load(folder: Path, facts: Facts) -> Tokenizer:
    """The tokenizer that `save` wrote. Raises Malformed where the facts or its files are not what they must be."""
    known = typed.checked(facts, _Facts)
    if known.kind not in LOADERS:
        raise Malformed(f"no kind of tokenizer is called `{known.kind}`")
    return LOADERS[known.kind](folder, known)


def _caption(folder: Path, facts: _Facts) -> Tokenizer:
    from retrieval.encoders.tokenizers.captions import CaptionTokenizer

    return CaptionTokenizer.from_json((folder / "tokenizer.json").read_text("utf-8"), facts.context)


def _clip(folder: Path, facts: _Facts) -> Tokenizer:
    return ClipTokenizer(folder / "tokenizer.db")


def _hub(folder: Path, facts: _Facts) -> Tokenizer:
    """One of the model hub, as SigLIP 2 has."""
    from retrieval.encoders.tokenizers.pretrained import HubTokenizer

    text = (folder / "tokenizer.json").read_text("utf-8")
    return HubTokenizer(text, CLEANERS[facts.clean], facts.context, facts.pad, facts.zeroed)


def _unigram(folder: Path, facts: _Facts) -> Tokenizer:
    """One of sentencepiece, as USE has it."""
    from retrieval.encoders.tokenizers.unigram import FILE, UnigramTokenizer

    return UnigramTokenizer.open(folder / FILE, facts.sha256)


def _sentence(folder: Path, facts: _Facts) -> Tokenizer:
    """One of a sentence encoder."""
    from retrieval.encoders.tokenizers.sentence import SentenceTokenizer

    text = (folder / "tokenizer.json").read_text("utf-8")
    return SentenceTokenizer(text, facts.context, facts.prefix, facts.special, facts.skipped, facts.characters)


def _joined(folder: Path, facts: _Facts) -> Tokenizer:
    """Several, each in a folder of its own."""
    from retrieval.encoders.tokenizers.joined import JoinedTokenizer

    if not facts.parts:
        raise Malformed("a joined tokenizer of no parts")
    parts = [load(folder / str(place), part) for place, part in enumerate(facts.parts)]
    return JoinedTokenizer([part for part in parts if isinstance(part, KeptTokenizer)])


LOADERS: dict[str, Callable[[Path, _Facts], Tokenizer]] = {
    "caption": _caption, "clip": _clip, "hub": _hub, "unigram": _unigram, "sentence": _sentence, "joined": _joined,
}  # fmt: skip
