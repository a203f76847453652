"""Removed stays removed: through touches, moves and another root, until it is readmitted or holds something else."""

import json
import os
import shutil

import pytest

from indexes import Store, StoreError
from retrieval import Retriever
from retrieval.indexing import called, changes, roots
from retrieval.indexing.changes import Changes
from retrieval.indexing.removed import FILE, Removal, Removed
from retrieval.sources.registry import parse_uri
from tarred import sample, write_tar
from terminal import fails, mmr
from toy import ToyEncoder, picture

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "photos"
    for name, colour in {"a.png": RED, "x/b.png": GREEN, "x/c.png": BLUE}.items():
        picture(root / name, colour)
    index(root)
    return root


def index(root, source=None, **how):
    """(report, ids that the index has then)."""
    retriever, report = Retriever.build(source or str(root), root / ".mmr", ToyEncoder(), **how)
    with retriever:
        return report, set(retriever.store.stamps())


def remove(root, *names):
    result = mmr("rm", *names, "--yes", "--index", root / ".mmr")
    assert result.exit_code == 0, result.output


def seen(root):
    with Store.open(root / ".mmr") as store:
        return changes.count(store, roots.recorded(store)), changes.glance(store, seconds=10)


def touch(root):
    os.utime(root / "a.png", (1, 1))


def move(root):
    (root / "a.png").rename(root / "x" / "new name.png")


@pytest.mark.parametrize("happens", [lambda root: None, touch, move])
def test_removed_stays_removed(root, happens):
    remove(root, "a.png")
    assert seen(root) == (Changes(), Changes())
    happens(root)
    assert seen(root)[0] == Changes()
    for _ in range(2):
        report, held = index(root)
        assert held == {"x/b.png", "x/c.png"}
        assert (report.left_out, report.added, report.removed, report.unchanged) == (1, 0, 0, 2)
        assert seen(root) == (Changes(), Changes())
    report, held = index(root, readmit=True)
    assert (len(held), report.added, report.left_out) == (3, 1, 0)
    assert index(root)[0].unchanged == 3
    assert len(Removed(root / ".mmr")) == 0


def test_what_holds_something_else_comes_back(root):
    remove(root, "a.png")
    picture(root / "a.png", BLUE)
    os.utime(root / "a.png", (1, 1))
    assert seen(root) == (Changes(new=1), Changes(new=1))
    report, held = index(root)
    assert (report.added, report.left_out, "a.png" in held) == (1, 0, True)
    assert len(Removed(root / ".mmr")) == 0


def test_what_went_away_and_comes_back_is_still_removed(root):
    remove(root, "a.png")
    shutil.copy2(root / "a.png", root.parent / "kept.png")
    (root / "a.png").unlink()
    assert index(root)[0].left_out == 0
    shutil.copy2(root.parent / "kept.png", root / "a.png")
    assert index(root)[0].left_out == 1


def test_a_copy_of_what_was_removed_is_another_item(root):
    remove(root, "a.png")
    shutil.copy(root / "a.png", root / "copy.png")
    report, held = index(root)
    assert (report.added, report.left_out, "copy.png" in held) == (1, 1, True)


def test_what_moves_and_is_in_the_index_is_not_taken_for_what_was_removed(root):
    """Of two of one content one was removed; the other one gets another name."""
    shutil.copy(root / "a.png", root / "twin.png")
    index(root)
    remove(root, "a.png")
    (root / "a.png").unlink()
    (root / "twin.png").rename(root / "renamed.png")
    report, held = index(root)
    assert (report.moved, report.left_out, "renamed.png" in held) == (1, 0, True)


def test_a_kill_between_the_list_and_the_rows_is_made_up_for(root):
    with Store.open(root / ".mmr") as store:
        stamp = store.stamps()["a.png"]
    Removed(root / ".mmr").add([Removal("a.png", stamp)])
    report, held = index(root)
    assert (held, report.removed) == ({"x/b.png", "x/c.png"}, 1)


def test_another_root_and_another_encoder_know_it_too(root):
    picture(root.parent / "more" / "d.png")
    index(root.parent, str(root))
    mmr("rm", "a.png", "--yes", "--index", root.parent / ".mmr")
    both = parse_uri([str(root), str(root.parent / "more")])
    report, held = index(root.parent, both)
    assert (held, report.left_out) == ({"photos/x/b.png", "photos/x/c.png", "more/d.png"}, 1)
    retriever, report = Retriever.build(both, root.parent / ".mmr", ToyEncoder("other"), another_encoder=True)
    with retriever:
        assert set(retriever.store.stamps()) == held


def test_members_of_tars(tmp_path):
    write_tar(tmp_path / "0.tar", sample("a", "red") + sample("b", "blue"))
    index(tmp_path, f"{tmp_path}/0.tar")
    remove(tmp_path, "0.tar/a.png")
    assert index(tmp_path, f"{tmp_path}/0.tar")[1] == {"0.tar/b"}
    write_tar(tmp_path / "0.tar", sample("a", "lime") + sample("b", "blue"))
    os.utime(tmp_path / "0.tar", (1, 1))
    assert index(tmp_path, f"{tmp_path}/0.tar")[1] == {"0.tar/a", "0.tar/b"}


