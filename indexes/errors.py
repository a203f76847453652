"""What can be wrong with an index folder. Every message is one line that ends with the next thing to do."""


class StoreError(Exception):
    """The index cannot be used as asked; `str()` is the line a person reads."""


class NotAnIndex(StoreError):
    """There is no index at that path."""


class NewerFormat(StoreError):
    """The folder was written by a newer version of mmr."""


class Locked(StoreError):
    """Another process is writing to the index."""


class Damaged(StoreError):
    """A file of the index is missing, truncated or changed."""


class WrongEncoder(StoreError):
    """Vectors of one encoder meet an index of another."""


class BadFilter(StoreError):
    """A WHERE expression that cannot be read."""
