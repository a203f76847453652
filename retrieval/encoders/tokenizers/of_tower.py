"""The tokenizer that a pretrained text tower was trained with, and whether the two are of one encoder."""

from collections.abc import Sized

from indexes.typed import Malformed
from retrieval.encoders.protocol import KeptTokenizer, Tokenizer
from retrieval.encoders.tokenizers import folders, open_clip, packaged
from retrieval.encoders.tokenizers.joined import JoinedTokenizer
from retrieval.towers import sentence_folder
from retrieval.towers.bridged import BridgedTower
from retrieval.towers.combined import BesideTower
from retrieval.towers.tower import Spec, TextTower


def tokenizer_for(text: Spec) -> Tokenizer | None:
    """That of a new text tower by its spec; None for a tower that learns its words. Raises MissingModel."""
    if text["type"] == "open_clip":
        return open_clip.OpenClipTokenizer.of_model(text["name"])
    if text["type"] == "sentence":
        return folders.of_folder(sentence_folder.read(text["pretrained"]))
    if text["type"] == "package":
        return packaged.tokenizer_of(text["name"])
    if text["type"] == "builtin":
        return packaged.tokenizer_of("use")
    if text["type"] == "beside":
        parts = [tokenizer_for(part) for part in text["parts"]]
        return JoinedTokenizer([part for part in parts if isinstance(part, KeptTokenizer)])
    return None


def require_fit(tower: TextTower, tokenizer: Tokenizer) -> None:
    """Raise Malformed where a tokenizer has tokens that a tower does not know."""
    tower = tower.tower if isinstance(tower, BridgedTower) and isinstance(tower.tower, TextTower) else tower
    if isinstance(tower, BesideTower) and isinstance(tokenizer, JoinedTokenizer):
        if len(tower.towers) != len(tokenizer.parts):
            raise Malformed(f"{len(tokenizer.parts)} tokenizers stand beside {len(tower.towers)} text towers")
        for part, words in zip(tower.towers, tokenizer.parts, strict=True):
            require_fit(part, words)
    known = tower.vocabulary
    if known is not None and isinstance(tokenizer, Sized) and len(tokenizer) > known:
        raise Malformed(f"its tokenizer has {len(tokenizer)} tokens, its text tower {known}")
