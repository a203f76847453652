"""The page and the table of a measurement: computations worked by hand, hostile captions, a picture that is broken."""

import csv
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval import answers, mixups, page, ranking, report, rows, separation
from eval.measuring import DIRECTIONS, Measured, measure
from eval.mixups import Alike, Hub, Mixed
from eval.page import charts, svg
from eval.page.galleries import Gallery
from eval.page.pictures import Album
from eval.page.text import table
from eval.ranking import Right
from eval.tables import Table
from retrieval.datatypes import Item, Pair
from retrieval.errors import ImageError
from rows import unit
from toy import ToyEncoder, picture

WORDS, PICTURES = DIRECTIONS


def measured(images, texts, owner, captions=(), name="toy"):
    """Pictures and captions with these vectors."""
    items = [Item(f"p{n}", f"p{n}.png", lambda: Image.new("RGB", (8, 8))) for n in range(len(images))]
    captions = captions or [f"caption {n}" for n in range(len(texts))]
    pairs = [Pair(items[picture], caption) for picture, caption in zip(owner, captions, strict=True)]
    images, texts = (np.asarray(one, np.float32) for one in (images, texts))
    return Measured(name, f"{name}-fingerprint", items, pairs, images, texts, np.array(owner))


def scored(scores, owner):
    """Captions whose cosines with the pictures are these: the pictures are the axes."""
    return measured(np.eye(len(scores[0])), scores, owner)


# Three pictures; caption 0 finds its picture 0, captions 1 and 2 of picture 1 find picture 0, 3 of picture 2 picture 1.
FOUND = scored([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.7, 0.1, 0.6], [0.1, 0.4, 0.3]], [0, 1, 1, 2])


@pytest.fixture
def photos(tmp_path):
    """Red, green and blue with two captions each, one of which is markup, the other a formula."""
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    items = [Item(name, f"{name}.png", picture(tmp_path / f"{name}.png", rgb)) for name, rgb in colours.items()]
    return [
        Pair(item, text) for item in items for text in (f"{item.id} <script>alert(1)</script>", f"=a {item.id} one")
    ]


def firsts_of(found):
    return {direction: answers.firsts(found, direction) for direction in DIRECTIONS}


def drawn(path, reports, **told):
    page.write(path, reports, **told)
    return path.read_text()


# ---------------------------------------------------------------- what stood first


def test_the_first_answers_by_eye():
    there, back = (answers.firsts(FOUND, direction) for direction in DIRECTIONS)
    assert there.right.tolist() == [0, 1, 1, 2]
    assert there.wrong.tolist() == [2, 0, 0, 1]
    assert there.place.tolist() == [1, 2, 3, 2]
    assert there.first.tolist() == [0, 0, 0, 1]
    assert there.first_score.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.4])
    # Picture 1 has captions 1 and 2, of which 1 is nearer; picture 2 finds caption 2 first.
    assert (back.right.tolist(), back.wrong.tolist(), back.place.tolist()) == ([0, 1, 3], [1, 3, 2], [1, 1, 2])


@pytest.mark.parametrize("tile", [1, 2, 1024])
def test_the_first_answers_are_those_of_all_scores_in_tiles_of_any_size(tile, monkeypatch):
    monkeypatch.setattr(ranking, "TILE", tile)
    random = np.random.default_rng(0)
    images, texts, owner = unit(random.normal(size=(7, 4))), unit(random.normal(size=(20, 4))), np.arange(20) % 7
    found = answers.firsts(measured(images, texts, owner.tolist()), WORDS)
    scores = texts @ images.T
    right = scores[np.arange(20), owner].copy()
    scores[np.arange(20), owner] = -2
    assert found.wrong.tolist() == scores.argmax(1).tolist()
    assert found.found.tolist() == (right > scores.max(1)).tolist()


def test_the_first_answer_is_wrong_where_it_ties_with_the_right_one():
    tied = measured([[1, 0], [1, 0], [0, 1]], [[1, 0], [1, 0], [0, 1]], [0, 1, 2])
    assert answers.firsts(tied, WORDS).first.tolist() == [1, 0, 2]
    (listed,) = answers.listed(tied, WORDS, [1], 2)
    assert [(one.item, one.place, one.right) for one in listed] == [(0, 1, False), (1, 2, True)]


def test_a_difference_of_rounding_is_a_tie():
    near = scored([[0.5, 0.5 + 1e-7]], [1])
    assert answers.firsts(near, WORDS).first.tolist() == [0]
    assert [one.item for one in answers.listed(near, WORDS, [0], 2)[0]] == [0, 1]


