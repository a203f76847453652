"""Pictures that are named one by one, beside folders or alone; links to folders; names that are no source."""

import json
import os
import shutil

import pytest

from faulty import Faults
from indexes import Store
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.indexing import changes, roots, skipped, unseen
from retrieval.indexing.changes import Changes
from retrieval.sources.registry import Options, open_items, parse_uri
from terminal import fails, mmr
from toy import ToyEncoder, picture


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("a.png", "b.png", "c.png", "x/d.png", "x/y/e.png"):
        picture(tmp_path / "p" / name)
    (tmp_path / "p" / "a.txt").write_text("a red one")
    (tmp_path / "p" / "notes.md").touch()
    monkeypatch.chdir(tmp_path / "p")
    return tmp_path / "p"


def index(*sources, place=".mmr", only=False, **options):
    """Index as `mmr index` does; the report, and the ids that the index has then."""
    uri = parse_uri(list(sources), Options(**options))
    retriever, report = Retriever.build(uri, place, ToyEncoder(), only=only)
    with retriever:
        skipped.write(retriever.store.path, report.skipped, report.starts)
        return report, set(retriever.store.stamps())


def again(place=".mmr", **options):
    """Index what the index is of."""
    with Store.open(place) as store:
        uri = roots.recorded(store)
    retriever, report = Retriever.build(parse_uri(uri, Options(**options) if options else None), place, ToyEncoder())
    with retriever:
        return report, set(retriever.store.stamps())


def names(*sources, **options):
    return [item.uri for item in open_items(parse_uri(list(sources), Options(**options)))]


# ---------------------------------------------------------------- single pictures


def test_one_or_many_pictures_are_a_source(here):
    assert names("a.png") == ["a.png"]
    assert names("b.png", "a.png", "./a.png", str(here / "b.png")) == ["a.png", "b.png"]
    assert names("a.png", "x/d.png") == ["a.png", "x/d.png"]
    assert names("x/d.png", "x/y/e.png") == ["d.png", "y/e.png"]
    assert names("x", "a.png", "x/d.png") == ["x/d.png", "x/y/e.png", "a.png"]
    assert names(".", "a.png") == ["a.png", "b.png", "c.png", "x/d.png", "x/y/e.png"]
    (item,) = open_items("a.png")
    assert (item.caption, item.meta["folder"]) == ("a red one", ".")
    assert parse_uri(["a.png", "b.png"]).root == parse_uri(".").root


@pytest.mark.parametrize("other", ["notes.md", "t.csv"])
def test_what_is_neither_folder_nor_picture_is_refused(here, other):
    (here / "t.csv").write_text("image\na.png\n")
    with pytest.raises(
        BadRequest, match="is no source: give a folder, a picture" if other == "notes.md" else "t.csv is no folder"
    ):
        parse_uri(["a.png", other])
    with pytest.raises(BadRequest, match="no such file or folder: none.png: check the path"):
        parse_uri(["a.png", "none.png"])


def test_the_next_run_renews_those_that_were_named(here):
    assert index("a.png", "b.png")[1] == {"a.png", "b.png"}
    assert again()[0].unchanged == 2
    picture(here / "a.png", (0, 0, 255))
    os.utime(here / "a.png", (1, 1))
    (here / "b.png").unlink()
    report, held = again()
    assert (held, report.changed, report.removed) == ({"a.png"}, 1, 1)


def test_naming_others_adds_them(here):
    index("a.png", "b.png")
    report, held = index("c.png", "x/d.png")
    assert (held, report.added, report.unchanged) == ({"a.png", "b.png", "c.png", "x/d.png"}, 2, 2)
    (here / "a.png").unlink()
    report, held = index("b.png", "c.png")  # as a shell names *.png
    assert held == {"b.png", "c.png", "x/d.png"}
    assert index("b.png", only=True)[1] == {"b.png"}
    report, held = index(".")
    assert (len(held), report.unchanged) == (4, 1)


def test_pictures_from_elsewhere_move_the_root(here):
    picture(here.parent / "q" / "f.png")
    index("a.png", "b.png")
    report, held = index(str(here.parent / "q" / "f.png"))
    assert (held, report.added, report.unchanged) == ({"p/a.png", "p/b.png", "q/f.png"}, 1, 2)
    assert again()[0].unchanged == 3


