"""What a process has open of a store: its database, which threads share, and its lease.

Threads take turns on one connection, for short. A connection must not be used in a forked child (sqlite.org,
howtocorrupt): the child opens one of its own, on the same lease.
"""

import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexes import database, foreign, forks, leases
from indexes.database import DATABASE
from indexes.errors import StoreError

SECONDS = 600.0  # that one turn may take: what takes longer goes in circles that damage made
# Bytes of pages that a writer keeps: where a commit changes more, SQLite writes some of them early, and locks readers
# out until its end.
CACHE = 128 << 20
_numbers = itertools.count(1)
# Of parents: closing one in a child is as bad as using it.
_inherited: list[sqlite3.Connection] = []


class Opened:
    """The database of the store at `path`, open; for any thread, and in a forked child too.

    counted: for a reader, which has a lease; a writer needs none, but a child that was forked from it does. wait:
    seconds for what others commit. Where they were waited for in vain, who asks next does not wait, until one was
    answered again: threads stand in line here, and each would wait anew. Raises what database.connect raises.

    number: tells it from everything else that this process has open, or had.
    """

    def __init__(self, path: Path, counted: bool, wait: float = database.WAIT) -> None:
        self.counted, self.number = counted, next(_numbers)
        self._path, self._wait, self._waits = path.absolute(), wait, True
        self._lease: leases.Lease | None = None
        self._needed: leases.Needed | None = None
        self._lock = forks.Lock(waited_for=True)
        self._connection: sqlite3.Connection | None = self._connect()
        self._process = os.getpid()

    @contextmanager
    def alone(self) -> Iterator[sqlite3.Connection]:
        """The connection, while no other thread has it. Raises StoreError after `close`, Damaged for what is read."""
        with self._lock, database.telling_damage(self._path):
            connection = self.connection
            self._clock.start()
            yield connection

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this process; for those who hold it `alone`. Raises StoreError after `close`."""
        if self._connection is None:
            raise StoreError(f"{self._path} was closed: open it again")
        if self._process != os.getpid():
            _inherited.append(self._connection)
            self._connection = self._connect()
            self._process = os.getpid()
            if self._needed and not self._lease:
                self._lease = leases.take(self._path, self._needed)
        return self._connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction: all that is read within it is of one commit, or of the one that is made."""
        with self.alone() as connection:
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            except sqlite3.OperationalError as error:
                self._be_patient(connection, not database.is_busy(error))
                raise
            finally:
                connection.rollback()  # nothing was written
            self._be_patient(connection, True)
            if self._lease:
                self._lease.beat()

    def _be_patient(self, connection: sqlite3.Connection, waits: bool) -> None:
        if waits != self._waits:
            connection.execute(f"PRAGMA busy_timeout = {int(self._wait * 1000) if waits else 0}")
            self._waits = waits

    def _connect(self) -> sqlite3.Connection:
        connection = database.connect(self._path / DATABASE, self._wait)
        self._waits = True
        if not self.counted:
            connection.execute(f"PRAGMA cache_size = -{CACHE >> 10}")
        self._clock = foreign.watch(connection, SECONDS)
        return connection

    def need(self, needed: leases.Needed) -> None:
        """What is asked for from now on: a reader takes a lease on it, in place of the one that it has."""
        with self._lock:
            self._needed = needed
            before, self._lease = self._lease, leases.take(self._path, needed) if self.counted else None
            if before:
                before.drop()

    def close(self) -> None:
        """Let go of both. Who asks afterwards gets a StoreError."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection and self._process == os.getpid():
                connection.close()
            elif connection:
                _inherited.append(connection)
            lease, self._lease = self._lease, None
            if lease:
                lease.drop()

    def __del__(self) -> None:
        with suppress(Exception):  # Python's connection refers to itself, and would stay open until a collection
            self.close()