def test_odd_names_and_a_list_that_is_damaged(root):
    for name in (b"caf\xe9.png", b"new\nline.png"):
        shutil.copy(root / "a.png", root / os.fsdecode(name))
    index(root)
    remove(root, os.fsdecode(b"caf\xe9.png"), "new\nline.png")
    assert index(root)[0].left_out == 2
    file = root / ".mmr" / FILE
    assert {json.loads(line)["id"] for line in file.read_text().splitlines()} == {"caf\\udce9.png", "new\nline.png"}
    file.write_text('{"id": 3}\n')
    with pytest.raises(StoreError, match=r"removed.jsonl cannot be read \(.*\): restore it, or remove it"):
        index(root)


def test_a_snapshot_has_the_list(root, tmp_path):
    remove(root, "a.png")
    assert mmr("snapshot", tmp_path / "copy.mmr", "--index", root / ".mmr").exit_code == 0
    assert len(Removed(tmp_path / "copy.mmr")) == 1


# ---------------------------------------------------------------- what they are called


def test_items_by_what_is_printed_of_them(root, monkeypatch):
    picture(root / "x" / "a.png", BLUE)
    index(root)
    monkeypatch.chdir(root / "x")
    with Store.open(root / ".mmr") as store:

        def names(*asked):
            return [store.records([row])[0].id for row in called.rows(store, asked)]

        assert names("x/b.png", "b.png", "./b.png", str(root / "x" / "b.png"), "../x/b.png") == ["x/b.png"] * 5
        assert names("../a.png", "./a.png", "x/a.png") == ["a.png", "x/a.png", "x/a.png"]
        for wrong, said in {
            "a.png": rf"`a.png` names one item, and another as seen from here: give {root}/a.png or {root}/x/a.png",
            "none.png": "holds no `none.png`", "./x/b.png": "holds no", "/b.png": "holds no",
        }.items():  # fmt: skip
            with pytest.raises(Exception, match=said):
                names(wrong)
        (root.parent / "link").symlink_to(root)
        assert names(str(root.parent / "link" / "a.png")) == ["a.png"]


def test_items_of_a_table_by_their_paths(root, tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "p.csv").write_text(f"image\n../photos/a.png\n.././photos/x/b.png\n{root}/x/c.png\n")
    Retriever.build(f"{tmp_path}/t/p.csv", tmp_path / "t.mmr", ToyEncoder())[0].close()
    monkeypatch.chdir(root)
    with Store.open(tmp_path / "t.mmr") as store:
        found = called.rows(store, ["a.png", "x/b.png", str(root / "x" / "c.png")])
        assert found == called.rows(store, ["../photos/a.png", ".././photos/x/b.png", f"{root}/x/c.png"])
        assert len(set(found)) == 3


# ---------------------------------------------------------------- on the command line


def test_what_a_search_prints_can_be_removed(photos, trained, monkeypatch):
    where = ("--index", photos / ".mmr")
    assert mmr("index", photos, "--model", trained).exit_code == 0
    monkeypatch.chdir(photos / "more")
    printed = mmr("search", "a dog", "-k", 1, "--paths", *where).stdout
    result = mmr("rm", "-", "--yes", *where, typed=printed)
    assert (result.exit_code, result.stdout) == (0, f"{photos / '.mmr'}: 1 removed, 2 left\n")
    picture(photos / "new\nline.png", (90, 80, 70))  # a name that only -0 can tell
    mmr("index", photos)
    everything = mmr("search", "a dog", "-0", *where).stdout
    assert mmr("rm", "-0", *where, typed=everything).exit_code == 2  # nobody is there to be asked
    assert "2 removed, 1 left" in mmr("rm", "-0", "-y", *where, typed="\0".join(everything.split("\0")[:2])).stdout
    assert "1 removed, 0 left" in mmr("rm", *everything.split("\0")[2:3], "-y", *where).stdout
    assert mmr("rm", "-", "-y", *where, typed="").exit_code == 1
    fails(mmr("rm", "-", "-y", *where, typed="none.png\n"), 2, "holds no `none.png`")


def test_what_is_said_of_what_was_removed(photos, trained):
    assert mmr("index", photos, "--model", trained).exit_code == 0
    where = ("--index", photos / ".mmr")
    assert "removed" not in mmr("info", *where).stdout
    assert mmr("rm", photos / "red.png", "--yes", *where).exit_code == 0
    result = mmr("index", photos)
    assert (result.exit_code, result.stderr) == (
        0, "1 left out that were removed: --readmit takes them again\n",
    )  # fmt: skip
    assert "2 pictures (0 new, 0 changed, 0 moved, 0 removed, 2 as before, 0 skipped)" in result.stdout
    assert "removed       1\n" in mmr("info", *where).stdout
    assert mmr("search", "a dog", *where).stderr == ""
    assert "3 pictures (1 new" in mmr("index", photos, "--readmit").stdout
    assert "removed" not in mmr("info", *where).stdout
