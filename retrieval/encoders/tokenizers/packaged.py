"""The tokenizers that belong to the towers of pip packages (retrieval/packages.py), by the packages' short names."""

from collections.abc import Callable
from pathlib import Path

from retrieval import packages
from retrieval.encoders.protocol import Tokenizer
from retrieval.encoders.tokenizers import folders, sentencepiece
from retrieval.encoders.tokenizers.unigram import UnigramTokenizer
from retrieval.towers import sentence_folder


def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer of the text tower `package:NAME`. Raises MissingModel where the package is gone or altered."""
    return _MADE[name](packages.files_of(packages.PACKAGES[name]))


def _use(files: dict[str, Path]) -> Tokenizer:
    return UnigramTokenizer.compile(*sentencepiece.read(files["resources/sp.model"]))


def _minilm(files: dict[str, Path]) -> Tokenizer:
    return folders.of_folder(sentence_folder.of_package("minilm"))


_MADE: dict[str, Callable[[dict[str, Path]], Tokenizer]] = {"use": _use, "minilm": _minilm}