def test_what_is_no_number_finds_wrong_answers_alone_and_is_found_last():
    broken = measured([[1, 0], [np.nan, 0]], [[np.nan, 1], [1, 0]], [0, 1])
    found = answers.firsts(broken, WORDS)
    assert found.place.tolist() == broken.each[WORDS]["rank"].tolist() == [2, 2]
    assert found.first.tolist() == [1, 0]
    assert np.isneginf(found.right_score).all()
    assert found.ahead[0] == 0


def test_the_right_answer_is_listed_behind_the_first_ones():
    (listed,) = answers.listed(FOUND, WORDS, [2], 1)
    assert [(one.item, one.place, one.right) for one in listed] == [(0, 1, False), (1, 3, True)]


def test_an_item_that_is_alone_has_no_wrong_answer():
    found = answers.firsts(measured([[1, 0]], [[1, 0], [0, 1]], [0, 0]), WORDS)
    assert (found.wrong.tolist(), found.first.tolist()) == ([-1, -1], [0, 0])


# Captions 1 and 3 of FOUND alone are judged: 1 is answered by pictures 1 and 2, 3 by picture 1.
JUDGED = replace(FOUND, judged=Right.of([1, 1, 3], [1, 2, 1], [1, 2, 1]))


def test_where_a_file_says_what_is_right_only_those_queries_are_told(tmp_path):
    there, back = (answers.firsts(JUDGED, direction) for direction in DIRECTIONS)
    assert [there.asked.tolist(), there.right.tolist(), there.wrong.tolist()] == [[1, 3], [1, 1], [0, 2]]
    assert [there.place.tolist(), back.asked.tolist(), back.place.tolist()] == [[2, 1], [1, 2], [1, 4]]
    (listed,) = answers.listed(JUDGED, WORDS, [1], 3)
    assert [(one.item, one.right) for one in listed] == [(0, False), (1, True), (2, True)]
    assert len(separation.scores(JUDGED).right) == 3
    assert len(separation.scores(JUDGED).wrong) == 9
    rows.write_csv(tmp_path / "rows.csv", [(JUDGED, report.of(JUDGED))])
    table = (tmp_path / "rows.csv").read_text("utf-8-sig").splitlines()
    assert [line.split(",")[3:6] for line in table[1:]] == [
        ["caption 1", "p1.png", "2"], ["caption 3", "p2.png", "1"], ["p1.png", "p1.png", "1"], ["p2.png", "p2.png", "4"]
    ]  # fmt: skip
    assert drawn(tmp_path / "page.html", [(JUDGED, report.of(JUDGED))]).endswith("</html>\n")


# ---------------------------------------------------------------- curves and bins


def test_the_curve_and_chance_by_hand():
    assert charts.curve(FOUND, WORDS).tolist() == [0.25, 0.75, 1.0]
    assert charts.curve(FOUND, PICTURES, 2).tolist() == pytest.approx([2 / 3, 1.0])
    assert charts.chance(FOUND, WORDS) == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_bins_of_places_grow_and_hold_every_item():
    assert charts.place_bins(1) == [(1, 1)]
    assert charts.place_bins(30) == [(1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 30)]
    assert charts.place_bins(2000)[-3:] == [(201, 500), (501, 1000), (1001, 2000)]
    assert charts.place_shares(FOUND, WORDS, charts.place_bins(3)).tolist() == [0.25, 0.5, 0.25]


def test_an_axis_of_shares_ends_above_what_it_must_hold():
    assert [name for _, name in svg.percent(0.07).ticks] == ["0%", "2%", "4%", "6%", "8%"]
    assert svg.percent(1).high == 1
    assert "<script" not in svg.bars("<script>", ["<script>"], "<script>", svg.percent(1), [("s0", [1.0])])
    assert svg.Axis(1, 100, (), log=True).place(10) == pytest.approx(0.5)


# ---------------------------------------------------------------- right and wrong pairs, calibration


def test_auc_by_hand():
    # 3 beats 1 and 2, 2 beats 1 and ties with 2: (2 + 1.5) of 4.
    assert separation.auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert np.isnan(separation.auc(np.array([1.0]), np.array([])))