def test_a_picture_of_a_folder_that_is_indexed_is_a_part_of_it(here):
    picture(here / "a.png.png")
    index(".")
    for name in ("a.png", "b.png", "a.png.png"):
        picture(here / name, (0, 0, 255))
        os.utime(here / name, (1, 1))
    report, held = index("a.png")
    assert (report.changed, report.unchanged, report.removed, len(held)) == (1, 0, 0, 6)
    assert index(".")[0].changed == 2


def test_pictures_beside_folders(here):
    report, held = index("x", "a.png", place="i.mmr")
    assert held == {"a.png", "x/d.png", "x/y/e.png"}
    assert again("i.mmr")[0].unchanged == 3
    report, held = index("b.png", place="i.mmr")
    assert held == {"a.png", "b.png", "x/d.png", "x/y/e.png"}
    with Store.open("i.mmr") as store:
        assert changes.count(store, roots.recorded(store)) == Changes()
        assert changes.glance(store, seconds=10) == Changes()
    picture(here.parent / "q" / "f.png")
    with pytest.raises(BadRequest, match="is the index of .*x, 2 pictures named one by one, not of .*q"):
        index(str(here.parent / "q"), place="i.mmr")


def test_a_single_picture_that_cannot_be_seen_stays(here, monkeypatch):
    index("x/d.png", "a.png")
    shutil.move("x", "away")
    report, held = again()
    assert (held, report.skipped) == ({"a.png", "x/d.png"}, [("x/d.png", "cannot be read: No such file or directory")])
    (here / "x").mkdir()
    assert again()[0].skipped == [("x/d.png", "its folder holds nothing: is its disk there?")]
    faults = Faults(monkeypatch)
    faults.fail(here / "x")
    assert again()[1] == {"a.png", "x/d.png"}
    faults.heal()
    picture(here / "x" / "other.png")
    assert again()[1] == {"a.png"}


def test_skips_of_a_single_picture_replace_its_own_alone(tmp_path):
    skipped.write(tmp_path, [("a.png", "bad"), ("a.png.png", "worse")])
    file = skipped.write(tmp_path, [], ("a.png\0",))
    assert file.read_text() == "a.png.png\tworse\n"


# ---------------------------------------------------------------- links to folders


@pytest.fixture
def linked(here):
    """Links to a folder elsewhere, to one that has a place of its own, to the root, to itself and to nothing."""
    picture(here.parent / "disk" / "f.png")
    picture(here.parent / "disk" / "deep" / "g.png")
    (here / "l").symlink_to(here.parent / "disk")
    (here / "a twin").symlink_to(here / "x")
    (here / "x" / "loop").symlink_to(here)
    (here.parent / "disk" / "back").symlink_to(here)
    (here / "itself").symlink_to(here / "itself")
    (here / "nothing").symlink_to(here / "none")
    return here


OWN = {"a.png", "b.png", "c.png", "x/d.png", "x/y/e.png"}


def test_links_to_folders_are_followed_where_that_is_asked_each_folder_once(linked):
    uri = parse_uri(".")
    assert {item.uri for item in open_items(uri)} == OWN
    assert {path.name for path in uri.options.links} == {"l", "a twin", "loop"}
    followed = parse_uri(".", Options(follow=True))
    found = [item.uri for item in open_items(followed) if not unseen.is_doubtful(item)]
    assert found == ["a.png", "b.png", "c.png", "x/d.png", "x/y/e.png", "l/f.png", "l/deep/g.png"]
    assert followed.options.links == set()


def test_what_is_behind_two_links_is_one(linked):
    (linked / "m").symlink_to(linked.parent / "disk" / "deep")
    assert [name for name in names(".", follow=True) if name.endswith("g.png")] == ["l/deep/g.png"]


def test_a_folder_that_holds_links_alone_is_not_empty(here):
    (here.parent / "only").mkdir()
    (here.parent / "only" / "l").symlink_to(here / "x")
    assert names(str(here.parent / "only"), follow=True) == ["l/d.png", "l/y/e.png"]
    both = [str(here.parent / "only"), str(here / "x" / "y")]
    assert names(*both, follow=True) == ["p/x/y/e.png", "only/l/d.png"]
    with pytest.raises(BadRequest, match="only has no pictures"):
        names(*both)


