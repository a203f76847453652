"""What happens to an index while it is served: each answer is right or a line of words, and it is taken up again."""

import os
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from cli.serve import app, browsing, shown
from cli.serve import shelf as shelf_module
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from indexes import Store, WrongEncoder, database
from retrieval import Retriever, retriever
from retrieval.indexing import repair
from toy import ToyEncoder, picture

HERE = "http://127.0.0.1:8750"
KEY = {"Authorization": "Bearer secret"}


class Other(ToyEncoder):
    """Sees one number more."""

    dim = 5

    def encode_images(self, images):
        return np.pad(super().encode_images(images), ((0, 0), (0, 1)))

    def encode_texts(self, texts):
        return np.pad(super().encode_texts(texts), ((0, 0), (0, 1)))


class Served:
    """Two indexes that are served: one that things happen to, and one that goes on."""

    def __init__(self, changed, steady):
        self.shelves = [Shelf(path, "cpu", (), ToyEncoder()) for path in (changed, steady)]
        parts = Parts(Shelves(self.shelves), may_write=True)
        self.client = TestClient(app.make(parts, Doors(write="secret")), HERE, raise_server_exceptions=False)
        self.close = parts.close

    def look(self):
        self.shelves[0].look()

    def asked(self, **more):
        return self.client.get("/api/search", params={"q": "red", "k": 1, **more})

    def answers(self):
        """It answers rightly, and is ready."""
        assert [hit["uri"] for hit in self.asked().json()["hits"]] == ["red.png"]
        assert self.client.get("/readyz").json() == {"ready": True, "problems": {}}

    def refuses(self, *words):
        """Every route of the index says why, in one line; the other index, and the server, go on."""
        name = shown.name_of("red.png")
        routes = ["search?q=red", "search", f"items/{name}", f"items/{name}/thumb", f"items/{name}/file", "facets",
                  "facets?where=width>3", "duplicates", "captions?q=red", "map"]  # fmt: skip
        said = [self.client.get(f"/api/{route}") for route in routes]
        label = {"ids": [name], "name": "kind", "value": "warm"}
        said.append(self.client.post("/api/labels", json=label, headers=KEY))
        said.append(self.client.post("/knn-service", content=b'{"text": "red"}'))
        said.append(self.client.post("/v1/embeddings", json={"input": "red"}))
        for answer in said:
            assert answer.status_code == 503, (answer.url, answer.text)
            line = answer.json()["error"]
            assert all(word in line for word in words), line
            assert "\n" not in line
            assert answer.headers["retry-after"] == "1"
        ready = self.client.get("/readyz")
        assert (ready.status_code, list(ready.json()["problems"])) == (503, [self.shelves[0].name])
        assert self.asked(index=self.shelves[1].name).status_code == 200
        for route in ("/healthz", "/metrics", "/api/info", "/indices-list"):
            assert self.client.get(route).status_code == 200


@pytest.fixture
def index(photos, toy):
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    return photos / ".mmr"


@pytest.fixture
def served(index, tmp_path):
    shutil.copytree(index, tmp_path / "steady.mmr")
    made = Served(index, tmp_path / "steady.mmr")
    made.answers()
    yield made
    made.close()


def rewritten(file, change):
    """The file's content is changed where it lies; the content that it had."""
    before = file.read_bytes()
    content = bytearray(before)
    change(content)
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 1))
    return before


# ---------------------------------------------------------------- gone, and back


@pytest.mark.parametrize("way", ["moved", "copied"])
def test_an_index_that_is_removed_is_said_and_served_again_when_it_is_back(served, index, tmp_path, way):
    shutil.copytree(index, tmp_path / "kept")
    index.rename(tmp_path / "away")
    served.look()
    served.refuses("no index at", "mmr index FOLDER")
    (tmp_path / "away").rename(index) if way == "moved" else (tmp_path / "kept").rename(index)
    served.look()
    served.answers()


def test_an_empty_folder_in_its_place_is_no_index(served, index, tmp_path):
    index.rename(tmp_path / "away")
    index.mkdir()
    served.look()
    served.refuses("no index at")
    (index / "mmr.db").write_bytes(b"something else" * 1000)
    served.look()
    served.refuses("mmr.db")
    shutil.rmtree(index)
    (tmp_path / "away").rename(index)
    served.look()
    served.answers()


