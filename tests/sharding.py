"""Shards in memory and on disk for tests: clients that can be away, and an index cut into some."""

from indexes import ShardAway, Store
from indexes.sharded import local, manifest
from indexes.sharded.reader import Sharded

MADE = {"name": "toy", "fingerprint": "toy-fingerprint"}


class Fragile:
    """A shard in this process that may be away, and counts what it is asked."""

    def __init__(self, shard):
        self.shard, self.away, self.asked = shard, False, []

    def ask(self, question, *given):
        self.asked.append(question)
        if self.away:
            raise ShardAway("gone")
        return self.shard.ask(question, *given)

    def close(self):
        self.shard.close()


def cut(vectors, records, into, folder, batch=None):
    """An index of all rows, and shards of as many consecutive ones: (whole, sharded, the clients). Close both."""
    whole = filled(folder / "whole", vectors, records, batch)
    found, start = [], 0
    for number in range(into):
        count = len(records) // into + (number < len(records) % into)
        part = slice(start, start + count)
        with filled(folder / "parts" / f"{number}", vectors[part], records[part], batch) as store:
            found.append((str(number), store.generation, len(store)))
        start += count
    manifest.write(
        folder / "parts", manifest.Manifest(1, 1, vectors.shape[1], manifest.Made(**MADE), manifest.parts(found))
    )
    clients = []

    def connect(place, said):
        clients[:] = [Fragile(shard) for shard in local.connect(place, said)]
        return clients

    return whole, Sharded(folder / "parts", connect), clients


def filled(path, vectors, records, batch=None):
    """A store of these rows, added so many at a time."""
    store = Store.create(path, vectors.shape[1], encoder=MADE)
    for start in range(0, len(records), batch or len(records) or 1):
        part = slice(start, start + (batch or len(records)))
        store.add(vectors[part], records[part])
    return store
