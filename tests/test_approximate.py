"""When a store gets an approximate index, and what it is measured with."""

import zlib

import numpy as np
import pytest

from indexes import Record, Store
from retrieval.indexing import approximate
from rows import numbered, unit_rows


class Encoder:
    """Texts as fixed random directions; remembers what it was asked."""

    def __init__(self):
        self.texts = []

    def encode_texts(self, texts):
        self.texts = list(texts)
        return numbered(*(zlib.crc32(text.encode()) for text in texts), dim=16)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "LEAST_ROWS", 500)
    monkeypatch.setattr(approximate, "AUTO_ROWS", 2000)
    monkeypatch.setattr(approximate, "QUERIES", 240)
    with Store.create(tmp_path / "i", 16) as made:
        yield made


def grow(store, count, caption="thing {}"):
    first = len(store)
    rows = unit_rows(np.random.default_rng(first), count, 16)
    names = range(first, first + count)
    store.add(rows, [Record(str(i), fields={"caption": caption.format(i)} if caption else {}) for i in names])


def test_a_small_store_stays_exact_and_says_so_where_recall_is_asked_for(store):
    said = []
    grow(store, 400)
    approximate.keep(store, Encoder(), say=said.append)
    assert (store.derived.recorded, said) == (None, [])
    approximate.keep(store, Encoder(), 0.9, say=said.append)
    assert store.derived.recorded is None
    assert "400 pictures are searched exactly" in said[0]


def test_one_is_made_when_asked_for_or_when_there_are_many(store):
    grow(store, 1000)
    encoder = Encoder()
    approximate.keep(store, encoder)
    assert store.derived.recorded is None
    approximate.keep(store, encoder, 0.9, 1e9)
    assert store.derived.recorded.asked == 0.9
    assert len(set(encoder.texts) & {f"thing {i}" for i in range(1000)}) == 240  # its own captions
    grow(store, 1500)
    store.set_manifest(ann=None)
    approximate.keep(store, encoder, memory=1e9)
    assert store.derived.recorded.asked == approximate.AUTO_RECALL


def test_a_small_store_drops_a_damaged_one(store):
    grow(store, 600)
    approximate.keep(store, Encoder(), 0.9, 1e9)
    (file,) = store.derived.files()
    file.write_bytes(b"damaged")
    store.delete([str(i) for i in range(200)])
    store.close()
    with Store.open(store.path, write=True) as again:
        approximate.keep(again, Encoder())
        assert again.derived.recorded is None
        assert again.verify() == []
    assert not file.exists()


def test_without_captions_prompts_are_asked(store):
    grow(store, 600, caption=None)
    encoder = Encoder()
    assert len(approximate.text_queries(store, encoder)) >= 240
    assert "a photo of a dog" in encoder.texts
    assert all(text == text.strip() and "\n" not in text for text in encoder.texts)


def test_new_rows_are_merged_when_they_are_many_and_what_is_lost_is_made_again(store):
    grow(store, 2500)
    encoder = Encoder()
    approximate.keep(store, encoder, memory=1e9)
    first = store.derived.recorded.sha256
    grow(store, 100)
    approximate.keep(store, encoder)
    assert store.derived.recorded.sha256 == first  # a hundred are scanned
    grow(store, 500)
    said = []
    approximate.keep(store, encoder, say=said.append)
    assert said[0] == "merging 600 new rows into the approximate index"
    assert store.derived.unmerged() == 0
    (file,) = store.derived.files()
    file.unlink()
    with Store.open(store.path) as reader:
        assert reader.derived.index is None
    store.close()
    with Store.open(store.path, write=True) as again:
        approximate.keep(again, encoder, memory=1e9)
        assert again.verify() == []
        assert again.derived.index.index.ntotal == 3100
