"""The tokenizer that a pretrained text tower was trained with, and whether the two are of one encoder."""

from retrieval.encoders.protocol import Tokenizer
from retrieval.encoders.tokenizers import open_clip, sentence
from retrieval.encoders.tokenizers.joined import JoinedTokenizer
from retrieval.encoders.tokenizers.sentence import SentenceTokenizer
from retrieval.errors import MissingModel
from retrieval.towers import sentence_folder
from retrieval.towers.combined import BesideTower
from retrieval.towers.packaged import TEXTS, short_name
from retrieval.towers.sentence_folder import SentenceFolder
from retrieval.towers.tower import Spec, TextTower


def tokenizer_for(text: Spec) -> Tokenizer | None:
    """That of a new text tower by its spec; None for a tower that learns its words. Raises MissingModel."""
    if text["type"] == "open_clip":
        return open_clip.OpenClipTokenizer.of_model(text["name"])
    if text["type"] == "sentence":
        return of_folder(sentence_folder.read(text["pretrained"]))
    if text["type"] == "package":
        return of_folder(sentence_folder.of_package(short_name(text["name"], TEXTS)))
    if text["type"] == "beside":
        return JoinedTokenizer([found for part in text["parts"] if (found := tokenizer_for(part))])
    return None


def of_folder(folder: SentenceFolder) -> SentenceTokenizer:
    """That of a sentence encoder. Raises MissingModel for a file that is no tokenizer."""
    try:
        text = folder.tokenizer.read_text("utf-8")
        if folder.skips:
            return sentence.model2vec(text, folder.context)
        text = sentence.lower_cased(text) if folder.lower else text
        return SentenceTokenizer(text, folder.context, folder.prefix, special=not folder.static)
    except ValueError as error:  # Malformed, or no UTF-8
        raise sentence_folder.unfit(folder, error) from error


def require_fit(tower: TextTower, tokenizer: Tokenizer) -> None:
    """Raise MissingModel where a tokenizer has tokens that a tower does not know."""
    if isinstance(tower, BesideTower) and isinstance(tokenizer, JoinedTokenizer):
        for part, words in zip(tower.towers, tokenizer.parts, strict=True):
            require_fit(part, words)
    known = getattr(tower, "vocabulary", None)
    if isinstance(tokenizer, SentenceTokenizer) and known is not None and len(tokenizer) > known:
        raise MissingModel(
            f"the tokenizer has {len(tokenizer)} tokens and its text tower knows {known}: they are not of one encoder, "
            "so get both again, or give another --set text_tower="
        )