def test_another_index_in_its_place_shares_nothing_with_it(served, index, photos, toy):
    """Both are at the same commit: what was kept of the first, by that number, must not answer for the second."""
    assert served.client.get("/api/facets").json()["total"] == 3
    assert len(served.asked(k=9, where="width >= 10").json()["hits"]) == 3
    assert len(served.client.get("/api/map").json()["points"]) == 3
    assert served.client.get("/api/duplicates").json()["count"] == 0
    first = served.asked().json()["generation"]
    shutil.rmtree(index)
    (photos / "more" / "green.jpg").unlink()
    (photos / "red.png").unlink()
    picture(photos / "other red.png", (254, 0, 0))
    Retriever.build(str(photos), index, toy)[0].close()
    served.look()
    answer = served.asked(k=9, where="width >= 8").json()
    assert (answer["generation"], [hit["uri"] for hit in answer["hits"]]) == (first, ["other red.png", "blue é.png"])
    assert served.client.get("/api/facets").json()["total"] == 2
    assert len(served.client.get("/api/map").json()["points"]) != 3
    assert [hit["uri"] for hit in served.client.get("/api/search").json()["hits"]] != []
    assert served.client.get("/api/search").json()["total"] == 2


def test_an_older_copy_in_its_place_is_opened_anew(served, index, photos, toy, tmp_path):
    shutil.copytree(index, tmp_path / "backup")
    picture(photos / "new red.png", (255, 0, 0))
    Retriever.build(str(photos), index, toy)[0].close()
    served.look()
    assert served.asked().json()["total"] == 4
    for file in (tmp_path / "backup").rglob("*.*"):  # over what is there, as `cp -r` does
        with (index / file.relative_to(tmp_path / "backup")).open("r+b") as there:
            there.write(file.read_bytes())
            there.truncate()
    served.look()
    answer = served.asked().json()
    assert (answer["total"], answer["hits"][0]["uri"]) == (3, "red.png")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are read from /proc")
def test_what_was_opened_before_is_closed(served, index, tmp_path):
    counts = []
    for number in range(4):
        shutil.copytree(index, tmp_path / f"copy{number}")
        shutil.rmtree(index)
        (tmp_path / f"copy{number}").rename(index)
        served.look()
        served.answers()
        counts.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
    assert counts[1:] == counts[:1] * 3


# ---------------------------------------------------------------- damaged, and mended


@pytest.mark.parametrize("place", [0, 24, 100, 5000])
def test_a_database_that_was_written_over_is_said_and_read_again_when_it_is_mended(served, index, place):
    def spoil(content):
        content[place : place + 3000] = b"\xa5" * len(content[place : place + 3000])

    before = rewritten(index / "mmr.db", spoil)
    served.look()
    if served.shelves[0].problem:
        served.refuses("mmr.db", "is damaged" if place else "")
    else:  # SQLite has what it read: the answers are still those
        served.answers()
    rewritten(index / "mmr.db", lambda content: content.__setitem__(slice(None), before))
    served.look()
    served.answers()


def test_a_record_that_was_written_over_answers_nobody(served, index):
    with sqlite3.connect(index / "mmr.db") as other:
        other.execute("UPDATE items SET fields = replace(fields, 'red.png', 'RED.png')")
    for _ in range(2):
        answer = served.asked()
        assert (answer.status_code, "is damaged" in answer.json()["error"]) == (503, True)
        served.look()
    with sqlite3.connect(index / "mmr.db") as other:
        other.execute("UPDATE items SET fields = replace(fields, 'RED.png', 'red.png')")
    served.answers()


def test_rows_that_were_written_over_answer_nobody_even_before_they_are_looked_at(served, index):
    (file,) = (index / "segments").iterdir()
    before = rewritten(file, lambda content: content.__setitem__(slice(None), content[::-1]))
    answer = served.asked()
    assert (answer.status_code, answer.json()["error"].endswith("ask again in a moment")) == (503, True)
    for _ in range(2):
        served.look()
        served.refuses("vectors that are not what was written", "mmr verify --repair")
    rewritten(file, lambda content: content.__setitem__(slice(None), before))
    served.look()
    served.answers()


