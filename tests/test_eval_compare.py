"""Which encoder is better, where, under which harm, and what is to be known of the pairs: small cases by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.serve import reported
from eval import audit, comparing, judgements, measuring, qrels, robustness, slices, through
from eval.measuring import Measured
from eval.tables import Table
from indexes.errors import WrongEncoder
from retrieval import Retriever, open_pairs
from retrieval.datatypes import Item, Pair
from retrieval.errors import BadRequest
from terminal import fails, lines, mmr
from toy import ToyEncoder, picture

EYE = np.eye(8, dtype=np.float32)


def item(name, **meta):
    return Item(name, name, Path(name), meta=meta)


def pairs_of(*said):
    """From (picture, caption) or (picture, caption, meta)."""
    items = {}
    return [Pair(items.setdefault(one[0], item(one[0])), one[1], meta=one[2] if len(one) > 2 else {}) for one in said]


def measured(images, texts, owner, name="one", pairs=()):
    owner = np.array(owner)
    if not pairs:
        pairs = pairs_of(*((f"{number}.png", f"caption {place}") for place, number in enumerate(owner)))
    return Measured(name, f"{name}-print", measuring.each_once(pairs), pairs, images, texts, owner)


# ---------------------------------------------------------------- A and B


@pytest.fixture
def right_and_wrong():
    """200 pictures; one encoder finds all, another none of the first half, a third what the first does."""
    rows = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    half = rows.copy()
    half[:100] = -half[:100]
    owner = np.arange(200)
    return [
        measured(rows, rows, owner, "all"), measured(rows, half, owner, "half"), measured(rows, rows, owner, "same"),
    ]  # fmt: skip


def test_a_difference_has_its_interval_and_its_test(right_and_wrong):
    everything, half, same = right_and_wrong
    one = next(found for found in comparing.differences(everything, half) if found.metric == "hit@1")
    assert (one.encoder, one.beside, one.direction, one.value) == ("all", "half", "text_to_image", 0.5)
    # Standard error of a share of one half of 200: .0354.
    assert (one.low, one.high) == pytest.approx((0.5 - 1.96 * 0.0354, 0.5 + 1.96 * 0.0354), abs=0.01)
    assert one.mcnemar == pytest.approx(2 / 2**100)
    assert one.is_sure
    other = next(found for found in comparing.differences(half, everything) if found.metric == "hit@1")
    assert (other.value, other.is_sure) == (-0.5, True), "surely worse is sure as well"
    none = comparing.differences(everything, same)
    assert {(found.value, found.low, found.high, found.is_sure) for found in none} == {(0.0, 0.0, 0.0, False)}


def test_the_best_is_marked_only_where_it_is_surely_so(right_and_wrong):
    everything, half, same = right_and_wrong
    alone = comparing.table([everything, half])
    assert alone.rows[0][1] == "100.0%*" and alone.rows[1][1] == "50.0% "
    assert not any("*" in cell for row in comparing.table([everything, half, same]).rows for cell in row)
    assert alone.rows[0][-1] == "600.0"


def test_encoders_are_compared_on_the_same_pictures_only(right_and_wrong):
    everything, half, _ = right_and_wrong
    with pytest.raises(BadRequest, match="twice"):
        comparing.require_same([everything, everything])
    with pytest.raises(BadRequest, match="same pictures"):
        comparing.require_same([everything, replace(half, items=half.items[:-1])])


# ---------------------------------------------------------------- slices


def test_slices_by_words_and_by_what_a_row_says():
    pairs = pairs_of(
        ("a", "one two", {"lang": "en"}), ("a", "one two three four five", {"lang": "de"}),
        ("b", "one", {"lang": "en"}), ("b", "one two three four", {"lang": " "}),
    )  # fmt: skip
    # Captions 0 and 1 find picture a; 2 finds the wrong one; 3 finds b.
    one = measured(EYE[:2], EYE[[0, 0, 0, 1]], [0, 0, 1, 1], pairs=pairs)
    found = {part.name: (part.queries, part.values["hit@1"]) for part in slices.of(one, "words")}
    assert found == {"1 to 3": (2, 0.5), "4 to 6": (2, 1.0)}
    found = {(part.name, part.direction): (part.queries, part.values["hit@1"]) for part in slices.of(one, "lang")}
    assert found["en", "text_to_image"] == (2, 0.5)
    assert found["de", "text_to_image"] == found["(nothing)", "text_to_image"] == (1, 1.0)
    assert {part.direction for part in slices.of(one, "lang")} == {"text_to_image"}, "a picture's captions differ"
    assert {part.direction for part in slices.of(one, "captions")} == {"text_to_image", "image_to_text"}
    with pytest.raises(BadRequest, match="no row has colour: give --by words, letters, captions, lang"):
        slices.of(one, "colour")


def test_a_row_that_says_nothing_is_not_what_the_first_row_of_its_picture_says(photos):
    (photos / "rows.csv").write_text("image,lang,caption\nred.png,en,red\nred.png,,rot\nred.png,fr,rouge\n")
    one = measuring.measure(ToyEncoder(), open_pairs(str(photos / "rows.csv")))
    assert slices.divided(one, "lang") == ["en", "(nothing)", "fr"]


def test_a_field_of_many_numbers_is_cut_in_four_and_rare_values_are_one():
    numbers = pairs_of(*((f"{n}", "x", {"year": n}) for n in range(100)))
    names = slices.divided(measured(EYE, EYE, [0], pairs=numbers), "year")
    assert [names.count(name) for name in dict.fromkeys(names)] == [25, 25, 25, 25]
    texts = pairs_of(*((f"{n}", "x", {"word": "often" if n < 50 else f"rare {n}"}) for n in range(100)))
    names = slices.divided(measured(EYE, EYE, [0], pairs=texts), "word")
    assert (names.count("often"), len(set(names)), slices.OTHER in names) == (50, slices.VALUES + 1, True)


# ---------------------------------------------------------------- what is to be known


def test_captions_and_pictures_that_cannot_be_told_apart_are_said(tmp_path):
    one, copy, other = (picture(tmp_path / f"{n}.png", (n // 2, 0, 0)) for n in range(3))
    items = [Item(path.name, path.name, path) for path in (one, copy, other)]
    said = [
        Pair(items[0], "A dog runs."),
        Pair(items[1], "a  dog runs"),
        Pair(items[2], "a cat"),
        Pair(items[2], "a cat"),
    ]
    assert audit.of_pairs(said) == [
        'captions that several pictures have: 2, as "a dog runs" of 2; no encoder can tell which is meant',
        "captions that come again with the same picture: 1, each time a query",
        "2 pictures are copies of each other, as 0.png, 1.png: one is wrong where the other is right",
    ]
    assert audit.of_pairs([Pair(items[2], "a cat"), Pair(items[0], "a dog")]) == []
    line, names = audit.seen_before([Pair(items[0], "x"), Pair(items[2], "y")], [Pair(items[1], "another")])
    assert names == ["0.png"] and line.startswith("pictures that were trained on as well: 1, as 0.png;")
    assert audit.seen_before([Pair(items[2], "y")], [Pair(items[1], "another")]) == ("", [])


def test_vectors_that_are_no_numbers_or_all_alike_are_said():
    bad = EYE[:4].copy()
    bad[1, 1] = np.nan
    same = np.tile(EYE[:1], (4, 1))
    notes = audit.of_vectors(measured(bad, same, range(4)))
    assert notes[0] == "one: 1 pictures have vectors that are no numbers: they count as found last"
    assert notes[1].startswith("one: captions are hardly told apart, their mean cosine is 1.000")
    assert audit.of_vectors(measured(EYE, EYE, range(8))) == []
    assert audit.mean_cosine(EYE[[0, 0, 1]]) == pytest.approx(1 / 3)


# ---------------------------------------------------------------- harms


def test_each_harm_does_what_its_name_says():
    assert robustness.without_negation("A dog, not a cat, without its owner") == "A dog, a cat, its owner"
    assert sorted(robustness.shuffled("a dog on the beach").split()) == sorted("a dog on the beach".split())
    wrong = robustness.typos("a beautiful picture of dog")
    assert wrong == robustness.typos("a beautiful picture of dog"), "the same each time"
    assert wrong.split()[0] == "a" and wrong.split()[3:] == ["of", "dog"] and wrong != "a beautiful picture of dog"
    image = Image.new("RGB", (100, 50), (200, 0, 0))
    image.putpixel((0, 0), (0, 0, 255))
    assert robustness.turned(image).getpixel((0, 99)) == (0, 0, 255)
    assert robustness.cropped(image).size == (60, 30)
    assert len(set(robustness.grey(image).getpixel((50, 25)))) == 1
    assert robustness.blurred(image).getpixel((0, 0))[0] > 0
    assert robustness.squeezed(image).size == image.size


def test_what_is_left_under_each_harm(tmp_path):
    """A toy that sees colours alone finds nothing without them; it reads no case, and turned pictures keep theirs."""
    rows = [("red", (250, 9, 0)), ("green", (0, 250, 9)), ("blue", (9, 0, 250))]
    said = [Pair(Item(name, name, picture(tmp_path / f"{name}.png", colour)), name) for name, colour in rows]
    clean = measuring.measure(ToyEncoder(), said)
    found = {one.name: one for one in robustness.harms(clean, ToyEncoder())}
    hits = {name: float(one.measured.each["text_to_image"]["hit@1"].mean()) for name, one in found.items()}
    assert hits["none"] == hits["CAPITALS"] == hits["turned by 90 degrees"] == hits["blur"] == 1.0
    assert hits["grey"] == 0.0
    assert hits["typos"] < 1.0, "green and blue are mistyped"
    assert found["negations dropped"].changed == 0 and found["CAPITALS"].changed == 3
    table = robustness.table(list(found.values()))
    assert table.rows[0][0] == "none" and table.rows[-1][4].startswith("+0.0"), "3 pictures: hit@10 is always 1"


# ---------------------------------------------------------------- people


def test_kendall_and_spearman_are_scipys():
    from scipy import stats

    random = np.random.default_rng(0)
    for count, values in ((5, 2), (300, 4), (judgements.BLOCK + 9, 6)):
        one = random.standard_normal(count).round(1)
        other = (one + random.standard_normal(count)).round() % values
        found = judgements.kendall(one, other)
        assert found["tau_b"] == pytest.approx(stats.kendalltau(one, other, variant="b").statistic)
        assert found["tau_c"] == pytest.approx(stats.kendalltau(one, other, variant="c").statistic)
        assert judgements.spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_scores_of_several_people_are_examples_each_and_strange_ones_are_left_out():
    pairs = pairs_of(
        ("a", "x", {"expert": "1;2;9"}), ("b", "y", {"expert": [3, 4]}), ("c", "z", {"expert": "good"}), ("d", "w")
    )
    images = EYE[:4]
    texts = np.array([[0.1, 0, 0, 0], [0, 0.9, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]], np.float32) @ EYE[:4]
    one = measured(images, texts, range(4), pairs=pairs)
    found = judgements.agreement(one, ToyEncoder(), "expert", (1, 4))
    # Cosines .1 .1 .9 .9 with scores 1 2 3 4: four pairs agree, two are ties of the cosine.
    assert (found.examples, found.left_out) == (4, 2)
    assert found.figures["tau_b"] == pytest.approx(4 / np.sqrt(4 * 6))
    assert found.figures["tau_c"] == pytest.approx(2 * 4 / (16 * 1 / 2))
    assert found.notes == ["2 judgements outside 1 to 4 were left out, as 9, good"]
    with pytest.raises(BadRequest, match="no row has nobody: give --judgements expert"):
        judgements.agreement(one, ToyEncoder(), "nobody")
    with pytest.raises(BadRequest, match="fewer than two different scores"):
        judgements.agreement(one, ToyEncoder(), "expert", (9, 10))


def test_cosines_that_are_equal_rank_nothing_and_are_no_nan():
    pairs = pairs_of(("a", "x", {"s": "1, 2"}), ("b", "y", {"s": [3]}))
    found = judgements.agreement(measured(EYE[:2], EYE[:2], [0, 1], pairs=pairs), ToyEncoder(), "s")
    assert found.examples == 3, "a comma divides as well"
    said = json.loads(found.to_json())
    assert (said["tau_b"], said["tau_c"], said["spearman"]) == (None, None, None)
    assert said["notes"] == ["all cosines are equal: there is nothing to rank by"]


def test_scores_of_one_and_two_are_no_choices():
    pairs = pairs_of(("a", "x", {"s": 1, "caption_b": "o"}), ("b", "y", {"s": 2, "caption_b": "o"}))
    one = measured(EYE[:2], EYE[:2], [0, 1], pairs=pairs)
    assert set(judgements.agreement(one, ToyEncoder(), "s").figures) == {"tau_b", "tau_c", "spearman"}
    apart = pairs_of(("a", "x", {"s": "a"}), ("b", "y", {"caption_b": "o"}))
    with pytest.raises(BadRequest, match="no row has both a choice and caption_b"):
        judgements.agreement(measured(EYE[:2], EYE[:2], [0, 1], pairs=apart), ToyEncoder(), "s")


def test_choices_between_two_captions(photos):
    # Right, right, wrong, and a tie, which is no answer.
    rows = "red.png,red,blue,a\nmore/green.jpg,blue,green,b\nblue é.png,red,blue,first\nred.png,red,red,a\n"
    (photos / "rows.csv").write_text(f"image,caption,caption_b,better\n{rows}")
    one = measuring.measure(ToyEncoder(), open_pairs(str(photos / "rows.csv")))
    found = judgements.agreement(one, ToyEncoder(), "better")
    assert (found.examples, found.figures) == (4, {"accuracy": pytest.approx(2 / 4)})
    (photos / "rows.csv").write_text("image,caption,better\nred.png,red,a\nblue é.png,blue,b\n")
    one = measuring.measure(ToyEncoder(), open_pairs(str(photos / "rows.csv")))
    with pytest.raises(BadRequest, match="column caption_b"):
        judgements.agreement(one, ToyEncoder(), "better")


# ---------------------------------------------------------------- qrels


def test_grades_from_a_file(tmp_path):
    pairs = pairs_of(("a b.png", "x", {"qid": "q7"}), ("c.png", "y"), ("c.png", "z"))
    items = measuring.each_once(pairs)
    file = tmp_path / "qrels"
    file.write_text("q7 0 a b.png 2\n2 Q0 c.png 1\n2 0 a b.png 0\n\n9 0 c.png 1\nq7 0 gone.png 1\n")
    right, notes = qrels.read(file, pairs, items)
    assert (right.query.tolist(), right.item.tolist(), right.grade.tolist()) == ([0, 1], [0, 1], [2.0, 1.0])
    assert notes == [f"2 lines of {file} name a query or a picture that is not here"]
    one = replace(measured(EYE[:2], EYE[[0, 1, 2]], [0, 1, 1], pairs=pairs), judged=right)
    assert one.asked["text_to_image"].tolist() == [0, 1], "the third has no relevant picture"
    assert one.owners("text_to_image").tolist() == [0, 1]
    assert one.each["text_to_image"]["hit@1"].tolist() == [1.0, 1.0]
    assert sum(part.queries for part in slices.of(one, "words") if part.direction == "text_to_image") == 2
    for line, said in (
        ("q7 0 c.png", "line 1 is not"), ("q7 0 c.png good", "line 1 is not"), ("5 0 x 1", "nothing in"),
        ("q7 0 c.png 1\nq7 0 c.png 2", "line 2: c.png has two grades"), ("2 0 c.png inf", "line 1 is not"),
        ("2 0 c.png nan", "line 1 is not"), ("q7 0 c.png 0", "has a grade above 0"), ("", "nothing in"),
    ):  # fmt: skip
        file.write_text(line)
        with pytest.raises(BadRequest, match=said):
            qrels.read(file, pairs, items)
    with pytest.raises(BadRequest, match="cannot be read"):
        qrels.read(tmp_path / "none", pairs, items)


def test_captions_are_numbered_as_they_stand_in_the_source(tmp_path):
    """Whatever cannot be read before them."""
    every = pairs_of(("broken.png", "x"), ("a.png", "y"), ("b.png", "z"))
    (tmp_path / "qrels").write_text("2 0 a.png 1\n3 0 b.png 1\n1 0 broken.png 1\n")
    right, notes = qrels.read(tmp_path / "qrels", every[1:], measuring.each_once(every[1:]), every)
    assert (right.query.tolist(), right.item.tolist(), len(notes)) == ([0, 1], [0, 1], 1)
    twice = pairs_of(("a.png", "y", {"qid": "q"}), ("b.png", "z", {"qid": "q"}))
    with pytest.raises(BadRequest, match="several captions have the qid q"):
        qrels.read(tmp_path / "qrels", twice, measuring.each_once(twice))


# ---------------------------------------------------------------- an index


def test_what_an_index_costs(photos, monkeypatch):
    (photos / "pairs.csv").write_text("image,caption\nred.png,red\nmore/green.jpg,green\nblue é.png,red\n")
    Retriever.build(str(photos), photos / ".mmr", ToyEncoder())[0].close()
    one = measuring.measure(ToyEncoder(), open_pairs(str(photos / "pairs.csv")))
    found = through.search(one, photos / ".mmr")
    assert (found.rows, found.queries, found.exact, found.searched, found.recall) == (3, 3, 1.0, 1.0, 1.0)
    monkeypatch.setattr(through, "K", 1)  # the blue picture, which is called red, is behind the red one
    assert through.search(one, photos / ".mmr").exact == pytest.approx(2 / 3)
    with pytest.raises(WrongEncoder, match="not of other: index with it"):
        through.search(replace(one, encoder="other", fingerprint="other"), photos / ".mmr")
    elsewhere = [replace(each, id=f"x{each.id}", content=lambda: b"") for each in one.items]
    with pytest.raises(BadRequest, match="holds none of these pictures"):
        through.search(replace(one, items=elsewhere), photos / ".mmr")


# ---------------------------------------------------------------- the command


def test_the_page_takes_all_that_is_written(trained, book, indexed, tmp_path):
    """Whatever kind of line there is, a server can be started with it."""
    source = f"csv:{book}/pairs.csv?split=dev"
    told = mmr("eval", trained, source, "--by", "words", "--robust", "--through", indexed, "--json").stdout
    (tmp_path / "eval.json").write_text(told)
    kinds = [one["kind"] for one in reported.read(tmp_path / "eval.json")]
    assert (kinds[0], set(kinds[1:])) == ("retrieval", {"slice", "other"}) and kinds.count("other") == 2
    (tmp_path / "folds.json").write_text(json.dumps({"folds": {}, "encoder": "a"}))
    assert reported.read(tmp_path / "folds.json") == [{"kind": "other"}]


def test_what_is_known_of_the_pairs_stands_beside_judgements(trained, book, tmp_path):
    rows = "".join(f"{book}/{number:03d}.png,a dog,{number % 3}\n" for number in range(6))
    (tmp_path / "rows.csv").write_text(f"image,caption,score\n{rows}")
    words = ("eval", trained, tmp_path / "rows.csv", "--judgements", "score", "--trained-on", f"csv:{book}/pairs.csv")
    (told,) = lines(mmr(*words, "--json"))
    assert [note.partition(":")[0] for note in told["notes"]] == [
        "captions that several pictures have", "pictures that were trained on as well",
    ]  # fmt: skip


def test_two_encoders_side_by_side_with_slices_and_harms(trained, book, tmp_path):
    other = tmp_path / "other"
    assert mmr("blend", trained, trained, "--out", other, "--at", "0.5").exit_code == 0
    source = f"csv:{book}/pairs.csv?split=dev"
    found = lines(mmr("eval", trained, other, source, "--by", "words", "--robust", "--json"))
    assert [line["encoder"] for line in found[:2]] == [str(trained), str(other)]
    kinds = [next(iter(line)) for line in found[2:]]
    assert kinds.count("difference") == 8 and kinds.count("robustness") == 2 and "slice" in kinds
    text = mmr("eval", trained, other, source, "--by", "words", "--robust").stdout
    assert "* is the best, surely" in text and f"by words, {trained}"[:20] in text and "robustness, " in text


def test_files_for_people_and_for_other_tools(trained, book, tmp_path):
    source = f"csv:{book}/pairs.csv?split=dev"
    files = [tmp_path / name for name in ("report.html", "rows.csv", "ours.json")]
    result = mmr("eval", trained, source, "--html", files[0], "--csv", files[1], "--clip-benchmark", files[2])
    assert result.exit_code == 0, result.output
    report = json.loads(mmr("eval", trained, source, "--json").stdout)
    assert "written by mmr" in files[0].read_text("utf-8") and f"{report['queries']}" in files[0].read_text("utf-8")
    assert len(files[1].read_text("utf-8-sig").splitlines()) == 1 + report["queries"] + report["items"]
    theirs = json.loads(files[2].read_text("utf-8"))
    assert (theirs["dataset"], theirs["task"], theirs["language"]) == ("pairs", "zeroshot_retrieval", "en")
    assert theirs["metrics"]["image_retrieval_recall@5"] == report["text_to_image"]["hit@5"]
    assert mmr("eval", trained, source, "--html", files[0]).exit_code == 0, "it is ours"
    fails(mmr("eval", trained, source, "--csv", files[1]), 2, "is there already", "--force")
    fails(mmr("eval", trained, source, "--html", tmp_path), 2, "is a folder")
    fails(mmr("eval", trained, trained, source, "--clip-benchmark", files[2], "--force"), 2, "is of one encoder")


def test_figures_of_papers_stand_beside_and_other_counts_are_told(trained, book):
    source = f"csv:{book}/pairs.csv?split=dev"
    said = mmr("eval", trained, source, "--protocol", "flickr8k").stdout
    assert "flickr8k has 1,000 pictures (the test split of Flickr8k), and here are 10" in said
    assert "VSE, VGG19 frozen" in said and "t2i hit@1" in said
    fails(mmr("eval", trained, source, "--protocol", "coco-1k"), 2, "five times 1,000 pictures")
    fails(mmr("eval", trained, source, "--protocol", "coco"), 2, "no protocol `coco`: use flickr8k")


def test_pictures_of_the_training_are_named(trained, book):
    source = f"csv:{book}/pairs.csv?split=dev"
    result = mmr("eval", trained, source, "--trained-on", f"csv:{book}/pairs.csv?split=train", "--json")
    assert result.exit_code == 0 and "trained on" not in result.output
    result = mmr("eval", trained, source, "--trained-on", source)
    assert "pictures that were trained on as well: 10, as 050.png, 051.png, 052.png, ..." in result.stdout
    assert result.stderr.count("trained on: ") == 10


def test_pictures_that_cannot_be_read_are_left_out_and_told_by_the_exit_code(trained, book, tmp_path):
    (tmp_path / "rows.csv").write_text(f"image,caption\n{book}/001.png,a dog\n{book}/002.png,a cat\ngone.png,a car\n")
    result = mmr("eval", trained, tmp_path / "rows.csv")
    assert (result.exit_code, "gone.png: no such file" in result.stderr) == (4, True)
    assert result.stdout.startswith("2 pictures, 2 captions")


def test_what_makes_no_sense_is_one_line(trained, book, tmp_path):
    source = f"csv:{book}/pairs.csv?split=dev"
    fails(mmr("eval", trained, trained, source), 2, "is named twice")
    fails(mmr("eval", trained, source, "--by", "colour"), 2, "no row has colour", "--by words")
    fails(mmr("eval", trained, source, "--scale", "4:1"), 2, "--scale 4:1 is no scale", "1:4")
    fails(mmr("eval", trained, source, "--scale", "1:4"), 2, "add --judgements")
    fails(mmr("eval", trained, source, "--judgements", "x", "--by", "words"), 2, "leave out --by")
    same = ("--html", tmp_path / "one", "--csv", tmp_path / "one")
    fails(mmr("eval", trained, source, *same), 2, "--html and --csv name one file")
    fails(mmr("eval", trained, source, "--through", tmp_path), 3, "no index")
    fails(mmr("eval", trained, source, "--qrels", tmp_path / "none"), 2, "cannot be read")
    fails(mmr("eval", trained), 2, "")


def test_how_fast(trained, indexed, monkeypatch):
    from eval import speed

    monkeypatch.setattr(speed, "LEAST", 0.0)
    monkeypatch.setattr(speed, "SIZE", (64, 48))
    monkeypatch.setattr(speed, "PICTURES", 8)
    found = [json.loads(line) for line in mmr("eval", "speed", trained, "--json").stdout.splitlines()]
    assert [(one["what"], one["together"]) for one in found] == [("pictures", 0), ("texts", 1), ("texts", 256)]
    assert all(one["per_second"] > 0 for one in found)
    text = mmr("eval", "speed", trained, indexed).stdout
    assert "first query, one at a time" in text and "queries, 1000 together" in text
    fails(mmr("eval", "speed", trained, indexed, "more"), 2, "mmr eval speed ENCODER [INDEX]")


def test_a_table_in_columns():
    table = Table("what", ["", "long header"], [["a", "1"], ["x" * 50, "22"]], ["a note"])
    assert str(table).splitlines() == [
        "what", " " * 48 + "long header", "  a" + " " * 55 + "1", "  ..." + "x" * 41 + " " * 11 + "22", "a note",
    ]  # fmt: skip
