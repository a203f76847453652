"""The tokenizers that lie in the folders of sentence encoders."""

from retrieval.encoders.tokenizers import sentence
from retrieval.encoders.tokenizers.sentence import SentenceTokenizer
from retrieval.towers import sentence_folder
from retrieval.towers.sentence_folder import SentenceFolder


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
