"""Whatever of mmr.db or a segment is changed by another hand is noticed: refused, or told by `verify`."""

import json
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from older import first, second

from indexes import Damaged, Record, Store, StoreError, database, filters, opened, proof
from rows import numbered as unit

DIM = 8
WAYS_ON = ("mmr verify", "index again")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with all there can be: dead rows, two segments, one that was replaced, fields of every kind."""
    path = tmp_path_factory.mktemp("proof") / "whole"
    with Store.create(path, DIM, encoder={"name": "toy"}, root="..", walked=1.5) as store:
        store.add(unit(1, 2, 3), [Record(name, "s", {"uri": f"{name}.jpg", "meta": {"year": 1}}) for name in "abc"])
        with Store.open(path):
            store.compact()
        store.add(unit(4, 5), [Record("d", "t", {"caption": "a dog"}), Record("e")])
        store.delete(["b"])
    return path


@pytest.fixture(scope="module")
def changed(whole, tmp_path_factory):
    """Another copy of it for each change of a file: a function of the file's name and its new content."""
    path = tmp_path_factory.mktemp("proof") / "changed"
    shutil.copytree(whole, path)

    def change(name, content):
        for file in ("mmr.db", "segments/000002.f16"):
            (path / file).write_bytes(content if file == name else (whole / file).read_bytes())
        return path

    return change


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(opened, "SECONDS", 2.0)


def answers(path):
    """All that is asked of a store."""
    with Store.open(path) as store:
        return asked(store)


def asked(store):
    found = store.search(unit(1, 4), 3)
    where = store.search(unit(1), 3, where=filters.parse("year >= 1", ("meta",)))
    return (
        found.rows.tolist(), found.scores.tolist(), where.rows.tolist(), store.records(store.rows()), store.stamps(),
        store.manifest, store.ids_between("a", "z"), store.stamps_of(["a", "e"]),
    )  # fmt: skip


def seen(path):
    """What a store answers; None where the change is told: by an error of ours, or by `verify`."""
    try:
        with Store.open(path) as store:
            found = asked(store)
            return None if store.verify() else found
    except StoreError as error:
        assert all(way in str(error) for way in WAYS_ON) or "pip install" in str(error) or "--index" in str(error)
        return None


def spread(content, count):
    """So many places of it, the same each time."""
    return np.random.default_rng(0).choice(8 * len(content), count, replace=False).tolist()


def test_a_store_is_as_it_was_written(whole):
    assert seen(whole) == answers(whole)


@pytest.mark.parametrize("name", ["mmr.db", "segments/000002.f16"])
def test_a_flipped_bit_changes_no_answer_unseen(whole, changed, soak, name):
    content, right = (whole / name).read_bytes(), answers(whole)
    for place in spread(content, min(8 * len(content), 20_000 if soak else 150)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        assert seen(changed(name, bytes(flipped))) in (None, right), place


CELLS = {
    "manifest": ("key", "value"), "segments": ("id", "first_row", "rows", "sha256", "retired"),
    "items": ("row", "id", "stamp", "fields", "born", "died", "vector", "digest"),
    "proof": ("items", "dead", "deaths", "sha256"), "words_content": ("id", "c0", "c1", "c2", "c3"),
    "words_data": ("id", "block"), "words_docsize": ("id", "sz"), "words_config": ("k", "v"),
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 65) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
VALUES = st.none() | st.integers(-3, 1 << 62) | st.floats() | st.binary(max_size=3) | JSON.map(json.dumps)


@st.composite
def cell_changes(draw):
    table = draw(st.sampled_from(sorted(CELLS)))
    return table, draw(st.sampled_from(CELLS[table])), draw(st.integers(0, 20)), draw(VALUES)


def change_cell(path, table, column, number, value):
    """Put a value into a cell of that database; False where SQLite does not take it."""
    keys = {"manifest": "key", "words_config": "k"}.get(table, "rowid")
    with closing(sqlite3.connect(path / "mmr.db")) as connection:
        lines = [key for (key,) in connection.execute(f"SELECT {keys} FROM {table} ORDER BY {keys}")]
        try:
            key = lines[number % len(lines)]
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {keys} = ?", (value, key))
        except sqlite3.Error:
            return False
        connection.commit()
    return True


@settings(deadline=None, max_examples=100)
@given(change=cell_changes())
def test_a_changed_cell_changes_no_answer_unseen(whole, changed, change):
    path, right = changed(None, b""), answers(whole)
    if change_cell(path, *change):
        assert seen(path) in (None, right)


@settings(deadline=None, max_examples=50)
@given(change=cell_changes())
def test_whoever_writes_beside_a_changed_cell_is_told_in_our_words_or_does_not_hide_it(whole, changed, change):
    work = changed(None, b"").with_name("written")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)
    if not change_cell(work, *change):
        return
    was = seen(work) == answers(whole)
    try:
        with Store.open(work, write=True) as store:
            store.add(unit(9), [Record("z")])
            store.delete(["a"])
            store.compact()
    except StoreError:
        return
    # Words are made of the records, so whoever rewrites those may mend them.
    assert was or change[0] == "items" or change[0].startswith("words_") or seen(work) is None


