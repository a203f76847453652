"""What a person did or has that cannot work. Every message is one line that ends with the next thing to do."""


class RetrievalError(Exception):
    """Something outside the program is not as it must be; `str()` is the line a person reads."""


class BadRequest(RetrievalError):
    """The words of the request do not make sense: a column, a field, a name, an empty source."""


class MissingModel(RetrievalError):
    """An encoder cannot be had: no such run, no such weights, no network."""


class ImageError(RetrievalError):
    """One picture cannot be used; `str()` is the short reason for the skip list."""