@pytest.mark.parametrize("happens", ["gone", "empty"])
def test_what_lies_behind_a_link_whose_disk_is_away_stays(linked, happens):
    held = index(".", follow=True)[1]
    assert held == OWN | {"l/f.png", "l/deep/g.png"}
    with Store.open(".mmr") as store:
        assert changes.glance(store, seconds=10) == changes.count(store, roots.recorded(store)) == Changes()
    shutil.move(linked.parent / "disk", linked.parent / "away")
    if happens == "empty":
        (linked.parent / "disk").mkdir()
    report, held = again()
    assert (held, report.unseen) == (OWN | {"l/f.png", "l/deep/g.png"}, 2)
    assert [uri for uri, _ in report.skipped] == ["l"]  # and not the link to nothing that never was a folder
    with Store.open(".mmr") as store:
        assert not changes.glance(store, seconds=10)
        assert changes.count(store, roots.recorded(store)).unseen == 2
    assert again(follow=True, let_go=True)[1] == OWN


def test_following_is_remembered_and_links_are_counted(linked, trained):
    result = mmr("index", "--model", trained)
    assert "3 linked folders left out: --follow takes what is in them\n" in result.stderr
    assert "7 pictures (2 new" in mmr("index", "--follow").stdout
    result = mmr("index")
    assert ("7 as before" in result.stdout, "linked" in result.stderr) == (True, False)
    assert "5 pictures (0 new, 0 changed, 0 moved, 2 removed" in mmr("index", "--no-follow").stdout


# ---------------------------------------------------------------- names that are no source, indexes that are none


def test_pictures_on_the_command_line(here, trained):
    assert "2 pictures (2 new" in mmr("index", "a.png", "b.png", "--model", trained).stdout
    assert "source        2 pictures named one by one" in mmr("info").stdout
    assert "2 as before" in mmr("index").stdout
    picture(here / "n.png")
    assert mmr("search", "a dog").stderr == ""
    fails(mmr("index", "x/d.png", "a.png", "--index", ""), 2, "--index", "it is empty")
    fails(mmr("index", "x", "a.png"), 2, "say where their index is, with --index photos.mmr")
    fails(mmr("index", "x/y/e.png", "x/d.png"), 2, "say where their index is, with --index photos.mmr")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["index", ""], "a source is empty: name a folder, or write . for this one"),
        (["index", ".", " "], "a source is empty"),
        (["index", "folder:"], "folder: names no source"),
        (["index", "webdataset:a\0b"], "holds a NUL: check the path"),
        (["index", "a\0b"], "holds a NUL: check the path"),
        (["index", "csv:\ud83d.csv"], "holds half a character: check the path"),
        (["index", "--index", ""], "it is empty"),
        (["index", "--index", "a\0b"], "holds a NUL"),
        (["index", "--model", ""], "it is empty"),
        (["search", "a dog", "--index", ""], "it is empty"),
    ],
)
def test_names_that_no_file_can_have(here, words, said):
    before = set(here.iterdir())
    fails(mmr(*words), 2, said)
    assert set(here.iterdir()) == before


def test_a_name_that_no_file_can_have_in_a_table_is_listed(here):
    lines = [{"image": "a.png"}, {"image": "b\0.png"}, {"image": "\ud83d.png"}, {"image": "b.png"}]
    (here / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for _ in range(2):
        report, held = index("t.jsonl", place="t.mmr")
        assert held == {"a.png", "b.png"}
        assert [reason for _, reason in report.skipped] == ["no file can have this name"] * 2


def test_what_fails_before_its_first_picture_leaves_no_index(here):
    (here / "t.jsonl").write_text('{"image": "a.png"}\nno json\n')
    with pytest.raises(BadRequest, match="line 2"):
        index("t.jsonl", place="t.mmr")
    assert not (here / "t.mmr").exists()
    assert index(".", place="t.mmr")[1] == OWN


def test_an_index_that_never_held_anything_takes_any_source(here):
    (here / "t.jsonl").write_text('{"image": "none.png"}\n')
    assert index("t.jsonl", place="t.mmr")[1] == set()
    assert index(".", place="t.mmr")[1] == OWN
    assert again("t.mmr")[0].unchanged == 5
