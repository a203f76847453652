"""Not seen is not gone: a disk, a folder or a file that cannot be read costs the index nothing, and is listed."""

import errno
import io
import os
import shutil

import pytest

from faulty import Cut, Faults
from indexes import Store
from retrieval import Retriever
from retrieval.datatypes import Item
from retrieval.errors import BadRequest, ImageError, Unreachable
from retrieval.images import load
from retrieval.indexing import changes, roots, skipped, unseen
from retrieval.indexing.changes import Changes
from retrieval.sources.registry import Options, parse_uri
from retrieval.sources.uri import unreadable
from tarred import sample, write_tar
from terminal import fails, mmr
from toy import ToyEncoder, picture


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "x/b.png", "x/y/c.png", "z/d.png"):
        picture(tmp_path / "root" / name)
    index(tmp_path / "root")
    return tmp_path / "root"


def index(root, source=None, **options):
    """Index a folder, or another source; its report, and the ids that the index has then."""
    uri = parse_uri(source or str(root), Options(**options))
    retriever, report = Retriever.build(uri, root / "i.mmr", ToyEncoder())
    with retriever:
        skipped.write(root / "i.mmr", report.skipped)
        return report, set(retriever.store.stamps())


def seen(root):
    with Store.open(root / "i.mmr") as store:
        return changes.count(store, roots.recorded(store)), changes.glance(store, seconds=10)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_folder_of_which_nothing_can_be_known(root, faults, code):
    faults.fail(root / "x", code)
    report, held = index(root)
    assert (held, report.unseen, report.removed) == (ALL, 2, 0)
    assert (seen(root)[0].gone, bool(seen(root)[1])) == (0, False)


ALL = {"a.png", "x/b.png", "x/y/c.png", "z/d.png"}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize(("folder", "count"), [("x", 2), ("x/y", 1), ("z", 1)])  # z is the last: nothing comes after it
def test_a_folder_that_cannot_be_listed_keeps_its_items(root, faults, code, folder, count):
    faults.fail(root / folder, code, ["scandir"])
    report, held = index(root)
    assert held == ALL
    assert report.skipped == [(folder, f"cannot be read: {os.strerror(code)}")]
    assert (report.removed, report.unseen, report.unchanged) == (0, count, 4 - count + 1 - 1)
    found, glanced = seen(root)
    assert (found.new, found.changed, found.gone, found.unseen) == (0, 0, 0, count)
    assert found.skipped == report.skipped
    assert not glanced
    faults.heal()
    shutil.rmtree(root / folder)
    report, held = index(root)
    assert (report.removed, report.unseen) == (count, 0)
    assert held == {name for name in ALL if not name.startswith(folder + "/")}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENXIO])
def test_a_file_that_cannot_be_read_stays(root, faults, code):
    faults.fail(root / "x" / "b.png", code)
    report, held = index(root)
    assert held == ALL
    assert report.skipped == [("x/b.png", f"cannot be read: {os.strerror(code)}")]
    assert (report.unseen, report.removed, report.changed) == (1, 0, 0)
    assert (seen(root)[0].unseen, bool(seen(root)[0]), bool(seen(root)[1])) == (1, False, False)
    faults.heal()
    assert index(root)[0].unchanged == 4
    assert seen(root) == (Changes(), Changes())


def test_a_file_that_changed_and_fails_half_way_stays(root, monkeypatch):
    path = root / "x" / "b.png"
    content = picture(path, (1, 2, 3)).read_bytes()
    os.utime(path, (1, 1))
    real = io.open

    def half(file, *args, **options):
        cut = isinstance(file, os.PathLike) and os.fspath(file) == str(path)
        return io.BufferedReader(Cut(content[:50])) if cut else real(file, *args, **options)

    monkeypatch.setattr(io, "open", half)
    report, held = index(root)
    assert (held, report.skipped) == (ALL, [("x/b.png", f"cannot be read: {os.strerror(errno.EIO)}")])
    with pytest.raises(Unreachable):
        load.decode(path)


def test_what_holds_something_else_now_that_is_no_picture_goes_and_is_listed(root):
    (root / "a.png").write_bytes(b"no picture")
    report, held = index(root)
    assert report.skipped == [("a.png", "not a picture of a known format")]
    assert (held, report.unseen) == (ALL - {"a.png"}, 0)


def test_the_same_bytes_that_do_not_decode_any_more_stay(root, monkeypatch):
    """It is not the picture that changed: a library or the memory is missing."""
    os.utime(root / "a.png", (1, 1))
    with Store.open(root / "i.mmr", write=True) as store:  # as if nothing were known of where it was
        records = [record for record in store.records(store.rows()) if record.id == "a.png"]
    item = Item("a.png", "a.png", root / "a.png")
    assert not unseen.is_lost(item, records[0].fields["key"])
    assert unseen.is_lost(item, "10:sha256-another")


@pytest.fixture
def outside(root, tmp_path):
    """The index of a folder, that does not lie in it."""
    Retriever.build(str(root), tmp_path / "i.mmr", ToyEncoder())[0].close()
    return tmp_path / "i.mmr"


