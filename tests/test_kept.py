"""What an encoder made of a source is kept, and believed only as it was written."""

import numpy as np
import pytest

from retrieval import cache
from retrieval.datatypes import Item
from retrieval.encoders import kept

ARRAYS = {"vectors": np.arange(6, dtype=np.float32).reshape(2, 3), "seen": np.array([True, False])}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path))
    return tmp_path


def items(*stamps):
    return [Item(f"{n}.jpg", f"{n}.jpg", lambda: b"", stamp=stamp) for n, stamp in enumerate(stamps)]


def test_arrays_come_back_as_they_were():
    kept.write(cache.FEATURES, "k", ARRAYS)
    found = kept.read(cache.FEATURES, "k")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def test_a_changed_byte_anywhere_is_as_good_as_no_file(own_cache):
    kept.write(cache.FEATURES, "k", ARRAYS)
    file = own_cache / "features" / "k.safetensors"
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = kept.read(cache.FEATURES, "k")
        assert found is None or all(np.array_equal(found[name], array) for name, array in ARRAYS.items()), place
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert kept.read(cache.FEATURES, "k") is None
    assert kept.read(cache.FEATURES, "other") is None


def test_a_cache_that_cannot_be_written_is_no_matter(own_cache):
    (own_cache / "features").write_text("a file")
    kept.write(cache.FEATURES, "k", ARRAYS)
    assert kept.read(cache.FEATURES, "k") is None


def test_a_key_is_of_pictures_and_maker():
    one = kept.key_of(items("1", "2"), "a")
    assert one == kept.key_of(items("1", "2"), "a")
    assert (
        len({one, kept.key_of(items("1", "3"), "a"), kept.key_of(items("1", "2"), "b"), kept.key_of(items("1"), "a")})
        == 4
    )
    assert kept.key_of(items("1", ""), "a") is None and kept.key_of([], "a") is None


def test_a_pool_gives_back_what_was_added_and_of_another_width_nothing():
    first = kept.Pool(cache.FEATURES, "a body", 3)
    names = [kept.name_of_text(text) for text in ("one", "two")]
    first.add(names, np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    again = kept.Pool(cache.FEATURES, "a body", 3)
    assert names[0] in again and kept.name_of_text("three") not in again
    assert again.rows(names[::-1]).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert names[0] not in kept.Pool(cache.FEATURES, "a body", 4)
    assert names[0] not in kept.Pool(cache.FEATURES, "another body", 3)


def test_of_too_much_the_first_is_let_go(monkeypatch):
    monkeypatch.setattr(kept.Pool, "MOST", 2 * 2 * 3)  # two rows of three numbers
    pool = kept.Pool(cache.FEATURES, "a body", 3)
    names = [kept.name_of_text(text) for text in "abc"]
    pool.add(names, np.eye(3, dtype=np.float32))
    assert pool.rows(names).tolist() == np.eye(3).tolist()
    assert [name in kept.Pool(cache.FEATURES, "a body", 3) for name in names] == [False, True, True]


def test_what_cannot_be_told_apart_later_is_not_kept():
    pool = kept.Pool(cache.FEATURES, "a body", 1)
    (name,) = (kept.name_of(item) for item in items(""))
    pool.add([name], np.ones((1, 1), np.float32))
    assert pool.rows([name]).tolist() == [[1]] and name not in kept.Pool(cache.FEATURES, "a body", 1)


def test_a_pool_of_what_is_no_number_is_not_believed_whatever_its_digest(own_cache):
    name = kept.name_of_text("one")
    kept.Pool(cache.FEATURES, "a body", 1).add([name], np.ones((1, 1), np.float32))
    (file,) = (own_cache / "features").iterdir()
    arrays = kept.read(cache.FEATURES, file.stem)
    kept.write(cache.FEATURES, file.stem, arrays | {"rows": arrays["rows"] * np.float16("nan")})
    assert name not in kept.Pool(cache.FEATURES, "a body", 1)