def test_rows_that_are_repaired_while_it_is_served_answer_again(served, index, toy):
    (file,) = (index / "segments").iterdir()
    rewritten(file, lambda content: content.__setitem__(slice(0, 8), b"\0" * 8))
    served.look()
    served.refuses("vectors that are not what was written", "mmr verify --repair")
    with Store.open(index, write=True) as store:
        assert repair.repair(store, toy).repaired == 1
    served.look()
    served.answers()


def test_rows_that_are_only_touched_are_read_once_and_answer(served, index, monkeypatch):
    (file,) = (index / "segments").iterdir()
    file.touch()
    read = []
    monkeypatch.setattr("cli.collection._unsound", lambda store: read.append(store.generation) or "")
    for _ in range(3):
        served.look()
        served.answers()
    assert len(read) == 1


@pytest.mark.parametrize("change", ["short", "gone"])
def test_rows_that_are_gone_are_said(served, index, change):
    (file,) = (index / "segments").iterdir()
    before = file.read_bytes()
    file.unlink()
    if change == "short":
        file.write_bytes(before[:-2])
    served.look()
    served.refuses("000001.f16", "restore it")
    file.write_bytes(before)
    served.look()
    served.answers()


def test_rows_that_are_cut_short_where_they_lie_are_not_read(served, index):
    """What is mapped and not there any more would end the process."""
    (file,) = (index / "segments").iterdir()
    before = file.read_bytes()
    with file.open("r+b") as opened:
        opened.truncate(0)
    assert served.asked().status_code == 503
    assert served.client.get("/api/captions", params={"q": "red"}).status_code == 503
    served.look()
    served.refuses("has 0 bytes instead of")
    file.write_bytes(before)
    served.look()
    served.answers()


# ---------------------------------------------------------------- in use by others


@pytest.fixture
def hasty(monkeypatch):
    """Nothing is waited for long."""
    monkeypatch.setattr(retriever, "_WAIT", 0.05)
    monkeypatch.setattr(browsing, "WRITER", 0.05)


