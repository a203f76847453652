"""What can be wrong with an index folder. Every message is one line that ends with the next thing to do."""


class StoreError(Exception):
    """The index cannot be used as asked; `str()` is the line a person reads.

    Raised itself where a reader is asked to write, or where nothing fits the memory that was given.
    """


class NotAnIndex(StoreError):
    """There is no index at that path; or one is to be made where something else is."""


class NewerFormat(StoreError):
    """The folder was written by a newer version of mmr, whose format this one does not know."""


class Locked(StoreError):
    """Another process is writing to the index. Who reads meets it only where a commit takes longer than it waits."""


class Damaged(StoreError):
    """A file of the index is missing, truncated or changed.

    Only opening and `Store.verify` find this out; a damaged approximate index is no error, as exact search answers.
    """


class Outdated(StoreError):
    """What a reader had opened was collected: it was not counted (leases.py), and the index was rewritten twice since.

    `Store.refresh`, or opening the index again, reads the newest state.
    """


class WrongEncoder(StoreError):
    """Vectors of one encoder meet an index of another: their scores would mean nothing."""


class BadFilter(StoreError):
    """A WHERE expression that cannot be read; the message says from where on it makes no sense."""


class BadWords(StoreError):
    """A query by words that cannot be read; the message says what makes no sense in it."""


class ShardAway(StoreError):
    """A shard cannot answer now, as nobody who holds it is there: the others answer without it, and say so."""
