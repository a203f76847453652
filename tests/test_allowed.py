"""What of an index may be handed out: nothing outside the folders that were named, nothing that is no picture."""

import io
import os
import tarfile

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from indexes import Record, Store
from retrieval.datatypes import Hit
from retrieval.errors import ImageError
from retrieval.images import load
from retrieval.indexing import catalog
from retrieval.sources.allowed import OUTSIDE, Allowed
from retrieval.sources.within import InTable, InTar
from terminal import mmr
from toy import picture


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A person's home with a private picture and a key, and a folder with an index that came from elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    picture(tmp_path / "private" / "passport.png")
    (tmp_path / "key.txt").write_text("secret")
    picture(tmp_path / "sent" / "cat.png")
    (tmp_path / "sent" / "key.png").write_text("secret under another name")
    return tmp_path


def hit(uri, within=None):
    return Hit(1, 0.5, uri, None, (), uri, within=within)


def refused(hand_out, uri, within=None):
    with pytest.raises(ImageError) as caught:
        hand_out(hit(uri, within))
    return str(caught.value)


@pytest.mark.parametrize(
    "uri",
    ["../private/passport.png", "../key.txt", "/etc/passwd", "there/passport.png", "passport.png", "no/../../key.txt"],
)
def test_nothing_outside_its_folder(home, uri):
    sent = home / "sent"
    (sent / "there").symlink_to(home / "private")
    (sent / "passport.png").symlink_to(home / "private" / "passport.png")
    own = Allowed.of(str(sent), sent / ".mmr")
    for hand_out in (own.file, own.picture, own.content):
        assert refused(hand_out, uri) == OUTSIDE
    if uri.endswith("passport.png"):
        more = Allowed.of(str(sent), sent / ".mmr", [home / "private"])
        assert more.file(hit(uri)) == (home / "private" / "passport.png").resolve()


def test_nothing_that_is_no_picture_and_nothing_that_is_no_file(home):
    sent = home / "sent"
    (sent / "circle.png").symlink_to("circle.png")
    os.mkfifo(sent / "pipe.png")
    own = Allowed.of(str(sent), sent / ".mmr")
    assert own.file(hit("cat.png")) == (sent / "cat.png").resolve()
    assert own.file(hit("none/../cat.png")) == (sent / "cat.png").resolve()
    assert "not a picture" in refused(own.file, "key.png")
    for uri in ("gone.png", "circle.png", "pipe.png", "", "a\0b.png"):
        assert refused(own.file, uri) in ("no such file", OUTSIDE)
    assert (
        refused(Allowed.of(None, sent / ".mmr").file, "cat.png") == "its source is no file that could be opened again"
    )


def test_a_root_that_is_all_of_a_disk_or_a_home_was_named_by_nobody(home):
    for root in ("/", str(home), str(home.parent)):
        elsewhere = Allowed.of(root, home / "sent" / "i.mmr")
        assert refused(elsewhere.file, str(home / "private" / "passport.png")) == OUTSIDE
    own = Allowed.of(str(home), home / ".mmr")  # who indexes a home, does so there
    assert own.file(hit("private/passport.png")) == (home / "private" / "passport.png").resolve()


def test_of_several_folders_each_counts_and_not_what_lies_between(home, trained, monkeypatch):
    """Their root is the home, which nobody named."""
    picture(home / "other" / "dog.png")
    (home / "elsewhere").mkdir()
    index = home / "elsewhere" / "i.mmr"
    assert mmr("index", home / "sent", home / "other", "--index", index, "--model", trained).exit_code == 4
    assert mmr("search", "a", "--index", index, "--copy-to", home / "out").exit_code == 0
    assert sorted(path.name[4:] for path in (home / "out").iterdir()) == ["cat.png", "dog.png"]
    with Store.open(index) as store:
        several = catalog.allowed(store)
    assert refused(several.file, "private/passport.png") == OUTSIDE
    assert several.file(hit("other/dog.png")) == (home / "other" / "dog.png").resolve()
    crafted = Allowed.of(str(home), index, (), ("..", "/", "."))
    assert crafted.folders == ()


def test_files_that_hold_pictures_are_held_to_the_same(home):
    """A tar outside, and a table inside whose cell names a file outside."""
    with tarfile.open(home / "private" / "t.tar", "w") as tar:
        content = io.BytesIO()
        Image.new("RGB", (8, 8)).save(content, "PNG")
        info = tarfile.TarInfo("a.png")
        info.size = len(content.getvalue())
        tar.addfile(info, io.BytesIO(content.getvalue()))
    sent = home / "sent"
    pyarrow.parquet.write_table(pyarrow.table({"image": ["../private/passport.png", "cat.png"]}), sent / "p.parquet")
    own = Allowed.of(str(sent), sent / ".mmr")
    in_tar = InTar("../private/t.tar", "a.png", 512, info.size)
    assert refused(own.picture, "a.png", in_tar) == OUTSIDE
    rows = [InTable("p.parquet", row, "image") for row in (0, 1)]
    assert refused(own.picture, "0", rows[0]) == OUTSIDE
    assert own.picture(hit("1", rows[1])).size == (8, 8)
    above = Allowed.of(str(home / "private"), home / "private" / ".mmr")
    inside = in_tar._replace(file="t.tar")
    assert above.picture(hit("a.png", inside)).size == (8, 8)
    assert refused(above.file, "a.png", inside) == "lies within another file"


def test_a_search_hands_out_what_is_allowed_and_says_what_is_not(home, trained, monkeypatch):
    """An index whose records name a private picture, a key and a picture that is a text."""
    sent = home / "sent"
    assert mmr("index", sent, "--model", trained).exit_code == 4
    with Store.open(sent / ".mmr", write=True) as store:
        (vector,) = (segment.vectors[:1].astype("f4") for segment in store.segments)
        store.add(vector.repeat(3, 0), [Record(uri, "", {"uri": uri}) for uri in (
            "../private/passport.png", "../key.txt", "key.png")])  # fmt: skip
    opened = []
    monkeypatch.setattr("typer.launch", lambda path: opened.append(path) or 0)
    asked = ("search", "a cat", "--index", sent / ".mmr", "--copy-to", home / "out", "--html", home / "page.html")
    result = mmr(*asked)
    assert result.exit_code == 4
    assert [path.name[4:] for path in (home / "out").iterdir()] == ["cat.png"]
    assert (home / "page.html").read_text().count("data:image/jpeg") == 1
    assert "3 skipped:" in result.stderr
    assert f"  ../private/passport.png: {OUTSIDE}" in result.stderr
    assert f"--allow {home} hands out what lies below there too" in result.stderr  # the passport and the key
    mmr("search", "a cat", "--index", sent / ".mmr", "--open", "-k", 9, "--where", "uri contains 'passport'")
    assert opened == []
    more = mmr(*asked[:4], "--copy-to", home / "more", "--allow", home / "private")
    assert sorted(path.name[4:] for path in (home / "more").iterdir()) == ["cat.png", "passport.png"]
    assert "2 skipped:" in more.stderr
    wrong = mmr(*asked[:4], "--copy-to", home / "new", "--allow", home / "none")
    assert (wrong.exit_code, "check --allow" in wrong.stderr) == (2, True)


def test_looking_is_cheap(home, monkeypatch):
    """A file is decoded small to see what it is."""
    seen = []
    decode = load.decode
    monkeypatch.setattr(load, "decode", lambda file, size, name: seen.append(size) or decode(file, size, name))
    Allowed.of(str(home / "sent"), home / "sent" / ".mmr").file(hit("cat.png"))
    assert seen == [64]
