"""Many files as one zip: whole, each under a name of its own, only what may be handed out, and never all in memory."""

import io
import zipfile
from collections import Counter

import pytest
from starlette.testclient import TestClient

from cli.serve import app, downloads, shown
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from retrieval import Retriever
from toy import ToyEncoder, picture


@pytest.fixture
def shelf(photos):
    """red.png, blue é.png, more/green.jpg; and more/RED.png."""
    picture(photos / "more" / "RED.png", (200, 0, 0))
    Retriever.build(str(photos), photos / ".mmr", ToyEncoder())[0].close()
    return Shelf(photos / ".mmr", "cpu", (), ToyEncoder())


@pytest.fixture
def client(shelf):
    made = app.make(Parts(Shelves([shelf])), Doors())
    with TestClient(made, "http://127.0.0.1:8750", raise_server_exceptions=False) as client:
        yield client


def asked(client, *uris):
    return client.post("/api/download", json={"ids": [shown.name_of(uri) for uri in uris]})


def unpacked(answer):
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_files_are_as_they_are_each_under_a_name_of_its_own(client, photos):
    answer = asked(client, "red.png", "more/RED.png", "blue é.png", "red.png")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="pictures.zip"'
    found = unpacked(answer)
    expected = {(photos / name).read_bytes() for name in ("red.png", "more/RED.png", "blue é.png")}
    assert {name.casefold() for name in found} == {"red.png", "red-2.png", "blue é.png"}
    assert set(found.values()) == expected


def test_what_may_not_be_handed_out_is_named_and_left_out(client, photos, tmp_path):
    secret = picture(tmp_path / "elsewhere" / "secret.png", (1, 2, 3))
    (photos / "red.png").unlink()
    (photos / "red.png").symlink_to(secret)
    (photos / "more" / "green.jpg").unlink()
    (photos / "more" / "RED.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    found = unpacked(asked(client, "red.png", "blue é.png", "more/green.jpg", "more/RED.png"))
    assert set(found) == {"blue é.png", "left out.txt"}
    lines = dict(line.split(": ", 1) for line in found["left out.txt"].decode().splitlines())
    assert set(lines) == {"red.png", "more/green.jpg", "more/RED.png"}
    assert lines["more/green.jpg"] == "no such file"
    assert "outside" in lines["red.png"]


def test_what_cannot_be_asked_for_is_a_line(client, monkeypatch):
    assert asked(client, "none.png").status_code == 404
    monkeypatch.setattr(downloads, "MOST", 2)
    answer = asked(client, "red.png", "blue é.png", "more/green.jpg")
    assert (answer.status_code, answer.json()["error"]) == (
        400, "3 files are more than 2 at once: choose fewer, or copy their paths",
    )  # fmt: skip
    assert client.post("/api/download", json={"ids": []}).status_code == 422
    assert client.post("/api/download", json={"ids": ["?"]}).status_code == 400


def test_no_more_than_a_part_is_held_at_once(shelf, photos, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 100)
    for name in ("red.png", "more/green.jpg"):
        with (photos / name).open("ab") as file:
            file.write(b"\0" * 10_000)
    parts = list(downloads.zipped(shelf, downloads._hits(shelf, [shown.name_of("red.png")] * 1)))
    assert len(parts) > 100
    assert max(map(len, parts)) < 300
    shelf.retriever.close()


def test_names_are_such_as_every_system_can_have():
    uris = ("a/b.png", "a/..", "a/c:d?.jpg", "a/\udcff.png", "a/" + "x" * 500 + ".png")
    names = ["b.png", "file", "c_d_.jpg", "_xff.png", "x" * 146 + ".png"]
    assert [downloads._name(uri) for uri in uris] == names
    taken = Counter()
    given = [downloads._unlike(name, taken) for name in ("a.png", "A.png", "a-2.png", "a.png", "a-2.png")]
    assert given == ["a.png", "A-2.png", "a-2-2.png", "a-3.png", "a-2-3.png"]
