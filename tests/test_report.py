"""`mmr eval` and what else measures on a source of which nothing, or not everything, can be read; evaluate() itself."""

import pytest

from eval import evaluate
from retrieval import open_pairs
from retrieval.errors import NothingReadable
from terminal import fails, lines, mmr
from toy import ToyEncoder

SKIPS = [
    "3 skipped:", "  gone.jpg: no such file", "  bad.png: not a picture of a known format", "  also.jpg: no such file",
]  # fmt: skip


@pytest.fixture
def unreadable(tmp_path):
    """Three rows with a caption and a label: two files are not there, one is no picture."""
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "rows.csv").write_text("image,caption,label\ngone.jpg,a,x\nbad.png,b,x\nalso.jpg,c,y\n")
    return tmp_path / "rows.csv"


def refuses(result, *parts):
    """Wrong usage in one line, below the list of what was skipped."""
    fails(result, 2, *parts)
    said = result.stderr.splitlines()
    at = said.index(SKIPS[0])
    assert said[at : at + 4] == SKIPS
    assert len([line for line in said if line.startswith("mmr: ")]) == 1


def test_eval_of_a_source_that_cannot_be_read(trained, unreadable):
    refuses(mmr("eval", trained, unreadable), "none of the 3 pictures can be read", "give another SOURCE")
    refuses(mmr("eval", trained, unreadable, "--json"), "none of the 3 pictures can be read", "give another SOURCE")


@pytest.mark.parametrize("option", ["--eval", "--remember"])
def test_train_refuses_what_it_could_not_measure_on_before_it_begins(book, unreadable, tmp_path, option):
    words = ("train", f"csv:{book}/pairs.csv?split=train", "--out", tmp_path / "run", option, unreadable)
    refuses(mmr(*words), f"{option} {unreadable}", "none of the 3 pictures can be read", f"give another {option}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--eval", "--remember"])
def test_blend_refuses_what_it_could_not_measure_on(trained, unreadable, tmp_path, option):
    result = mmr("blend", trained, trained, "--out", tmp_path / "both", option, unreadable)
    refuses(result, f"{option} {unreadable}", "none of the 3 pictures can be read", f"give another {option}")
    assert not (tmp_path / "both").exists()


def test_train_on_pictures_that_cannot_be_read_lists_them(unreadable, tmp_path):
    refuses(mmr("train", unreadable, "--out", tmp_path / "run"), "0 usable picture(s)")
    assert not (tmp_path / "run").exists()


def test_heads_of_rows_with_nothing_to_go_by_list_them(trained, book, unreadable, tmp_path):
    unreadable.write_text("image,caption,label\ngone.jpg,,x\nbad.png,,x\nalso.jpg,,y\n")
    what = "no labelled row has a picture that decodes, or a text"
    refuses(mmr("head", "train", trained, unreadable, "--label", "label", "--out", tmp_path / "h"), what, "check the")
    refuses(mmr("head", "compare", trained, unreadable, "--label", "label"), what, "check the source")
    good = tmp_path / "good.csv"
    good.write_text("image,label\n" + "".join(f"{book}/{n:03d}.png,{'xy'[n % 2]}\n" for n in range(8)))
    made = mmr("head", "train", trained, good, "--label", "label", "--fusion", "image", "--out", tmp_path / "head")
    assert made.exit_code == 0, made.output
    refuses(mmr("head", "eval", tmp_path / "head", unreadable), what, "check the source")


def test_comparing_heads_without_any_picture_is_of_texts_alone(trained, unreadable):
    rows = "".join(f"{n}.jpg,{word},{word}\n" for n, word in enumerate(("dog", "cat") * 10))
    unreadable.write_text(f"image,caption,label\n{rows}")
    words = ("head", "compare", trained, unreadable, "--label", "label")
    found = lines(mmr(*words, "--seeds", 1, "--set", "epochs=1", "--json"), 4)
    assert "text" in [line["name"] for line in found]
    assert "image" not in [line["name"] for line in found]


def test_comparing_heads_says_that_rows_of_the_test_were_skipped(trained, book, unreadable):
    good = unreadable.parent / "good.csv"
    rows = "".join(f"{book}/{n:03d}.png,it,{'xy'[n % 2]}\n" for n in range(12))
    good.write_text(f"image,caption,label\n{rows}")
    words = ("head", "compare", trained, good, "--test", unreadable, "--label", "label", "--fusions", "text")
    lines(mmr(*words, "--seeds", 1, "--set", "epochs=1", "--json"), 4)


def test_what_is_left_is_measured_and_the_rest_is_listed(photos):
    rows = "red.png,red\nmore/green.jpg,green\nblue é.png,blue\ngone.jpg,red\n"
    (photos / "pairs.csv").write_text(f"image,caption\n{rows}")
    report = evaluate(ToyEncoder(), open_pairs(str(photos / "pairs.csv")))
    assert (report.items, report.queries) == (3, 3)
    assert report.skipped == [("gone.jpg", "no such file")]
    assert report.text_to_image["hit@1"] == report.image_to_text["recall@1"] == 1.0
    assert report.chance["text_to_image"]["hit@1"] == pytest.approx(1 / 3)
    assert "3 pictures, 3 captions, encoder toy (toy-fingerprint)" in str(report)


def test_evaluate_where_nothing_can_be_read_says_what_was_tried(unreadable):
    with pytest.raises(NothingReadable, match="none of the 3 pictures can be read") as caught:
        evaluate(ToyEncoder(), open_pairs(str(unreadable)))
    assert [uri for uri, _ in caught.value.skipped] == ["gone.jpg", "bad.png", "also.jpg"]
