"""The confusion matrix as a picture: what stands on it, in which fonts, and what is refused before any work."""

import sys

import numpy as np
import pytest
from PIL import Image

from eval import classification, confusion
from retrieval.errors import BadRequest
from terminal import fails, mmr


def matrix(names, counts):
    """A report with this matrix; nothing else of it is drawn."""
    return classification.HeadReport("single", {}, 0, (0, 0), names, {}, np.array(counts))


def written(figure):
    """What stands in the cells, and the names at the left and above."""
    (axes,) = figure.axes
    beside, above = (
        [label.get_text() for label in axis.get_majorticklabels()] for axis in (axes.yaxis, axes.xaxis)
    )  # fmt: skip
    return {text.get_position(): text.get_text() for text in axes.texts}, beside, above


def test_counts_stand_where_truth_and_answer_meet():
    report = classification.head_report("single", np.eye(3)[[0, 1, 2, 0]], ["a", "b", "c", "b"], ["a", "b", "c"])
    figure = confusion.draw(report)
    cells, beside, above = written(figure)
    assert cells == {(0, 0): "1", (0, 1): "1", (1, 1): "1", (2, 2): "1"}  # (answered, true); no zeros
    assert beside == above == ["a", "b", "c"]
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("answered", "true")


def test_the_picture_is_written_and_pyplot_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    confusion.save(matrix(["a", "b"], [[3, 0], [1, 2]]), tmp_path / "c.PNG")
    assert "matplotlib.pyplot" not in sys.modules
    with Image.open(tmp_path / "c.PNG") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue, red = ((pixels[..., i] > pixels[..., 2 - i] + 60).sum() for i in (2, 0))
    assert 1.5 * red < blue < 2.5 * red  # two cells on the diagonal, one off it


def test_the_most_frequent_classes_are_drawn_and_it_says_so():
    many = confusion.CLASSES + 3
    counts = np.diag(np.arange(many)) + np.eye(many, dtype=int)
    figure = confusion.draw(matrix([f"class {n:02d}" for n in range(many)], counts))
    cells, beside, _ = written(figure)
    assert beside == [f"class {n:02d}" for n in range(3, many)]
    assert cells[0, 0] == "4"
    assert "60 most frequent of 63" in figure.axes[0].get_title()


def test_every_count_and_every_name_has_its_room():
    names = ["a very long name of a class", "b"]
    for counts in ([[1, 2], [3, 4]], [[123456, 0], [1000, 2]]):
        figure = confusion.draw(matrix(names, counts))
        figure.canvas.draw()
        (axes,) = figure.axes
        cell = axes.get_window_extent().width / 2
        assert all(text.get_window_extent().width < cell for text in axes.texts)
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]:
            assert figure.bbox.contains(*label.get_window_extent().min)
            assert figure.bbox.contains(*label.get_window_extent().max)
    assert written(figure)[1][0] == "a very long name of\N{HORIZONTAL ELLIPSIS}"


def test_a_dollar_is_no_formula():
    figure = confusion.draw(matrix(["$5", "5$ or $6"], [[1, 0], [0, 1]]))
    figure.canvas.draw()
    assert written(figure)[1] == [r"\$5", r"5\$ or \$6"]


@pytest.fixture
def bare(monkeypatch):
    """A machine with no font but DejaVu Sans, which knows no Chinese."""
    from matplotlib import font_manager

    own = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)


def test_any_font_that_is_there_is_taken_for_a_letter_that_the_usual_ones_lack(recwarn, tmp_path):
    letter = "\N{MATHEMATICAL BOLD SCRIPT CAPITAL A}"  # some STIX font of matplotlib's has it, its DejaVu Sans has not
    report = matrix([letter, "b"], [[1, 0], [0, 1]])
    assert confusion.families("ab")[0] == "DejaVu Sans"
    assert len(confusion.families(letter)) == len(confusion.families("ab")) + 1
    assert confusion.unwritten(report) == {}
    confusion.save(report, tmp_path / "c.png")
    assert written(confusion.draw(report))[1] == [letter, "b"]
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_a_name_that_no_font_can_write_is_a_number_and_never_a_box(bare, recwarn, tmp_path):
    report = matrix(["hat", "鞋子 red", "hat 帽"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert confusion.families("鞋a") == ["DejaVu Sans"]
    assert confusion.unwritten(report) == {"#2": "鞋子 red", "#3": "hat 帽"}
    assert written(confusion.draw(report))[1] == ["hat", "#2", "#3"]
    confusion.save(report, tmp_path / "c.png")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_what_cannot_be_drawn_is_refused_before_any_work(tmp_path, monkeypatch):
    with pytest.raises(BadRequest, match="no name of a picture"):
        confusion.save(matrix(["a", "b"], [[1, 0], [0, 1]]), tmp_path / "c.xyz")
    with pytest.raises(BadRequest, match="one label a row"):
        confusion.draw(classification.HeadReport("number", {}, 0, (0, 0)))
    # There is no such head, which would be said next.
    words = ("head", "eval", tmp_path / "none", "none.csv", "--confusion")
    fails(mmr(*words, tmp_path / "c.xyz"), 2, "no name of a picture", "--confusion confusion.png")
    monkeypatch.setattr(confusion, "find_spec", lambda name: None)
    fails(mmr(*words, tmp_path / "c.png"), 2, "matplotlib", "pip install 'mmr-retrieval[plots]'")


def test_the_command_draws_it_and_says_which_names_are_numbers(trained, book, tmp_path, bare):
    rows = "".join(f"{book}/{n:03d}.png,it,{'鞋子' if n % 2 else 'hat'}\n" for n in range(12))
    (tmp_path / "rows.csv").write_text(f"image,caption,label\n{rows}")
    words = ("--label", "label", "--out", tmp_path / "head", "--set", "epochs=1")
    assert mmr("head", "train", trained, tmp_path / "rows.csv", *words).exit_code == 0
    drawn = mmr("head", "eval", tmp_path / "head", tmp_path / "rows.csv", "--confusion", tmp_path / "c.png")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "c.png").is_file()
    assert "no font here can write some names: #2 is 鞋子; install, say, Noto Sans CJK SC" in drawn.stderr
