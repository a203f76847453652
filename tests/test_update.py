"""The indexing line: order, clips, fields of photos, moved files, what is decoded before the encoder is there."""

import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from indexes import Store
from retrieval import load_encoder
from retrieval.datatypes import Item
from retrieval.encoders import encoding, query_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.indexing import cards, prefetch
from retrieval.indexing import update as updating
from retrieval.indexing.line import Here, whole_batches_first
from retrieval.sources.registry import open_items, parse_uri


def plain(count):
    """Items of one colour each, darker and darker."""
    return [Item(str(i), str(i), lambda i=i: Image.new("RGB", (8, 8), (255 - i, i, 0))) for i in range(count)]


def photo(path, shade):
    noise = np.random.default_rng(shade).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(path, quality=90)
    return path


@pytest.fixture
def store(tmp_path, toy):
    with Store.create(tmp_path / "i", toy.dim, encoder={"name": "toy", "fingerprint": "f"}, root=".") as made:
        yield made


def update(store, folder, toy):
    return updating.update(store, open_items(str(folder)), Here(toy))


def test_batches_come_in_the_order_of_the_items(toy):
    batches = list(encoding.encode(plain(10), toy, batch_size=4))
    assert [[item.id for item in batch.items] for batch in batches] == [list("0123"), list("4567"), list("89")]


def test_lanes_beside_each_other_give_what_one_gives(trained):
    encoder = load_encoder(str(trained))
    before = torch.get_num_threads()
    items = plain(50)
    expected = encoder.encode_images([item.content() for item in items])
    torch.set_num_threads(3)
    try:
        assert encoder.lanes == 3
        batches = list(encoding.encode(items, encoder, batch_size=7))
        assert torch.get_num_threads() == 3  # as it was
    finally:
        torch.set_num_threads(before)
    assert [item.id for batch in batches for item in batch.items] == [item.id for item in items]
    np.testing.assert_allclose(np.concatenate([batch.vectors for batch in batches]), expected, atol=1e-5)
    assert encoder.train().lanes == 1  # dropout and lanes do not mix