def test_few_pairs_are_all_told_and_many_are_drawn_alike(monkeypatch):
    found = separation.scores(FOUND)
    assert sorted(found.right.tolist()) == pytest.approx([0.1, 0.3, 0.5, 0.9])
    assert len(found.wrong) == 8
    monkeypatch.setattr(separation, "MOST", 3)
    once, again = separation.scores(FOUND), separation.scores(FOUND)
    assert len(once.right) == 3
    assert once.wrong.tolist() == again.wrong.tolist()
    assert set(once.wrong.tolist()) <= set(found.wrong.tolist())


def test_the_scale_is_the_one_that_makes_the_right_answers_likeliest():
    # Two pictures, cosines 1 and 0: three of four captions are of the nearer one, so e^s / (e^s + 1) = 3/4, s = ln 3.
    cosines = np.tile(np.float32([1, 0]), (4, 1))
    assert separation.fitted_scale(cosines, np.array([0, 0, 0, 1])) == pytest.approx(np.log(3), rel=1e-4)


def test_calibration_with_a_scale_that_is_known():
    # Of 40 captions that lie at one of two pictures 30 are right, with a probability of 3/4 each.
    judged = measured(np.eye(2), np.tile([1.0, 0.0], (40, 1)), [0] * 30 + [1] * 10)
    found = separation.calibration(judged, answers.firsts(judged, WORDS), float(np.log(3)))
    assert found.sure.tolist() == pytest.approx([0.75] * 40)
    assert int(found.right.sum()) == 30
    assert found.ece == pytest.approx(0, abs=1e-6)
    assert [(pytest.approx(sure), right, count) for sure, right, count in charts.reliability(found)] == [
        (0.75, 0.75, 40)
    ]


def test_calibration_is_fitted_on_half_of_the_pictures_and_judged_on_the_others():
    random = np.random.default_rng(0)
    images = unit(random.normal(size=(60, 16)))
    texts = unit(images.repeat(2, 0) + 0.2 * random.normal(size=(120, 16)))
    half = measured(images, texts, np.arange(60).repeat(2).tolist())
    found = separation.calibration(half, answers.firsts(half, WORDS))
    assert (found.fitted, len(found.sure)) == (True, 60)
    assert separation.calibration(FOUND, answers.firsts(FOUND, WORDS)) is None


# ---------------------------------------------------------------- what is mixed up


def test_hubs_are_the_wrong_first_answers_of_several_queries():
    assert mixups.hubs(answers.firsts(FOUND, WORDS)) == [Hub(0, [1, 2])]


def test_pictures_that_find_each_other_are_told_once():
    # Captions 0 and 1 of picture 0 find picture 1, caption 2 of picture 1 finds picture 0; 3 finds 0 as well.
    both = scored([[0.1, 0.9, 0], [0.2, 0.8, 0], [0.9, 0.1, 0], [0.9, 0, 0.1]], [0, 0, 1, 2])
    assert mixups.mixed(answers.firsts(both, WORDS), both.owner) == [Mixed(0, 1, [0, 1], [2])]


def test_captions_with_the_same_words_or_vectors_are_alike_only_of_different_pictures():
    vectors = unit([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.05, 1], [-1, 0, 0], [-1, 0, 0]])
    captions = ["A dog.", "a  DOG", "two boys", "boys, two of them", "x", "y"]
    made = measured(np.eye(3), vectors, [0, 1, 0, 2, 1, 1], captions)
    assert mixups.alike(made) == [Alike([0, 1], 2, True), Alike([2, 3], 2, False)]


def test_a_caption_that_is_not_compared_follows_those_with_its_words(monkeypatch):
    monkeypatch.setattr(mixups, "COMPARED", 2)
    made = measured(np.eye(3), np.eye(3)[[0, 0, 1]], [0, 1, 2], ["a", "b", "B!"])
    assert mixups.alike(made) == [Alike([0, 1, 2], 3, False)]


def test_words_lose_case_and_punctuation_but_no_vowel_signs():
    assert mixups.words_of(" “A  Dog” - runs! ") == "a dog runs"
    assert mixups.words_of("कि") != mixups.words_of("का")


# ---------------------------------------------------------------- the page


