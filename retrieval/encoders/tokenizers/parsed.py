"""tokenizer.json as Hugging Face `tokenizers` reads it; one that cannot be read is one error of ours."""

from tokenizers import Tokenizer

from indexes.typed import Malformed

CHARACTERS = 64 << 20  # of a tokenizer: one of many languages has a quarter of it


def tokenizer_from(text: str) -> Tokenizer:
    """The tokenizer that a JSON text describes. Raises Malformed."""
    if len(text) > CHARACTERS:
        raise Malformed(f"a tokenizer of more than {CHARACTERS} characters")
    try:
        return Tokenizer.from_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its Rust code is no Exception
        raise Malformed(f"no tokenizer ({str(error)[:80]})") from error
