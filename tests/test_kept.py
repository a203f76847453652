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