def test_a_fault_in_a_lane_ends_the_line(trained, monkeypatch):
    encoder = load_encoder(str(trained))
    monkeypatch.setattr(type(encoder), "lanes", 2)
    monkeypatch.setattr(encoder, "encode_images", lambda pictures: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(encoding.encode(plain(200), encoder, batch_size=4))
    assert threading.active_count() < 20


def test_a_clip_is_the_mean_of_its_frames(toy, monkeypatch):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    monkeypatch.setattr("retrieval.images.load.clip", lambda content, count, at_least: (frames, {"seconds": 2.0}))
    items = [Item("a", "a", lambda: Image.new("RGB", (8, 8), "green")), Item("b", "b.mp4", lambda: b"", kind="clip")]
    ((good, vectors, skipped, _),) = encoding.encode(items, toy)
    assert (skipped, good[1].file_fields) == ([], {"seconds": 2.0})
    np.testing.assert_allclose(vectors[1], [0.5**0.5, 0, 0.5**0.5, 0], atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_what_a_file_says_of_itself_becomes_fields_and_the_source_wins(store, tmp_path, toy):
    exif = Image.Exif()
    exif[271], exif[306] = "Acme", "2024:07:01 10:00:00"
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "a.csv").write_text("image,caption,width\na.jpg,one,9\n")
    update(store, tmp_path / "a.csv", toy)
    card = cards.Card.of(store.records(store.rows())[0])
    assert (card.meta, card.file_fields["width"]) == ({"width": "9"}, 30)
    assert (card.fields["width"], card.fields["height"], card.fields["taken"][:10]) == ("9", 20, "2024-07-01")


def test_a_moved_or_touched_file_keeps_its_vector(store, tmp_path, toy):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(3):
        photo(folder / f"{number}.jpg", number)
    update(store, folder, toy)
    before = {record.id: row for row in store.rows() for record in store.records([row])}
    vectors = {name: store.segments[0].vectors[row].copy() for name, row in before.items()}

    (folder / "0.jpg").rename(folder / "more" / "new.jpg")
    os.utime(folder / "1.jpg", ns=(1, 1))
    content = bytearray((folder / "2.jpg").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "2.jpg").write_bytes(content)  # same size, other content
    toy.images_seen = 0
    report = update(store, folder, toy)
    assert (report.moved, report.changed, report.added, report.removed, toy.images_seen) == (2, 1, 0, 0, 1)
    records = {record.id: row for row in store.rows() for record in store.records([row])}
    assert records.keys() == {"more/new.jpg", "1.jpg", "2.jpg"}
    gathered = {name: store.segments[-2].vectors[row - store.segments[-2].first_row] for name, row in records.items()
                if name != "2.jpg"}  # fmt: skip
    np.testing.assert_array_equal(gathered["more/new.jpg"], vectors["0.jpg"])
    np.testing.assert_array_equal(gathered["1.jpg"], vectors["1.jpg"])
    assert store.records([records["more/new.jpg"]])[0].fields["uri"] == "more/new.jpg"
    assert update(store, folder, toy).unchanged == 3


def test_a_copy_beside_its_original_is_new(store, tmp_path, toy):
    photo(tmp_path / "a.jpg", 0)
    update(store, tmp_path, toy)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    report = update(store, tmp_path, toy)
    assert (report.added, report.moved, report.unchanged, len(store)) == (1, 0, 1, 2)


def test_pictures_are_decoded_before_the_encoder_is_there(store, tmp_path, toy, monkeypatch):
    for number in range(5):
        photo(tmp_path / f"{number}.png", number)
    monkeypatch.setattr(query_encoder, "preprocess_of", lambda name: toy.preprocess)
    with prefetch.of_index(parse_uri(str(tmp_path)), tmp_path / "none", "toy", encoding.prepare) as prepared:
        while prepared.ready < 5:
            threading.Event().wait(0.01)
        prepared.expect(toy.preprocess)
    decoded = []
    real = encoding.prepare
    monkeypatch.setattr(encoding, "prepare", lambda item, preprocess: decoded.append(item.id) or real(item, preprocess))
    photo(tmp_path / "3.png", 9)  # changed since
    report = updating.update(store, open_items(str(tmp_path)), Here(toy, prepared))
    assert (report.added, decoded) == (5, ["3.png"])


def test_what_was_decoded_for_another_preprocess_is_not_used(toy):
    with prefetch.Ahead(plain(3), Preprocess(16), lambda item, preprocess: "wrong") as prepared:
        prepared.expect(toy.preprocess)
    assert [prepared.take(item) for item in plain(3)] == [None] * 3
    with prefetch.Ahead(plain(3), None, lambda item, preprocess: "wrong") as prepared:
        prepared.expect(toy.preprocess)
    assert prepared.take(plain(1)[0]) is None


def test_the_preprocess_of_an_encoder_is_known_without_it(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path))  # elsewhere it may lie exported already, under its own name
    assert query_encoder.preprocess_of("none such") is None
    encoder = load_encoder(str(trained))
    assert query_encoder.preprocess_of(str(trained)) == encoder.preprocess
    encoder.name = "renamed"
    query_encoder.ensure_exported(encoder)
    assert query_encoder.preprocess_of("renamed") == encoder.preprocess


@pytest.mark.parametrize(
    "places, expected",
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),  # all: as they come
        ([2, 4, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9, 2]),  # 2 was skipped in a batch that was committed
        ([1, 5, 9], [1, 5, 9]),
        ([0, 8, 9], [8, 9, 0]),  # the last batch is whole with two
    ],
)
def test_batches_are_those_of_one_run_that_nobody_killed(places, expected):
    items = [Item(str(place), "", lambda: b"") for place in places]
    assert [int(one.id) for one in whole_batches_first(items, places, 4, 10)] == expected
