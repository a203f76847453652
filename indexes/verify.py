"""Everything of a store compared with its checksums."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from indexes import database, first_format, foreign, proof, segment_files, sound
from indexes.database import DATABASE
from indexes.fulltext import table
from indexes.segments import Segment

WORDS = f"{DATABASE}, words"
_LISTED = 20  # items and lines of one kind
_SECONDS = 24 * 3600.0  # SQLite's own check is one statement


def problems(path: Path, segments: Sequence[Segment]) -> list[str]:
    """What is not as it was written in the store at `path`, of which these segments are read: a line a problem.

    Raises Damaged where its database cannot be read at all.
    """
    found = of_database(path)
    found += [] if found else of_words(path)  # those of records that were changed are others
    with database.telling_damage(path), closing(_connected(path)) as own:
        for segment in segments:
            number = own.execute("SELECT id FROM segments WHERE first_row = ?", (segment.first_row,)).fetchone()
            if number:  # else it was replaced and forgotten meanwhile
                found += _of_segment(own, segment, segment_files.file_of(path, *number))
    return found


def of_database(path: Path) -> list[str]:
    """The same of the database alone."""
    with database.telling_damage(path), closing(_connected(path)) as own:  # others do not wait for it
        lines = [line for (line,) in own.execute(f"PRAGMA integrity_check({_LISTED})") if line != "ok"]
        own.execute("BEGIN")
        if database.require_plain(own) == 1:
            lines += first_format.problems(own)
        else:
            lines += proof.problems(own)
            own.rollback()
            lines += [f"the record of row {row} was changed" for row in proof.changed(own)[:_LISTED]]
    return [f"{DATABASE}: {line}" for line in lines]


def of_words(path: Path) -> list[str]:
    """The same of the table of words, where the records are sound: WORDS before each line."""
    with closing(_connected(path)) as own:
        if database.version(own) < 3:
            return []
        own.execute("BEGIN")
        try:
            return [f"{WORDS}: {line}" for line in table.problems(own)]
        except sqlite3.DatabaseError as error:
            if not database.is_damage(error):
                raise
            return [f"{WORDS}: they cannot be read ({error})"]


def _connected(path: Path) -> sqlite3.Connection:
    own = database.connect(path / DATABASE)
    foreign.watch(own, _SECONDS)
    return own


def _of_segment(own: sqlite3.Connection, segment: Segment, file: Path) -> list[str]:
    name, size = f"{segment_files.FOLDER_NAME}/{file.name}", segment.vectors.nbytes
    if not file.is_file() or file.stat().st_size != size:  # since it was opened
        return [f"{name} is missing, or of another length than {size} bytes"]
    rows = sound.damaged(own, segment)
    lines = [f"{name}: the vector of {item} is not what was written" for item in sound.names(own, rows[:_LISTED])]
    if len(rows) > _LISTED:
        lines.append(f"{name}: and those of {len(rows) - _LISTED} more items")
    if not rows and not sound.matches(own, segment):
        lines.append(f"{name} does not match its checksum, where only deleted rows lie")
    return lines
