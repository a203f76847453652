"""Vectors that are not what was written are never written again under a new checksum, and are made again on request."""

import shutil
import sqlite3
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from indexes import Damaged, Record, Store, manifest
from retrieval import exchange
from retrieval.datatypes import Item
from retrieval.encoders.load import load_encoder
from retrieval.heads import labeling, propagation
from retrieval.indexing import approximate, reencode, stored, update
from retrieval.indexing.line import Here
from rows import numbered as unit
from terminal import fails, mmr
from toy import ToyEncoder

DIM = 8
NAMED = "those of b: `mmr verify --repair"


def flip(path, number, row, dim, bit=1, at=3):
    """Another bit in one row of a segment."""
    file = path / "segments" / f"{number:06d}.f16"
    content = bytearray(file.read_bytes())
    content[2 * dim * row + at] ^= bit
    file.write_bytes(content)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "i", DIM, encoder={"name": "toy"}) as made:
        made.add(unit(1, 2, 3), [Record(name, "s", {"uri": f"{name}.jpg"}) for name in "abc"])
        flip(made.path, 1, 1, DIM)
        yield made


def test_the_item_of_a_flipped_bit_is_named_and_no_other(store):
    assert store.damaged() == [1]
    assert store.damaged([0, 2]) == []
    assert store.verify() == ["segments/000001.f16: the vector of b is not what was written"]
    store.require_sound([0, 2])
    with pytest.raises(Damaged, match=NAMED):
        store.require_sound()


def test_many_are_counted(tmp_path):
    with Store.create(tmp_path / "i", DIM) as store:
        store.add(unit(*range(30)), [Record(f"{number:02d}") for number in range(30)])
        for row in range(30):
            flip(store.path, 1, row, DIM)
        with pytest.raises(Damaged, match="those of 00, 01, 02, 03, 04 and 25 more: "):
            store.compact()
        assert len(store.verify()) == 21
        assert store.verify()[-1] == "segments/000001.f16: and those of 10 more items"


@pytest.mark.parametrize("value", [np.inf, np.nan, 0.5])
def test_rows_that_a_former_version_wrote_again_are_told_by_their_length(tmp_path, monkeypatch, value):
    rows = unit(1, 2)
    rows[1, 0] = value
    rows[1, 1:] *= value == value  # NaN has none
    monkeypatch.setattr(Store, "_check", lambda self, vectors, dim=None: vectors)
    with Store.create(tmp_path / "i", DIM) as store:
        store.add(rows, [Record("a"), Record("b")])
        assert store.damaged() == [1]
        assert store.verify() == ["segments/000001.f16: the vector of b is not what was written"]


def test_labels_are_not_written_beside_damaged_vectors(store):
    head = SimpleNamespace(require=lambda *given: None, dims={"image": DIM}, column="x")
    for change in (lambda: labeling.label(store, head, ToyEncoder()), lambda: propagation.fill(store, "x")):
        with pytest.raises(Damaged, match=NAMED):
            change()


