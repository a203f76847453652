"""A vector is kept where the whole content of a file is the same, and only there."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from indexes import Record, Store
from retrieval.datatypes import Item
from retrieval.indexing import contents
from retrieval.indexing import update as updating
from retrieval.indexing.line import Here
from retrieval.sources.registry import open_items
from retrieval.sources.uri import stamp_of

SIDE = 300  # pixels: both ends of the file are far from its middle


def save(path, middle=(255, 0, 0)):
    """A gray picture with a band of some colour in its middle: only the middle of the file is another."""
    image = Image.new("RGB", (SIDE, SIDE), (9, 9, 9))
    image.paste(middle, (0, 120, SIDE, 180))
    image.save(path)
    return path


@pytest.fixture
def store(tmp_path, toy):
    with Store.create(tmp_path / "i", toy.dim, encoder={"name": "toy", "fingerprint": "f"}, root=".") as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def update(store, folder, toy):
    toy.images_seen = 0
    return updating.update(store, open_items(str(folder)), Here(toy))


def vector(store, name):
    (row,) = [int(row) for row in store.rows() if store.records([row])[0].id == name]
    (segment,) = [one for one in store.segments if one.first_row <= row < one.first_row + len(one.vectors)]
    return segment.vectors[row - segment.first_row].astype(float)


@pytest.mark.parametrize("ending", ["bmp", "ppm", "tif", "tga"])
def test_a_picture_edited_in_its_middle_is_encoded_again(store, folder, toy, ending):
    file = save(folder / f"a.{ending}")
    update(store, folder, toy)
    before, size = vector(store, file.name), file.stat().st_size
    save(file, (0, 0, 255))
    assert file.stat().st_size == size
    report = update(store, folder, toy)
    assert (report.changed, report.moved, toy.images_seen) == (1, 0, 1)
    assert before[0] > before[2] + 0.1
    assert vector(store, file.name)[2] > vector(store, file.name)[0] + 0.1


def test_another_picture_of_the_same_ends_is_no_moved_one(store, folder, toy):
    save(folder / "a.bmp")
    update(store, folder, toy)
    (folder / "a.bmp").unlink()
    save(folder / "b.bmp", (0, 0, 255))
    report = update(store, folder, toy)
    assert (report.added, report.moved, report.removed, toy.images_seen) == (1, 0, 1, 1)


def old_key(path):
    """As older versions made it: the size and both ends."""
    content = path.read_bytes()
    digest = hashlib.sha256(content[: 1 << 16] + content[-(1 << 16) :])
    return f"{len(content)}:{digest.hexdigest()[:32]}"


@pytest.mark.parametrize("move", [False, True])
def test_an_older_key_keeps_no_vector(store, folder, toy, move):
    file = save(folder / "a.bmp")
    record = Record("a.bmp", stamp_of(file), {"uri": "a.bmp", "key": old_key(file)})
    store.add(np.array([[0, 1, 0, 0]], np.float32), [record])
    assert update(store, folder, toy).renewed == 1  # it had no fields of its file
    assert (update(store, folder, toy).unchanged, toy.images_seen) == (1, 0)  # what did not change is not read
    os.utime(file, (1, 1))
    name = file.rename(folder / "b.bmp").name if move else "a.bmp"
    report = update(store, folder, toy)
    assert (report.moved, toy.images_seen) == (0, 1)
    os.utime(folder / name, (2, 2))
    report = update(store, folder, toy)
    assert (report.moved, toy.images_seen) == (1, 0)


def test_a_key_is_of_every_byte(tmp_path):
    keys = []
    x = b"x" * 400_000
    for name, content in ("a", x), ("b", x + b"x"), ("c", x[:200_000] + b"y" + x[200_001:]), ("d", x):
        (tmp_path / name).write_bytes(content)
        keys.append(contents.key_of(Item(name, name, tmp_path / name)))
    assert keys[0] == keys[3] == f"400000:sha256-{hashlib.sha256(x).hexdigest()[:40]}"
    assert len(set(keys)) == 3
    assert contents.key_of(Item("e", "e", tmp_path / "e")) is None
    assert contents.key_of(Item("e", "e", lambda: b"")) is None
    assert contents.key_of(Item("f", "a\0b", tmp_path / "a\0b")) is None
    assert contents.is_whole(keys[0])
    assert not contents.is_whole(old_key(tmp_path / "a"))
    assert not contents.is_whole(None)


def test_what_was_written_to_since_it_was_found_has_no_key(tmp_path):
    """Its vector may be of what was there before, and must not be kept for what is there now."""
    (tmp_path / "a").write_bytes(b"x")
    item = Item("a", "a", tmp_path / "a", stamp=stamp_of(tmp_path / "a"))
    assert contents.key_of(item)
    (tmp_path / "a").write_bytes(b"y")
    os.utime(tmp_path / "a", (1, 1))
    assert contents.key_of(item) is None


def test_of_a_huge_file_no_key_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "LARGEST", 10)
    (tmp_path / "a").write_bytes(b"x" * 11)
    assert contents.key_of(Item("a", "a", tmp_path / "a")) is None
    assert contents.read(tmp_path / "a").startswith("11:sha256-")