def gone(root):
    root.rename(root.with_name("elsewhere"))


def empty(root):
    gone(root)
    root.mkdir()


def without_pictures(root):
    empty(root)
    (root / "notes.md").touch()


@pytest.mark.parametrize("happens", [gone, empty, without_pictures])
def test_a_root_that_is_gone_or_empty_is_refused_with_the_way_on(root, outside, happens):
    happens(root)
    uri = parse_uri(f"folder:{root}")
    said = r"root has no pictures now, and .*i.mmr holds 4 of it, which are kept: bring its disk back; .* add --gone"
    with pytest.raises(BadRequest, match=said):
        Retriever.build(uri, outside, ToyEncoder())
    with Store.open(outside) as store:
        assert len(store) == 4
        assert not changes.glance(store, seconds=10)
        with pytest.raises(BadRequest, match=said):
            changes.count(store, roots.recorded(store))
    with pytest.raises(BadRequest, match="no such folder: .*typo: check the path"):
        Retriever.build(parse_uri(f"folder:{root}/typo"), outside, ToyEncoder())
    retriever, report = Retriever.build(parse_uri(uri, Options(let_go=True)), outside, ToyEncoder())
    with retriever:
        assert (report.removed, len(retriever.store)) == (4, 0)


def test_one_root_of_several(tmp_path):
    for name in ("p/a.png", "q/b.png", "q/c.png"):
        picture(tmp_path / name)
    both = [str(tmp_path / "p"), str(tmp_path / "q")]
    assert index(tmp_path, both)[1] == {"p/a.png", "q/b.png", "q/c.png"}
    shutil.rmtree(tmp_path / "q")
    (tmp_path / "q").mkdir()
    with pytest.raises(BadRequest, match=r"q has no pictures now, .* holds 2 of it.*name the other folders.*--gone"):
        index(tmp_path, both)
    report, held = index(tmp_path, both, let_go=True)
    assert (report.removed, held) == (2, {"p/a.png"})


@pytest.mark.parametrize("inside", ["", "x"])
@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a stray picture"])
def test_a_disk_within_the_folders_that_is_not_mounted(root, outside, monkeypatch, inside, left):
    disk = root / inside
    there = {disk}
    monkeypatch.setattr(type(root), "is_mount", lambda path: path in there)
    monkeypatch.setattr(os.path, "ismount", lambda path: path in there)

    def again(**options):
        retriever, report = Retriever.build(parse_uri(str(root), Options(**options)), outside, ToyEncoder())
        with retriever:
            return report, set(retriever.store.stamps())

    assert again() == again()
    there.clear()
    shutil.move(disk, root.parent / "away")
    if left == "an empty folder" and inside:
        disk.mkdir()
    elif left == "a stray picture" or not inside:  # of a root nothing else is said: it is refused
        picture(disk / "stray.png", (0, 0, 255))
    report, held = again()
    assert held >= ALL
    assert report.skipped == [(inside or ".", "its disk is not mounted")]
    with Store.open(outside) as store:
        assert changes.count(store, roots.recorded(store)).gone == 0
        assert not changes.glance(store, seconds=10)
    assert again()[1] == held  # and so the next time
    lost = {name for name in ALL if name.startswith(inside)}
    assert again(let_go=True)[1] == held - lost
    assert again()[0].skipped == []


def test_a_root_that_cannot_be_read_is_refused(root, faults):
    faults.fail(root, errno.EACCES, ["scandir"])
    for let_go in (False, True):
        with pytest.raises(BadRequest, match=r"root cannot be read \(Permission denied\): check its permissions"):
            index(root, let_go=let_go)


def test_a_text_or_an_ignore_file_that_cannot_be_read(root, faults):
    (root / "x" / "b.txt").write_text("a beach")
    (root / "z" / ".mmrignore").write_text("e.png")
    picture(root / "z" / "e.png")
    os.utime(root / "x" / "b.png", (1, 1))
    index(root)
    faults.fail(root / "x" / "b.txt")
    faults.fail(root / "z" / ".mmrignore", errno.EACCES)
    report, held = index(root)
    assert held == ALL  # e.png is not taken in, and b.png keeps its caption
    assert [uri for uri, _ in report.skipped] == ["x/b.png", "z"]
    with Store.open(root / "i.mmr") as store:
        (beach,) = [record for record in store.records(store.rows()) if record.id == "x/b.png"]
    assert beach.fields["caption"] == "a beach"


def test_pictures_of_a_table_that_are_on_a_share(tmp_path):
    share = tmp_path / "share"
    for name in ("a.png", "b.png"):
        picture(share / name)
    (tmp_path / "t.csv").write_text("image\nshare/a.png\nshare/b.png\n")
    table = f"csv:{tmp_path}/t.csv"
    assert index(tmp_path, table)[1] == {"share/a.png", "share/b.png"}
    share.rename(tmp_path / "away")
    share.mkdir()
    report, held = index(tmp_path, table)
    assert held == {"share/a.png", "share/b.png"}
    assert report.skipped == [("share/a.png", "no such file"), ("share/b.png", "no such file")]
    assert (report.unseen, report.removed) == (2, 0)
    report, held = index(tmp_path, table, let_go=True)
    assert held == set()