REWRITES = {
    "compact": lambda store, tmp_path: store.compact(),
    "snapshot": lambda store, tmp_path: store.snapshot(tmp_path / "copy"),
    "npy": lambda store, tmp_path: exchange.export("npy", store, tmp_path / "out.npy"),
    "parquet": lambda store, tmp_path: exchange.export("parquet", store, tmp_path / "out.parquet"),
    "clip-retrieval": lambda store, tmp_path: exchange.export("clip-retrieval", store, tmp_path / "out"),
}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_what_writes_rows_again_refuses_them_by_name(store, tmp_path, rewrite):
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(Damaged, match=NAMED):
        rewrite(store, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert store.verify() == ["segments/000001.f16: the vector of b is not what was written"]


def test_a_damaged_vector_is_not_labelled_and_not_merged_into_an_approximate_index(store, monkeypatch):
    from indexes.approximate import ann
    from retrieval.heads import labels

    monkeypatch.setattr(approximate, "LEAST_ROWS", 1)
    with pytest.raises(Damaged, match=NAMED):
        approximate.keep(store, ToyEncoder(), recall=0.9)
    flip(store.path, 1, 1, DIM)  # as it was
    store.set_approximate(ann.build(store.segments, "IVF1,Flat", DIM, 3), 0.9)
    store.add(unit(4, 5), [Record("d", "s", {"uri": "d.jpg", "kind": "picture", "labels": {"x": 1}}), Record("e")])
    flip(store.path, 2, 0, DIM)
    with pytest.raises(Damaged, match="those of d: "):
        store.merge_approximate()
    with pytest.raises(Damaged, match="those of d: "):
        labels.remove(store, "x")
    assert store.damaged() == [3]


def test_a_compaction_that_indexing_does_by_itself_refuses_them_too(store, monkeypatch):
    monkeypatch.setattr(Store, "needs_compaction", lambda self: True)
    with pytest.raises(Damaged, match=NAMED):
        update.update(store, [Item(name, f"{name}.jpg", lambda: b"", stamp="s") for name in "abc"], Here(ToyEncoder()))


def test_damage_among_deleted_rows_stops_nothing(store):
    store.delete(["b"])
    assert store.damaged() == []
    assert store.verify() == ["segments/000001.f16 does not match its checksum, where only deleted rows lie"]
    store.compact()
    assert store.verify() == []
    assert store.stamps().keys() == {"a", "c"}


def test_a_changed_record_is_not_written_again(store, tmp_path):
    flip(store.path, 1, 1, DIM)  # as it was
    store._database.execute("UPDATE items SET fields = '{}' WHERE id = 'c'")
    for rewrite in REWRITES.values():
        with pytest.raises(Damaged, match="the record of row 2 was changed"):
            rewrite(store, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


# ---------------------------------------------------------------- from their pictures


@pytest.fixture
def damaged(photos, trained, tmp_path):
    """An index of three pictures, one of whose vectors was changed; its rows as they were."""
    index = tmp_path / "i"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    with Store.open(index) as store:
        rows = store.rows()
        right = dict(zip([record.id for record in store.records(rows)], store.vectors(rows), strict=True))
        (row,) = stored.named(store, ["red.png"])
        flip(index, 1, row, store.dim, bit=0x7C, at=1)
    return index, right


def held(index):
    with Store.open(index) as store:
        rows = store.rows()
        return dict(zip([record.id for record in store.records(rows)], store.vectors(rows), strict=True))


def test_repair_encodes_the_damaged_ones_and_only_those(damaged):
    index, right = damaged
    fails(mmr("verify", "--index", index), 3, "the vector of red.png", "mmr verify --repair")
    fails(mmr("compact", "--index", index), 3, "those of red.png: `mmr verify --repair --index", "again")
    done = mmr("verify", "--repair", "--index", index, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "1 of 1 damaged vectors were encoded again" in done.stderr
    assert "3 rows, all as they were written" in done.stdout
    now = held(index)
    assert now.keys() == right.keys()
    for name, vector in now.items():
        assert np.abs(vector - right[name]).max() < 1e-2
    assert all(np.array_equal(now[name], right[name]) for name in right if name != "red.png")


def test_an_item_whose_picture_is_gone_stays_listed(damaged, photos):
    index, right = damaged
    (photos / "red.png").unlink()
    done = mmr("verify", "--repair", "--index", index, "--device", "cpu")
    assert done.exit_code == 3, done.output
    assert "red.png: " in done.stderr
    assert "the vector of red.png is not what was written" in done.stderr
    with Store.open(index) as store:
        assert store.stamps().keys() == right.keys()


def test_where_nothing_is_damaged_nothing_is_encoded(photos, trained, tmp_path, monkeypatch):
    index = tmp_path / "i"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    monkeypatch.setattr("retrieval.load_encoder", None)
    assert "all as they were written" in mmr("verify", "--repair", "--index", index).stdout


def test_a_renamed_picture_does_not_take_a_damaged_vector_along(damaged, photos):
    index, _ = damaged
    (photos / "red.png").rename(photos / "rouge.png")
    fails(mmr("index", "--index", index, photos), 3, "those of red.png: `mmr verify --repair")
    with Store.open(index) as store:
        assert "rouge.png" not in store.stamps()


def test_records_seen_from_another_root_are_not_written_beside_a_damaged_vector(damaged, photos):
    index, _ = damaged
    other = photos.parent / "other"
    other.mkdir()
    shutil.copy(photos / "red.png", other / "copy.png")
    fails(mmr("index", photos, other, "--index", index), 3, "those of red.png: `mmr verify --repair")
    with Store.open(index) as store:
        assert "red.png" in store.stamps()


def test_half_of_a_new_encoding_that_was_damaged_is_not_taken_over(damaged, photos, trained, monkeypatch):
    index, right = damaged
    monkeypatch.setattr(reencode, "_must_be_seen", lambda store, new, found: flip(new.path, 1, 0, new.dim))
    fails(mmr("index", photos, "--index", index, "--model", another(trained)), 3, "not what was written, those of ")
    assert held(index).keys() == right.keys()


def another(trained):
    """A run whose vectors are others."""
    encoder = load_encoder(str(trained))
    with torch.no_grad():
        encoder.image_tower.project.weight.neg_()
    encoder.forget_fingerprint()
    encoder.save(trained.parent / "another")
    return trained.parent / "another"


# ---------------------------------------------------------------- the database


COMMANDS = (
    ("search", "a dog"), ("ls",), ("ls", "--where", "width > 0"), ("info",), ("dups",), ("verify",),
    ("rm", "red.png", "--yes"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_any_command_says_that_the_database_is_damaged(photos, trained, tmp_path, words):
    index = tmp_path / "i"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    right, told = (index / "mmr.db").read_bytes(), 0
    before = mmr(*words, "--index", index) if words[0] != "rm" else None
    for start in range(0, len(right), 4096):
        (index / "mmr.db").write_bytes(right[:start] + bytes(range(256)) * 16 + right[start + 4096 :])
        done = mmr(*words, "--index", index)
        assert "Traceback" not in done.output
        if done.exit_code == 3:
            told += 1
            assert "mmr verify" in done.stderr or "index again" in done.stderr, done.stderr
            assert words[0] == "verify" or len(done.stderr.strip().splitlines()) == 1
        elif before:
            assert done.stdout == before.stdout, done.output
    assert told >= 4


def test_a_disk_that_fails_is_no_damage(photos, trained, tmp_path, monkeypatch):
    index = tmp_path / "i"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0

    def fail(*_):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    monkeypatch.setattr(manifest, "read", fail)
    fails(mmr("ls", "--index", index), 5, "the machine failed (disk I/O error)")
