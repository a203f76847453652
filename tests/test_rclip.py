"""rclip's database from other hands: a schema that is another, values of other kinds, statements without an end."""

import sqlite3

import numpy as np
import pytest

from foreign import NAMES, held, rclip_database, rclip_row
from indexes import NotAnIndex
from retrieval.exchange import import_into, importing, open_collection, rclip
from terminal import fails, mmr

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
COLUMNS = "id INTEGER PRIMARY KEY, deleted, filepath, modified_at, size, vector"


def database(path, *statements):
    made = sqlite3.connect(path)
    made.executescript("CREATE TABLE db_version (version INTEGER); INSERT INTO db_version VALUES (4);")
    for statement in statements:
        made.execute(statement)
    made.commit()
    made.close()
    return path


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ([f"CREATE VIEW images AS {ENDLESS} SELECT i AS id, NULL AS deleted, i AS filepath, 1 AS modified_at,"
          " 1 AS size, zeroblob(2048) AS vector FROM n"], "it has no plain table `images`"),
        ([f"CREATE TABLE images ({COLUMNS})", "CREATE TRIGGER t AFTER INSERT ON images BEGIN SELECT 1; END"],
         "it has no plain table `images`"),
        ([f"CREATE TABLE images ({COLUMNS} AS (zeroblob(2048)))"], "its table `images` has no column `vector`"),
        (["CREATE TABLE images (id, filepath)"], "its table `images` has no column `deleted`"),
        ([f"CREATE TABLE images ({COLUMNS})", "UPDATE db_version SET version = 'four'"], "its version is no number"),
        (["CREATE TABLE images (deleted, filepath PRIMARY KEY, modified_at, size, vector) WITHOUT ROWID",
          "INSERT INTO images VALUES (NULL, 'x', 1, 1, zeroblob(2048))"], "no such column: rowid"),
    ],
)  # fmt: skip
def test_another_schema_is_refused(tmp_path, statements, reason):
    path = database(tmp_path / "db.sqlite3", *statements)
    with pytest.raises(NotAnIndex, match=f"cannot be read as rclip's database .*{reason}.*: check the path"):
        import_into(tmp_path / "i.mmr", open_collection("rclip", path))
    fails(mmr("import", "rclip", path, "--index", tmp_path / "i.mmr"), 3, "cannot be read as rclip's database")
    assert not (tmp_path / "i.mmr").exists()


def test_values_of_other_kinds_are_left_out_or_encoded_again(tmp_path, photos, vectors):
    good = rclip_row(photos / NAMES[0], vectors[0])
    rows = [
        good,
        (5, *rclip_row(photos / NAMES[1], vectors[1])[1:]),  # a path that is a number
        (b"blob", *good[1:]),
        ("x" * 9000, *good[1:]),
        ("/no/nul\0.png", *good[1:]),
        (str(photos / NAMES[2]), "yesterday", "large", *rclip_row(photos / NAMES[2], vectors[2])[3:]),
        (str(photos / "more"), 1, 1, "text" * 512, None),
        (str(photos / "more" / "x.png"), 1, 1, np.full(512, np.nan, "<f4").tobytes(), None),
    ]
    path = rclip_database(tmp_path / "db.sqlite3", [])
    made = sqlite3.connect(path)
    made.executescript(f"DROP TABLE images; CREATE TABLE images ({COLUMNS})")
    made.executemany("INSERT INTO images(filepath, modified_at, size, vector, deleted) VALUES (?,?,?,?,?)", rows)
    made.commit()
    made.close()
    report = import_into(tmp_path / "i.mmr", open_collection("rclip", path), root=photos)
    assert [record.id for record in held(tmp_path / "i.mmr")[1]] == [NAMES[0], NAMES[2]]
    assert report.changed == 1  # its time is none
    assert {reason: count for reason, (count, _) in report.left_out.items()} == {
        importing.NO_FILE: 3, importing.OUTSIDE: 1, importing.BROKEN: 2
    }  # fmt: skip


def test_pages_follow_each_other(tmp_path, photos, vectors, monkeypatch):
    """Also of rows with numbers below zero, and with a row that was deleted between."""
    monkeypatch.setattr(rclip, "BLOCK_ROWS", 2)
    rows = [rclip_row(photos / name, vectors[0]) for name in NAMES]
    path = rclip_database(tmp_path / "db.sqlite3", rows)
    made = sqlite3.connect(path)
    made.execute("UPDATE images SET id = -5 WHERE id = 1")
    made.execute("INSERT INTO images VALUES (9, 1, 'gone', 1, 1, x'', NULL, NULL)")
    made.commit()
    made.close()
    blocks = list(open_collection("rclip", path).blocks())
    assert [[entry.name for entry in entries] for _, entries in blocks] == [
        [str(photos / NAMES[0]), str(photos / NAMES[1])], [str(photos / NAMES[2])]
    ]  # fmt: skip