@pytest.mark.parametrize("fault", ["gone", "cut", "EIO"])
def test_a_tar_that_cannot_be_read_keeps_its_items(tmp_path, faults, fault):
    for number in range(2):
        write_tar(tmp_path / "s" / f"{number}.tar", sample("a", "red") + sample("b", "blue"))
    source = f"webdataset:{tmp_path}/s/{{0..1}}.tar"
    every = {f"{number}.tar/{key}" for number in range(2) for key in "ab"}
    assert index(tmp_path, source)[1] == every
    tar = tmp_path / "s" / "1.tar"
    if fault == "gone":
        tar.unlink()
    elif fault == "cut":
        tar.write_bytes(tar.read_bytes()[:700])
    else:
        faults.fail(tar)
    report, held = index(tmp_path, source)
    assert held == every
    assert report.unseen == (1 if fault == "cut" else 2)
    assert report.removed == 0
    assert {uri.split("/")[0] for uri, _ in report.skipped} == {"1.tar"}


def test_a_glob_of_tars_whose_folder_cannot_be_listed(tmp_path, faults):
    for name in ("p/0.tar", "q/0.tar"):
        write_tar(tmp_path / name, sample("a", "red"))
    source = f"webdataset:{tmp_path}/*/*.tar"
    assert index(tmp_path, source)[1] == {"p/0.tar/a", "q/0.tar/a"}
    faults.fail(tmp_path / "q", errno.EACCES, ["scandir"])
    report, held = index(tmp_path, source)
    assert (held, report.unseen, report.skipped[0][0]) == ({"p/0.tar/a", "q/0.tar/a"}, 1, "q")


def test_another_encoder_does_not_lose_what_cannot_be_seen(root, faults):
    faults.fail(root / "x", errno.EIO, ["scandir"])
    faults.fail(root / "a.png")
    other = ToyEncoder("other")
    with pytest.raises(BadRequest, match=r"3 pictures of .* cannot be read now, so it stays as it was.*--gone"):
        Retriever.build(str(root), root / "i.mmr", other, another_encoder=True)
    with Store.open(root / "i.mmr") as store:
        assert (set(store.stamps()), store.manifest["encoder"]["fingerprint"]) == (ALL, "toy-fingerprint")
    gone = parse_uri(str(root), Options(let_go=True))
    retriever, report = Retriever.build(gone, root / "i.mmr", other, another_encoder=True)
    with retriever:
        assert set(retriever.store.stamps()) == {"z/d.png"}


def test_a_place_stands_for_what_is_below_it():
    assert unseen.is_below("x/y/z.png", {"x/y"})
    assert unseen.is_below("z.png", {"."})
    assert not unseen.is_below("x/yy/z.png", {"x/y"})
    assert not unseen.is_below("x", {"x"})
    with pytest.raises(ImageError, match="away"):
        load.load(unreadable("x", "away"))


# ---------------------------------------------------------------- on the command line


def test_what_is_said_of_it(root, trained, faults):
    assert mmr("index", root, "--index", root / "j.mmr", "--model", trained).exit_code == 0
    faults.fail(root / "x", errno.EACCES, ["scandir"])
    result = mmr("index", root, "--index", root / "j.mmr")
    assert result.exit_code == 4
    assert "4 pictures (0 new, 0 changed, 0 moved, 0 removed, 2 as before, 2 kept unseen, 1 skipped)" in result.stdout
    assert "  x: cannot be read: Permission denied" in result.stderr
    assert "2 stay that cannot be looked at now: --gone lets go of them" in result.stderr
    checked = mmr("info", "--index", root / "j.mmr", "--check")
    assert checked.exit_code == 4
    assert "gone          0\nunseen        2" in checked.stdout
    assert "x: cannot be read: Permission denied" in checked.stderr
    asked = ("search", "a dog", "--index", root / "j.mmr")
    assert (mmr(*asked).stderr, len(mmr(*asked).stdout.splitlines())) == ("", 4)
    updated = mmr(*asked, "--update")
    assert (updated.exit_code, len(updated.stdout.splitlines())) == (0, 4)
    assert "x: cannot be read: Permission denied" in updated.stderr
    assert "2 removed" in mmr("index", root, "--index", root / "j.mmr", "--gone").stdout


def test_an_empty_mount_point(root, tmp_path, trained):
    away = tmp_path / "i.mmr"
    assert mmr("index", root, "--index", away, "--model", trained).exit_code == 0
    shutil.rmtree(root)
    root.mkdir()
    for words in (("index", root), ("index",), ("search", "a dog", "--update"), ("info", "--check")):
        fails(mmr(*words, "--index", away), 2, "root has no pictures now", "holds 4 of it", "add --gone to `mmr index`")
    assert len(mmr("search", "a dog", "--index", away).stdout.splitlines()) == 4
    assert "4 removed" in mmr("index", "--gone", "--index", away).stdout