def test_a_database_that_a_writer_keeps_to_itself_is_said(hasty, index, tmp_path):
    shutil.copytree(index, tmp_path / "steady.mmr")
    served = Served(index, tmp_path / "steady.mmr")
    served.answers()
    other = sqlite3.connect(index / "mmr.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert served.asked().status_code == 503  # before anybody looked
    served.look()
    served.refuses("another process is writing to", "wait for it, then try again")
    other.execute("ROLLBACK")
    served.look()
    served.answers()
    other.close()
    served.close()


def test_who_waits_in_line_for_a_writer_does_not_wait_again(index):
    """Requests take turns on the database: each would wait as long as the one before it."""
    with Store.open(index, wait=0.2) as store:
        other = sqlite3.connect(index / "mmr.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        waited = []
        for _ in range(5):
            started = time.monotonic()
            with pytest.raises(database.Locked, match="another process is writing"):
                store.stamps()
            waited.append(time.monotonic() - started > 0.15)
        assert waited == [True, False, False, False, False]
        other.execute("ROLLBACK")
        assert len(store.stamps()) == 3
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with pytest.raises(database.Locked):
            store.stamps()
        assert time.monotonic() - started > 0.15
        other.close()


def test_a_label_waits_shortly_for_who_writes(hasty, served, index, monkeypatch):
    label = {"ids": [shown.name_of("red.png")], "name": "kind", "value": "warm"}
    with Store.open(index, write=True):
        answer = served.client.post("/api/labels", json=label, headers=KEY)
        assert (answer.status_code, "another process is writing" in answer.json()["error"]) == (503, True)
        assert answer.headers["retry-after"] == "1"
        served.answers()  # who reads is not kept from it
    assert served.client.post("/api/labels", json=label, headers=KEY).json() == {"labelled": 1}


# ---------------------------------------------------------------- another encoder


@pytest.mark.parametrize("way", ["made again", "encoded again"])
def test_an_index_of_another_encoder_is_not_asked_with_the_old_one(served, index, photos, way):
    other = Other("other-fingerprint")
    if way == "made again":
        shutil.rmtree(index)
    Retriever.build(str(photos), index, other, another_encoder=True)[0].close()
    for _ in range(3):  # looking again must not take the old state for the new one
        served.look()
        served.refuses("was made with encoder toy (other-fingerprint)", "toy-fingerprint")
    Retriever.build(str(photos), index, ToyEncoder(), another_encoder=True)[0].close()
    served.look()
    served.answers()


def test_while_the_new_encoder_is_loaded_nobody_asks_its_vectors_with_the_old_one(served, index, photos, monkeypatch):
    Retriever.build(str(photos), index, Other("other-fingerprint"), another_encoder=True)[0].close()
    seen = []

    def slowly(*given, **named):
        seen.append(served.asked())
        raise WrongEncoder("not yet: ask again")

    monkeypatch.setattr(Retriever, "open", slowly)
    served.look()
    (meanwhile,) = seen
    assert meanwhile.status_code == 503 or meanwhile.json()["hits"][0]["uri"] == "red.png"


def test_a_state_that_was_collected_is_not_followed_to_another_encoder(index, photos):
    with Retriever.open(index, ToyEncoder()) as opened:
        Retriever.build(str(photos), index, Other("other-fingerprint"), another_encoder=True)[0].close()

        def outdated(store):
            from indexes import Outdated

            raise Outdated("collected")

        with pytest.raises(WrongEncoder, match="encoded again, with another encoder"):
            opened.whole(outdated)
        assert opened.search("red", 1)[0].uri == "red.png"  # of the state that it had


# ---------------------------------------------------------------- whoever looks


def test_who_looks_goes_on_whatever_is_found(served, monkeypatch):
    found = [sqlite3.OperationalError("disk I/O error"), ValueError("a bug\nof two lines"), PermissionError("no")]
    real = served.shelves[0].collection.now

    def now():
        if found:
            raise found.pop(0)
        return real()

    monkeypatch.setattr(served.shelves[0].collection, "now", now)
    for reason in ("disk I/O error", "a bug", "no"):
        served.look()
        served.refuses(f"it cannot be read ({reason})", "mmr verify")
    served.look()
    served.answers()


def test_each_is_looked_at_by_itself(index, tmp_path, monkeypatch):
    """One that takes long does not keep the others from their newest state; nor does its end keep the server's."""
    import threading

    monkeypatch.setattr(shelf_module, "LOOKS_EVERY", 0.01)
    shutil.copytree(index, tmp_path / "steady.mmr")
    shelves = [Shelf(path, "cpu", (), ToyEncoder()) for path in (index, tmp_path / "steady.mmr")]
    released, looked = threading.Event(), threading.Event()
    monkeypatch.setattr(shelves[0].collection, "now", lambda: released.wait(10))
    monkeypatch.setattr(shelves[1].collection, "now", looked.set)
    both = Shelves(shelves)
    both.start()
    assert looked.wait(10)
    released.set()
    both.close()


def test_a_disk_that_fails_is_the_servers_trouble_and_not_its_fault(served, monkeypatch):
    def broken(*given):
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    monkeypatch.setattr("indexes.items.record", broken)
    answer = served.asked()
    assert answer.status_code == 503
    assert answer.json()["error"] == "the machine failed (disk I/O error): check the disk, then ask again"


def test_where_others_ask_no_folder_of_this_machine_is_named(index, tmp_path):
    parts = Parts(Shelves([Shelf(index, "cpu", (), ToyEncoder())]), local=False)
    client = TestClient(app.make(parts, Doors()), HERE, raise_server_exceptions=False)
    index.rename(tmp_path / "away")
    next(iter(parts.shelves)).look()
    said = [client.get("/api/search").json()["error"], *client.get("/readyz").json()["problems"].values()]
    assert said == ["no index at photos: have it made with `mmr index FOLDER`"] * 2
    assert str(tmp_path) not in client.get("/api/info").text
    parts.close()