def test_a_caption_is_text_and_nothing_is_asked_of_anybody(photos, tmp_path):
    found = replace(measure(ToyEncoder(), photos), encoder="<script>")
    evil = Table("<script>", ["<b>", "n"], [["<i>", "<s>"], ["", "x" * 700]], ["<u>"])
    told = {"tables": [evil], "notes": ["<script>x"], "title": "<script>t"}
    html = drawn(tmp_path / "new" / "page.html", [(found, report.of(found))], **told)
    assert "<script" not in html
    assert "red &lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.findall("<[isu]>", html)
    assert f"<td><bdi>{'x' * 599}\N{HORIZONTAL ELLIPSIS}</bdi></td>" in html
    assert not re.findall(r'(?:src|href)="(?!data:image/webp;base64,|#)', html)
    assert "Content-Security-Policy" in html
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_table_names_itself_its_rows_and_its_columns():
    shown = table(Table("of <all>", ["", "hit@1"], [["dogs", "1.0%"]], ["a note"]))
    assert 'aria-label="of &lt;all&gt;"' in shown
    assert '<caption class="hidden"><bdi>of &lt;all&gt;</bdi></caption>' in shown
    assert '<th scope="col"><bdi>hit@1</bdi></th>' in shown
    assert '<tr><th scope="row"><bdi>dogs</bdi></th><td><bdi>1.0%</bdi></td></tr>' in shown
    assert shown.endswith('<p class="quiet"><bdi>a note</bdi></p>')


def test_what_all_reports_say_is_said_once_and_what_one_says_by_its_name():
    told = report.of(FOUND)
    said = [replace(told, notes=["of all", f"{name}: own", *more]) for name, *more in ("a", "bx", "cx")]
    assert page._notes(["a", "b", "c"], said) == ["of all", "a: own", "b: own", "b: x", "c: own", "c: x"]


def test_a_picture_that_is_gone_is_a_box_with_the_reason(photos, tmp_path):
    found = measure(ToyEncoder(), photos)
    (tmp_path / "red.png").write_bytes(b"no picture any more")
    html = drawn(tmp_path / "page.html", [(found, report.of(found))])
    assert '<div class="none" title="red.png">' in html
    assert "not a picture of a known format" in html
    assert "data:image/webp" in html


def test_pictures_are_small_decoded_once_and_of_a_bounded_number():
    decoded = []
    big = Item("a", "a.png", lambda: decoded.append(1) or Image.effect_noise((900, 600), 90).convert("RGB"))
    album = Album(most=2)
    shown = [album.picture(big) for _ in range(3)]
    assert len(decoded) == 1
    assert shown[0] == shown[1] != shown[2]
    assert len(shown[0]) < 40_000
    assert shown[2] == '<div class="none" title="a.png">the page has pictures enough</div>'


@pytest.mark.parametrize(("shape", "seen"), [((4, 4), True), ((4, 1, 1), True), ((4, 4, 3), True), ((4, 4, 5), False)])
def test_arrays_are_shown_where_they_are_pictures(shape, seen):
    shown = Album().picture(Item("a", "a", lambda: np.zeros(shape, np.uint8)))
    assert ("<img" in shown) == seen
    assert ("has 5 channels: cannot be shown" in shown) != seen


def test_a_picture_that_cannot_be_had_is_told_by_its_reason():
    def gone():
        raise ImageError("gone <away>")

    assert "gone &lt;away&gt;</div>" in Album().picture(Item("a", "a", gone))


def test_two_encoders_of_one_name_are_told_apart(tmp_path):
    one, other = (replace(FOUND, fingerprint=name * 12) for name in "xy")
    both = [(found, report.of(found)) for found in (one, other)]
    assert page.called([told for _, told in both]) == ["toy (xxxxxxxx)", "toy (yyyyyyyy)"]
    html = drawn(tmp_path / "page.html", both, creator="written by mmr")
    assert html.count('class="stroke s1"') >= 2
    assert '<meta name="generator" content="written by mmr">' in html


def test_every_query_of_the_galleries_is_of_another_picture_and_marks_what_is_right():
    shown = Gallery(FOUND, Album()).html(firsts_of(FOUND))
    worst = shown.split("The best captions")[0]
    assert re.findall(r"<h4><q><bdi>([^<]*)", worst) == ["caption 2", "caption 3"]
    assert worst.count("<b>right</b>, place 3, 0.100") == 1
    assert "2 of 3 wrong first answers" in shown


def test_what_is_found_and_lost_since_another_encoder():
    # Before, captions 1 and 2 find picture 1, and 3 its own; caption 0 does not.
    before = scored([[0.1, 0.2, 0.9], [0.1, 0.9, 0.2], [0.3, 0.9, 0.2], [0.1, 0.2, 0.9]], [0, 1, 1, 2])
    shown = Gallery(FOUND, Album()).html(firsts_of(FOUND), ("old <one>", answers.firsts(before, WORDS)))
    told = ("here, not by old &lt;one&gt;: 1<", "by old &lt;one&gt;, not here: 3<")
    gained, lost = (re.search(f"<summary><bdi>Captions found first {one}.*?</details>", shown)[0] for one in told)
    assert re.findall(r"<bdi>(caption \d)", gained) == ["caption 0"]
    assert "place 3 by <bdi>old &lt;one&gt;" in gained
    assert re.findall(r"<bdi>(caption \d)", lost) == ["caption 2", "caption 3"]  # one of each picture
    other = answers.firsts(JUDGED, WORDS)  # asked other captions
    assert "Captions found" not in Gallery(FOUND, Album()).html(firsts_of(FOUND), ("old", other))


