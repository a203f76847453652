"""Index and search with a toy encoder whose answers are known: increments, removals, skips, refusals."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from indexes import Locked, NotAnIndex, Store, WrongEncoder
from retrieval import Retriever, find_index
from retrieval.errors import BadRequest
from toy import ToyEncoder


def build(photos, toy, index=None):
    retriever, report = Retriever.build(str(photos), index or photos / ".mmr", toy)
    with retriever:
        return {hit.uri for hit in retriever.search("red", 100)}, report


def test_words_and_pictures_find_their_color(photos, toy):
    retriever, report = Retriever.build(str(photos), photos / ".mmr", toy)
    assert (report.added, report.skipped) == (3, [])
    hits = retriever.search("a green field", 2)
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].uri == "more/green.jpg"
    assert hits[0].path == str(photos / "more" / "green.jpg")
    assert hits[0].caption == "a green field"
    assert hits[0].score == pytest.approx(1, abs=0.01)
    # A picture that is in the index is no answer to itself.
    by_picture = retriever.search(str(photos / "red.png"), 10)
    assert {hit.uri for hit in by_picture} == {"blue é.png", "more/green.jpg"}
    assert len(retriever.search("red", 100)) == 3
    retriever.close()


def test_only_new_and_changed_files_are_encoded(photos, toy):
    build(photos, toy)
    again = ToyEncoder()
    uris, report = build(photos, again)
    assert (again.images_seen, report.unchanged) == (0, 3)

    Image.new("RGB", (8, 8), (255, 0, 0)).save(photos / "new.png")
    Image.new("RGB", (9, 9), (0, 255, 0)).save(photos / "red.png")
    (photos / "blue é.png").unlink()
    uris, report = build(photos, again)
    assert (report.added, report.changed, report.removed, report.unchanged) == (1, 1, 1, 1)
    assert again.images_seen == 2
    assert uris == {"new.png", "red.png", "more/green.jpg"}
    with Retriever.open(photos / ".mmr", again) as retriever:
        assert retriever.search("red", 1)[0].uri == "new.png"


def test_a_picture_that_stops_decoding_disappears_and_is_listed(photos, toy):
    build(photos, toy)
    (photos / "red.png").write_bytes(b"no picture")
    uris, report = build(photos, toy)
    assert report.skipped == [("red.png", "not a picture of a known format")]
    assert uris == {"blue é.png", "more/green.jpg"}
    # It is looked at again the next time, and comes back when it is mended.
    assert build(photos, toy)[1].skipped == report.skipped
    Image.new("RGB", (8, 8), (255, 0, 0)).save(photos / "red.png")
    assert "red.png" in build(photos, toy)[0]


def test_another_encoder_is_refused_and_nothing_is_lost(photos, toy):
    build(photos, toy)
    other = ToyEncoder("another")
    for attempt in (lambda: build(photos, other), lambda: Retriever.open(photos / ".mmr", other)):
        with pytest.raises(WrongEncoder, match=r"was made with encoder toy \(toy-fingerprint\).*give --model toy"):
            attempt()
    assert len(build(photos, toy)[0]) == 3


def test_another_source_is_refused(photos, toy, tmp_path):
    build(photos, toy, tmp_path / "i.mmr")
    with pytest.raises(BadRequest, match="is the index of photos, not of"):
        build(photos / "more", toy, tmp_path / "i.mmr")


def test_a_bad_source_makes_no_index(tmp_path, toy):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="has no pictures"):
        build(tmp_path / "empty", toy)
    assert not (tmp_path / "empty" / ".mmr").exists()


def test_the_index_moves_with_its_folder(photos, toy, tmp_path):
    build(photos, toy)
    moved = photos.rename(tmp_path / "elsewhere")
    with Retriever.open(moved / ".mmr", toy) as retriever:
        assert retriever.search("red", 1)[0].path == str(moved / "red.png")
    assert build(moved, toy)[1].unchanged == 3


def test_the_index_of_a_parent_is_found_like_gits(photos, toy, monkeypatch):
    build(photos, toy)
    assert find_index(photos / "more") == photos / ".mmr"
    with pytest.raises(NotAnIndex, match="mmr index"):
        find_index(photos.parent)


def test_a_second_writer_waits_and_readers_read_on(photos, toy):
    build(photos, toy)
    with Store.open(photos / ".mmr", write=True):
        with pytest.raises(Locked):
            build(photos, toy)
        with Retriever.open(photos / ".mmr", toy) as retriever:
            assert len(retriever.search("red", 9)) == 3


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(photos, toy, k):
    build(photos, toy)
    with Retriever.open(photos / ".mmr", toy) as retriever, pytest.raises(BadRequest, match="at least 1"):
        retriever.search("red", k)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("  ", "query is empty"),
        ("./none.jpg", "no such picture"),
        ("none.jpg", "no such picture"),
        ("none.wav", "no such sound"),
    ],
)
def test_a_query_that_asks_nothing_is_said(photos, toy, query, message):
    build(photos, toy)
    with Retriever.open(photos / ".mmr", toy) as retriever, pytest.raises(BadRequest, match=message):
        retriever.search(query)


def test_killed_while_indexing_it_goes_on(tmp_path):
    """SIGKILL after the first commit: what was committed is found, and only the rest is encoded."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        Image.new("RGB", (8, 8), (255, number, 0)).save(photos / f"{number:02d}.png")
    script = f"""
    import os, signal, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from toy import ToyEncoder
    from retrieval import Retriever
    from retrieval.indexing import update
    ToyEncoder.bulk, update.COMMIT_SECONDS = 5, -1.0
    def progress(count, total):
        if count > 10:
            os.kill(os.getpid(), signal.SIGKILL)
    Retriever.build({str(photos)!r}, {str(photos / ".mmr")!r}, ToyEncoder(), on_progress=progress)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[1], check=False)
    assert run.returncode == -signal.SIGKILL
    toy = ToyEncoder()
    uris, report = build(photos, toy)
    assert (report.unchanged, report.added, toy.images_seen) == (10, 10, 10)
    assert len(uris) == 20


def test_what_is_written_is_a_plain_folder(photos, toy):
    build(photos, toy)
    assert sorted(path.name for path in (photos / ".mmr").iterdir()) == ["lock", "mmr.db", "segments"]
    with Store.open(photos / ".mmr") as store:
        assert store.manifest["encoder"] == {"name": "toy", "fingerprint": "toy-fingerprint", "folder": None}
        (record,) = [r for r in store.records(range(3)) if r.id == "more/green.jpg"]
        assert json.dumps(record.fields)