@settings(deadline=None, max_examples=50)
@given(key=st.sampled_from(["dim", "generation", "next_row", "encoder", "root", "walked", "ann"]), value=JSON)
@example(key="dim", value=1)
def test_a_manifest_with_its_own_proof_is_still_read_as_what_it_should_be(changed, key, value):
    path = changed(None, b"")
    with closing(sqlite3.connect(path / "mmr.db")) as connection:
        connection.execute("INSERT OR REPLACE INTO manifest VALUES (?, ?)", (key, json.dumps(value)))
        proof.seal(connection)
        connection.commit()
    try:
        answers(path)
    except Damaged as error:
        assert all(way in str(error) for way in WAYS_ON)


FOREIGN = {
    "an endless view": (
        "DROP TABLE items; CREATE VIEW items AS WITH RECURSIVE n(row) AS (SELECT 1 UNION ALL SELECT row FROM n)"
        " SELECT row, '' AS id, '' AS stamp, '{}' AS fields, 1 AS born, NULL AS died, 0 AS vector, 0 AS digest FROM n"
    ),
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM segments; END",
    "a column that is computed": "ALTER TABLE items ADD COLUMN more AS (row + 1)",
    "another table": "CREATE TABLE more (x)",
    "no index of the living": "DROP INDEX items_alive",
}


@pytest.mark.parametrize("sql", FOREIGN.values(), ids=FOREIGN)
def test_other_tables_than_ours_are_refused(changed, sql):
    path = changed(None, b"")
    with closing(sqlite3.connect(path / "mmr.db")) as connection:
        connection.executescript(sql)
    for write in (False, True):
        with pytest.raises(Damaged, match="its tables are not those of an index"):
            Store.open(path, write=write)


def test_work_that_never_ends_is_ended(whole, monkeypatch):
    monkeypatch.setattr(opened, "SECONDS", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with (
        Store.open(whole) as store,
        pytest.raises(Damaged, match="interrupted"),
        store._opened.reading() as connection,
    ):
        connection.execute(endless).fetchall()


@pytest.mark.parametrize(
    "fields", ["[]", "3", '"x"', "null", "{", "", "NaN", "[" * 100_000, '{"a":' * 40 + "1" + "}" * 40]
)
def test_a_record_that_is_none_is_refused(tmp_path, fields):
    """Even where it has its own digest."""
    with Store.create(tmp_path / "i", DIM) as store:
        store.add(unit(1), [Record("a")])
        connection, item = store._database, (0, "a", "", fields, 1)
        (vector,) = connection.execute("SELECT vector FROM items").fetchone()
        connection.execute("UPDATE items SET fields = ?, digest = ?", (fields, proof.of_item(*item, vector)))
        with pytest.raises(Damaged, match="the record of a "):
            store.records([0])


def test_a_record_that_was_changed_is_not_shown(tmp_path):
    with Store.create(tmp_path / "i", DIM) as store:
        store.add(unit(1), [Record("a", "", {"caption": "a dog"})])
        store._database.execute("""UPDATE items SET fields = '{"caption": "a hog"}'""")
        with pytest.raises(Damaged, match="the record of row 0 was changed"):
            store.records([0])


def test_fields_that_could_not_be_read_again_do_not_come_in(tmp_path):
    deep = {}
    for _ in range(40):
        deep = {"a": deep}
    with Store.create(tmp_path / "i", DIM) as store:
        with pytest.raises(ValueError, match="fields of a are nested"):
            store.add(unit(1), [Record("a", fields=deep)])
        assert len(store) == 0
        assert store.verify() == []


# ---------------------------------------------------------------- format 1


@pytest.mark.parametrize("older", [first, second])
def test_an_index_of_an_older_format_is_read_and_becomes_one_of_this(whole, changed, older):
    path, right = older(changed(None, b"")), answers(whole)
    assert seen(path) == right
    with Store.open(path, write=True) as store:
        store.set_manifest(walked=1.5)
        assert database.version(store._database) == database.FORMAT_VERSION
        assert store.verify() == []
    assert seen(path)[:5] == right[:5]
    with closing(sqlite3.connect(path / "mmr.db")) as connection:
        assert database.require_plain(connection) == database.FORMAT_VERSION  # the same tables as those of a new one
        vectors = connection.execute("SELECT row, vector FROM items ORDER BY row").fetchall()
    with closing(sqlite3.connect(whole / "mmr.db")) as connection:
        assert connection.execute("SELECT row, vector FROM items ORDER BY row").fetchall() == vectors


def test_a_changed_record_of_the_first_format_is_not_proven_anew(changed):
    path = first(changed(None, b""))
    with closing(sqlite3.connect(path / "mmr.db")) as connection:
        connection.execute("UPDATE items SET stamp = 'x' WHERE id = 'a'")
        connection.commit()
    with Store.open(path, write=True) as store:
        for _ in range(2):
            with pytest.raises(Damaged, match="the records of rows"):
                store.delete(["d"])
        assert "d" in store.stamps()
        assert len(store.verify()) == 2  # both of the segments that had it


def test_a_damaged_segment_of_the_first_format_stays_damaged(whole, changed):
    name = "segments/000002.f16"
    content = bytearray((whole / name).read_bytes())
    content[-1] ^= 1
    path = first(changed(name, bytes(content)))
    with Store.open(path, write=True) as store:
        for _ in range(2):
            assert [line.split(": ")[1] for line in store.verify()] == [
                f"the vector of {item} is not what was written" for item in "ac"
            ]
            store.delete(["e"])