@pytest.mark.parametrize(
    "found",
    [
        measured(np.eye(2)[[0]], np.eye(2)[[0]], [0]), measured(np.ones((3, 1)), np.ones((4, 1)), [0, 1, 2, 2]),
        measured([[np.nan]], [[np.nan]], [0]), measured([[1], [np.nan]], [[np.nan], [1]], [0, 1]),
    ],
    ids=["one picture", "all alike", "no numbers", "some numbers"],
)  # fmt: skip
def test_it_is_written_whatever_was_measured(found, tmp_path):
    html = drawn(tmp_path / "page.html", [(found, report.of(found))])
    assert html.endswith("</html>\n")
    assert not re.findall(r'"[^"<>]*\b(?:nan|inf)\b', html)  # a place in a chart, say


def test_what_cannot_be_written_leaves_the_old_page(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        page.write(tmp_path / "page.html", [(FOUND, report.of(FOUND))])
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"


# ---------------------------------------------------------------- rows


def test_a_row_for_every_query_in_both_directions(photos, tmp_path):
    found = measure(ToyEncoder(), photos)
    rows.write_csv(tmp_path / "new" / "rows.csv", [(found, report.of(found))])
    with (tmp_path / "new" / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == list(rows.HEADER)
    assert [row["direction"] for row in table] == [WORDS] * 6 + [PICTURES] * 3
    first, second, red = table[0], table[1], table[6]
    assert (first["query"], first["picture"], first["first"]) == ("red <script>alert(1)</script>", "red.png", "red.png")
    assert [first[name] for name in ("rank", "optimistic_rank", "hit@1", "hit@10")] == ["1", "1", "1", "1"]
    assert second["query"] == " =a red one"
    assert (red["query"], red["picture"]) == ("red.png", "red.png")
    assert float(red["first_score"]) == float(red["score"]) > 0.99


def test_no_cell_is_a_formula(tmp_path):
    items = [replace(item, uri=f"{sign}{item.uri}") for item, sign in zip(FOUND.items, "=+@", strict=True)]
    evil = replace(FOUND, items=items, encoder="=1+1", pairs=[replace(pair, caption="-2") for pair in FOUND.pairs])
    rows.write_csv(tmp_path / "rows.csv", [(evil, report.of(evil))])
    with (tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [table[0][name] for name in ("encoder", "query", "picture", "first")] == [
        " =1+1", " -2", "./=p0.png", "./=p0.png"
    ]  # fmt: skip
    assert [table[6][name] for name in ("query", "picture", "first")] == ["./@p2.png", "./@p2.png", " -2"]


def test_a_row_of_a_query_that_fails_says_what_stood_first(tmp_path):
    rows.write_csv(tmp_path / "rows.csv", [(FOUND, report.of(FOUND))])
    third = (tmp_path / "rows.csv").read_text("utf-8-sig").splitlines()[3]
    assert third == "toy,toy-fingerprint,text_to_image,caption 2,p1.png,3,3,0.100000,p0.png,0.700000,0,1,1"


# ---------------------------------------------------------------- in a browser


@pytest.mark.parametrize(("width", "scheme"), [(380, "light"), (1400, "dark")])
def test_the_page_fits_its_window_and_shows_its_pictures(photos, tmp_path, width, scheme):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no Chromium is here")
    found, wrong = measure(ToyEncoder(), photos), []
    drawn(tmp_path / "page.html", [(found, report.of(found))] * 2, tables=[Table("t", ["x" * 60] * 9, [["1"] * 9])])
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        opened.on("console", lambda said: wrong.append(said.text))
        opened.on("dialog", lambda dialog: wrong.append(dialog.message))
        opened.goto((tmp_path / "page.html").as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        opened.locator("summary", has_text="The best captions").first.click()
        shown = opened.locator("section > details[open] img").first
        assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
        assert opened.locator("svg[role=img]").count() == 4 + 2
        paper = opened.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]
        browser.close()
    assert not wrong
