"""What is new since an index was made: counted exactly, or seen at a glance that takes a bounded time."""

import os
import shutil
import time

import pytest

from indexes import Store
from retrieval import Retriever
from retrieval.indexing import changes, roots, skipped
from retrieval.indexing.changes import Changes
from retrieval.sources.registry import Options, parse_uri
from toy import ToyEncoder, picture


def index(root, *folders, options=None):
    source = parse_uri([str(root / folder) for folder in folders] or str(root), options)
    retriever, report = Retriever.build(source, root / ".mmr", ToyEncoder())
    retriever.close()
    skipped.write(root / ".mmr", report.skipped)


def age(root, seconds=1000):
    """The folders, and the index, as if all had been done that long ago."""
    with Store.open(root / ".mmr", write=True) as store:
        store.set_manifest(walked=store.manifest["walked"] - seconds)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, (time.time() - 2 * seconds,) * 2)


def seen(root, **limits):
    """(counted, at a glance)."""
    with Store.open(root / ".mmr") as store:
        return changes.count(store, roots.recorded(store)), changes.glance(store, **{"seconds": 10.0} | limits)


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "x/b.png", "x/y/c.png", "z/d.png"):
        picture(tmp_path / name)
    index(tmp_path)
    age(tmp_path)
    return tmp_path


def test_nothing_is_new(root):
    assert seen(root) == (Changes(), Changes())
    assert not Changes()


def new(root):
    picture(root / "x" / "new.png")
    picture(root / "more" / "deep" / "new.png")


def changed(root):
    picture(root / "x" / "other.png").replace(root / "x" / "b.png")


def gone(root):
    (root / "x" / "b.png").unlink()


def gone_with_its_folder(root):
    shutil.rmtree(root / "x")


def moved(root):
    (root / "x").rename(root / "w")


def left_out_from_now_on(root):
    (root / ".mmrignore").write_text("z/\n")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (new, Changes(new=2)),
        (changed, Changes(changed=1)),
        (gone, Changes(gone=1)),
        (gone_with_its_folder, Changes(gone=2)),
        (moved, Changes(new=2, gone=2)),
        (left_out_from_now_on, Changes(gone=1)),
    ],
)
def test_what_has_happened_is_counted_and_seen(root, what, expected):
    what(root)
    assert seen(root) == (expected, expected)
    index(root)
    assert seen(root) == (Changes(), Changes())


def test_a_folder_moved_in_with_its_old_time_is_seen(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    picture(elsewhere / "old" / "e.png")
    (elsewhere / "old").rename(root / "z" / "old")
    for folder in (root / "z" / "old", root / "z"):
        os.utime(folder, (1e9, 1e9))
    assert seen(root)[1] == Changes(new=1)


def test_written_over_in_place_is_counted_though_not_seen(root):
    with (root / "z" / "d.png").open("ab") as file:
        file.write(b"more")
    assert seen(root) == (Changes(changed=1), Changes())


def test_what_was_skipped_is_not_new_until_it_is_mended(root):
    for name in ("bad.png", "a bad\none.png"):
        (root / "z" / name).write_bytes(b"no picture")
    assert seen(root)[1] == Changes(new=2)
    index(root)
    age(root, 10)
    for name in ("bad.png", "a bad\none.png"):
        os.utime(root / "z" / name, (1e9, 1e9))
    assert seen(root) == (Changes(), Changes())
    picture(root / "z" / "bad.png")
    assert seen(root)[0] == Changes(new=1)


def test_odd_names_are_known_again(root):
    for name in (b"caf\xe9.png", "новый.png".encode(), b"new\nline.png", b"per%cent.png"):
        shutil.copy(root / "a.png", root / "x" / os.fsdecode(name))
    assert seen(root)[1] == Changes(new=4)
    index(root)
    assert seen(root) == (Changes(), Changes())


def test_several_folders_and_what_is_left_out_of_them(tmp_path):
    for name in ("a/0.png", "a/1.png", "b/1.png", "c/1.png", "a/no/1.png"):
        picture(tmp_path / name)
    index(tmp_path, "a", "b", options=Options(exclude=("no/",)))
    age(tmp_path)
    for name in ("b/2.png", "c/2.png", "a/no/2.png", "a/.hidden.png", "b/@eaDir/x.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "1.png").unlink()
    assert seen(tmp_path) == (Changes(new=1, gone=1), Changes(new=1, gone=1))


def test_a_loop_of_links_ends(root):
    (root / "x" / "loop").symlink_to(root)
    (root / "x" / "itself").symlink_to(root / "x" / "itself")
    assert seen(root) == (Changes(), Changes())


def test_a_glance_ends_in_time_and_says_that_it_did(root):
    new(root)
    for number in range(300):
        picture(root / "many" / f"{number}.png")
    found = seen(root, entries=100)[1]
    assert not found.whole
    assert 0 < found.new <= 101
    assert found.gone == 0  # what was not read is not gone
    assert str(found) == f"at least {found.new} new"
    assert seen(root, entries=2)[1].gone == 0
    assert seen(root, seconds=-1.0)[1] == Changes(whole=False)
    # The folder that changed last comes first.
    os.utime(root / "many", (1e9, 1e9))
    assert seen(root, entries=11)[1].new == 2


def test_an_index_that_cannot_be_renewed_says_nothing(root, monkeypatch):
    new(root)
    (root / "elsewhere.csv").write_text("image\na.png\n")
    Retriever.build(f"csv:{root}/elsewhere.csv", root / "t.mmr", ToyEncoder())[0].close()
    with Store.open(root / "t.mmr") as store:
        assert changes.glance(store) is None
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with Store.open(root / ".mmr") as store:
        assert changes.glance(store) is None


def test_the_list_of_what_was_skipped_keeps_what_it_is_not_about(tmp_path):
    skipped.write(tmp_path, [("a/x.png", "bad"), ("b/y\t1.png", "worse:\nfar")])
    file = skipped.write(tmp_path, [("a/z.png", "bad")], ("a/",))
    assert file.read_text() == "b/y\\t1.png\tworse:\\nfar\na/z.png\tbad\n"
    known = skipped.Skipped(tmp_path)
    assert [name in known for name in ("a/x.png", "b/y\t1.png", "a/z.png")] == [False, True, True]
    assert skipped.write(tmp_path, []).read_text() == ""
    assert not skipped.write(tmp_path / "none", []).exists()
