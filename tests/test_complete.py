"""What the shell is offered."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import complete
from indexes import Record, Store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """pictures/.mmr and other.mmr are indexes, runs/mine is a run."""
    monkeypatch.chdir(tmp_path)
    for folder in ("pictures/.mmr", "other.mmr"):
        with Store.create(folder, 2) as store:
            fields = {"uri": "a", "caption": "c", "meta": {"year": 1, "base colour": "Red"}}
            store.add([[1, 0]], [Record("a", fields=fields)])
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "encoder.json").touch()
    return tmp_path


def fields(place, incomplete, index="other.mmr"):
    return complete.fields(SimpleNamespace(params={"index_dir": index}), incomplete)


def test_indexes(place):
    assert complete.indexes("") == ["other.mmr", "pictures/", "pictures/.mmr", "runs/"]
    assert complete.indexes("pic") == ["pictures/", "pictures/.mmr"]
    assert complete.indexes("pictures/") == ["pictures/.mmr"]
    assert complete.indexes("pictures/.m") == ["pictures/.mmr"]
    assert complete.indexes(f"{place}/oth") == [f"{place}/other.mmr"]
    assert complete.indexes("none/") == []


def test_models(place):
    assert complete.models("sma") == ["small"]
    assert complete.models("run") == ["runs/"]
    assert complete.models("runs/m") == ["runs/mine"]
    assert "open_clip:" in complete.models("")


def test_fields_grow_the_last_word(place, monkeypatch):
    assert fields(place, "") == ["`base colour`", "caption", "uri", "year"]
    assert fields(place, "year > 1 and not (cap") == ["year > 1 and not (caption"]
    assert fields(place, "year > 1") == []
    monkeypatch.chdir("pictures")
    assert fields(place, "y", None) == ["year"]


def test_a_damaged_index_offers_nothing(place):
    (place / "other.mmr" / "mmr.db").write_bytes(b"x" * 5000)
    assert fields(place, "") == []
    assert fields(place, "", "none") == []


@pytest.mark.parametrize("fields", ["[]", "3", "NaN", "[" * 100_000])
def test_a_record_that_is_none_offers_nothing(tmp_path, fields):
    with closing(sqlite3.connect(tmp_path / "mmr.db")) as database:
        database.execute("CREATE TABLE items (fields, died)")
        database.execute("INSERT INTO items VALUES (?, NULL)", (fields,))
        database.commit()
    assert complete._names(tmp_path) == set()


def test_a_view_in_place_of_the_items_is_not_run(tmp_path):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i > 0)"
    with closing(sqlite3.connect(tmp_path / "mmr.db")) as database:
        database.execute(f"CREATE VIEW items AS {endless} SELECT '{{}}' AS fields, 1 AS died FROM n")
    assert complete._names(tmp_path) == set()


def test_it_is_light():
    code = "import sys, cli.complete as c; c.indexes(''); c.models(''); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {"numpy", "torch", "PIL"} & set(loaded.split())


def test_the_shell_is_answered(place):
    environment = {
        "COMP_WORDS": "mmr search x --index ot", "COMP_CWORD": "4", "_MMR_COMPLETE": "complete_bash",
        "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    code = "import sys; sys.argv = ['mmr']; from cli.main import app; app(prog_name='mmr')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert said.stdout.split() == ["other.mmr"]
