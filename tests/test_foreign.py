"""SQLite files of other hands: real tables only, and no statement without an end."""

import sqlite3

import pytest

from indexes import foreign
from indexes.typed import Malformed

_ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS key, x AS value FROM n"


def database(path, *statements):
    with sqlite3.connect(path) as made:
        for statement in statements:
            made.execute(statement)
    made.close()
    return path


def test_a_table_is_read(tmp_path):
    file = database(tmp_path / "a.db", "CREATE TABLE facts (key TEXT, value)", "INSERT INTO facts VALUES ('a', 1)")
    opened = foreign.open_read_only(file, {"facts": ("key", "value")})
    assert opened.execute("SELECT * FROM facts").fetchall() == [("a", 1)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        opened.execute("DELETE FROM facts")
    opened.close()


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ((), "no plain table `facts`"),
        ((f"CREATE VIEW facts AS {_ENDLESS}",), "no plain table `facts`"),
        (("CREATE TABLE facts (key TEXT)",), "no column `value`"),
        (("CREATE TABLE facts (key TEXT, value AS (hex(zeroblob(1000))))",), "no column `value`"),
        (
            ("CREATE TABLE facts (key, value)", "CREATE TRIGGER t AFTER INSERT ON facts BEGIN DELETE FROM facts; END"),
            "no plain table `facts`",
        ),
    ],
)
def test_what_stands_in_place_of_a_table_is_refused(tmp_path, statements, said):
    with pytest.raises(Malformed, match=said):
        foreign.open_read_only(database(tmp_path / "a.db", *statements), {"facts": ("key", "value")})


def test_what_is_no_database_is_malformed(tmp_path):
    (tmp_path / "a.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Malformed, match="no database"):
        foreign.open_read_only(tmp_path / "a.db", {})


def test_a_statement_ends_when_its_time_is_over(tmp_path):
    opened = sqlite3.connect(":memory:")
    foreign.guard(opened, seconds=0.05)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        opened.execute(f"SELECT count(*) FROM ({_ENDLESS})").fetchone()
    assert opened.execute("SELECT 1").fetchone() == (1,)  # the clock begins again with each statement
    opened.close()


def test_no_cell_is_larger_than_the_limit():
    opened = sqlite3.connect(":memory:")
    foreign.guard(opened)
    with pytest.raises(sqlite3.DataError, match="too big"):
        opened.execute(f"SELECT zeroblob({foreign.CELL + 1})").fetchone()
    opened.close()
