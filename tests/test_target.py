"""What a person names for mmr to write: what is written over, and where nothing is ever put."""

import shutil

import numpy as np
import pytest
from PIL import Image

from cli.output import target
from eval import classification, confusion
from retrieval.errors import BadRequest
from terminal import fails, mmr


def kept(path):
    """Everything below a folder, with its bytes."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_file_that_mmr_did_not_write_is_kept(indexed, photos, tmp_path):
    asked = ("search", "a dog", "--index", indexed, "-k", 1, "--html")
    for file in (photos / "red.png", photos / "more" / "green.txt"):
        before = file.read_bytes()
        fails(mmr(*asked, file), 2, "is there already, and mmr did not write it", "--force")
        assert file.read_bytes() == before
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><p>mine")
    fails(mmr(*asked, page), 2, "mmr did not write it", "--force")
    assert mmr(*asked, page, "--force").exit_code == 0
    assert "data:image/jpeg" in page.read_text()
    first = page.read_bytes()
    assert mmr(*asked, page, "-k", 2).exit_code == 0  # its own is replaced without a word
    assert page.read_bytes() != first


def test_nothing_is_put_inside_an_index_a_run_or_a_head(indexed, trained, tmp_path):
    index, run = tmp_path / "i.mmr", tmp_path / "run"
    shutil.copytree(indexed, index)
    shutil.copytree(trained, run)
    asked = ("search", "a dog", "--index", index, "-k", 1)
    before = kept(index) | kept(run)
    for file in (index / "mmr.db", index / "new.html", index / "segments" / "new.html"):
        for force in ((), ("--force",)):
            fails(mmr(*asked, "--html", file, *force), 2, "lies inside the index", "give another --html")
    fails(mmr(*asked, "--html", run / "curves.png", "--force"), 2, "lies inside the run", "give another --html")
    for option in ("--copy-to", "--link-to"):
        fails(mmr(*asked, option, index / "out"), 2, "lies inside the index", f"give another {option}")
    (tmp_path / "there").symlink_to(index)
    fails(mmr(*asked, "--html", tmp_path / "there" / "x.html"), 2, "lies inside the index")
    assert kept(index) | kept(run) == before


@pytest.mark.parametrize(
    "words",
    [
        ("train", "none.csv", "--out"),
        ("head", "train", "RUN", "none.csv", "--label", "x", "--out"),
        ("blend", "none", "none", "--out"),
        ("demo", "--out"),
        ("import", "npy", "none.npy", "--index"),
        ("index", "picturebook:2", "--index"),
    ],
)
def test_no_folder_is_made_inside_an_index_or_below_a_file(indexed, trained, tmp_path, words):
    """Said before anything else is looked at: what these commands work on is not there."""
    words = [trained if word == "RUN" else word for word in words]
    before = kept(indexed)
    fails(mmr(*words, indexed / "new"), 2, "lies inside the index", f"give another {words[-1]}")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "new", tmp_path / "file" / "new" / "below"):
        fails(mmr(*words, out), 2, f"{tmp_path / 'file'} is no folder", words[-1])
    assert kept(indexed) == before


@pytest.mark.parametrize("words", [("snapshot",), ("export", "npy"), ("export", "clip-retrieval")])
def test_what_takes_an_index_elsewhere_is_held_to_the_same(indexed, trained, tmp_path, words):
    (tmp_path / "file").write_text("mine")
    for out in (trained / "new.npy", tmp_path / "file" / "new.npy"):
        result = mmr(*words, out, "--index", indexed)
        fails(result, 2, "inside the run" if out.parent == trained else "is no folder")
    (tmp_path / "old.npy").write_text("mine")
    assert mmr(*words, tmp_path / "old.npy", "--index", indexed).exit_code in (2, 3)
    assert (tmp_path / "old.npy").read_text() == "mine"


def test_what_is_no_plain_file_is_wrong_usage(indexed, tmp_path):
    asked = ("search", "a dog", "--index", indexed, "-k", 1, "--html")
    (tmp_path / "folder").mkdir()
    fails(mmr(*asked, tmp_path / "folder"), 2, "is a folder: name a file in it")
    fails(mmr(*asked, "/dev/null"), 2, "/dev/null is no plain file", "--html")
    fails(mmr(*asked, tmp_path / ("x" * 250 + ".html")), 2, "too long", "247 bytes")
    long = tmp_path / ("x" * 300)
    for words in (("train", "none.csv", "--out"), ("search", "a", "--index", indexed, "--copy-to"), ("demo", "--out")):
        fails(mmr(*words, long), 2, f"the name of {words[-1]} is too long")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_confusion_matrix_is_marked_where_its_format_has_room(tmp_path):
    report = classification.HeadReport("single", {}, 0, (0, 0), ["a", "b"], {}, np.eye(2, dtype=int))
    for kind in ("png", "pdf", "svg", "jpg", "tif"):
        file = tmp_path / f"c.{kind}"
        confusion.save(report, file, target.MARK)
        target.check(file, "--confusion")
    confusion.save(report, tmp_path / "c.webp", target.MARK)
    with pytest.raises(BadRequest, match="--force"):
        target.check(tmp_path / "c.webp", "--confusion")
    target.check(tmp_path / "c.webp", "--confusion", force=True)


def test_a_picture_is_no_place_for_a_confusion_matrix(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    words = ("head", "eval", tmp_path / "none", "none.csv", "--confusion", tmp_path / "photo.png")
    fails(mmr(*words), 2, "mmr did not write it", "--force")
    fails(mmr(*words, "--force"), 3, "holds no head")  # the next thing that is looked at
    assert (tmp_path / "photo.png").read_bytes() == before


def test_only_a_demo_is_removed_for_a_demo(tmp_path):
    """A folder called scenes is no proof that a folder is a demo."""
    for mine in ("scenes/holiday.jpg", "scenes/test-00001.png/mine.txt", "thesis.txt"):
        out = tmp_path / mine.replace("/", "-")
        (out / "scenes").mkdir(parents=True)
        (out / mine).parent.mkdir(parents=True, exist_ok=True)
        (out / mine).write_text("mine")
        before = kept(out)
        fails(mmr("demo", "--out", out, "--force"), 2, "is there already", "give another --out")
        assert kept(out) == before
    (tmp_path / "file").write_text("mine")
    fails(mmr("demo", "--out", tmp_path / "file", "--force"), 2, "is a file: give another --out")


def test_a_folder_with_a_config_of_somebody_is_no_head(trained, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    words = ("head", "train", trained, "none.csv", "--label", "x", "--out", tmp_path, "--force")
    fails(mmr(*words), 2, "holds other things than a head")
    assert (tmp_path / "config.json").read_text() == "{}"
