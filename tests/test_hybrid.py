"""Words beside meaning: two rankings as one, what is asked by default, and why each answer is one."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from cli.output import hits
from indexes import BadWords, Record, Store
from indexes.fusing import WINDOW, Fusion, Ranking, fuse
from retrieval import Retriever
from retrieval.datatypes import By, Hit
from retrieval.errors import BadRequest
from retrieval.indexing import hybrid
from retrieval.indexing.hybrid import Measured
from rows import unit
from terminal import mmr

COSINES = np.array([0.9, 0.8, 0.5, 0.1, 0.0], np.float32)  # of rows 0 to 4


def ranked(rows, scores=None):
    return Ranking(np.array(rows, np.int64), np.array(COSINES[rows] if scores is None else scores, np.float32))


def fused(fusion, meaning, words, bm25, whole=10.0):
    return fuse(fusion, ranked(meaning), ranked(words, bm25), lambda rows: COSINES[rows], whole)


def test_reciprocal_ranks_by_hand():
    found = fused(Fusion("reciprocal", 0.5), [0, 1, 2], [2, 3], [5.0, 4.0])
    # 2: 1/63 + 1/61; 0: 1/61; 1 and 3: 1/62 each, the lower row first
    assert found.rows.tolist() == [2, 0, 1, 3]
    assert found.places.tolist() == [[3, 1], [1, 0], [2, 0], [0, 2]]
    np.testing.assert_array_equal(found.cosines, COSINES[[2, 0, 1, 3]])


def test_relative_scores_by_hand():
    found = fused(Fusion("relative", 0.25), [0, 1, 2], [2, 4], [10.0, 8.0])
    # near: 1, 0.75, 0; row 4 is below the window, so 0. Words: row 2 has 1, row 4 0.8.
    assert found.rows.tolist() == [0, 1, 2, 4]  # 0.75, 0.5625, 0.25, 0.2
    assert fused(Fusion("relative", 0.6), [0, 1, 2], [2, 4], [10.0, 8.0]).rows.tolist() == [2, 4, 0, 1]


@pytest.mark.parametrize("kind", ["reciprocal", "relative"])
def test_one_ranking_alone_stays_as_it_is(kind):
    nothing = ranked([], [])
    assert fuse(Fusion(kind), ranked([2, 0, 1], [0.9, 0.8, 0.7]), nothing, lambda rows: rows, 5.0).rows.tolist() == [
        2,
        0,
        1,
    ]
    assert fuse(Fusion(kind), nothing, ranked([3, 1], [2.0, 1.0]), lambda rows: COSINES[rows], 5.0).rows.tolist() == [
        3,
        1,
    ]


def test_weights_of_nothing_and_all_are_the_rankings():
    meaning, words = [0, 1, 2], [2, 1, 0]
    for kind in ("reciprocal", "relative"):
        assert fused(Fusion(kind, 0.0), meaning, words, [3, 2, 1], 3.0).rows.tolist() == meaning
        assert fused(Fusion(kind, 1.0), meaning, words, [3, 2, 1], 3.0).rows.tolist() == words


def test_reciprocal_ranks_are_of_sixty_and_the_place():
    found = fused(Fusion("reciprocal", 0.25), [0, 1], [1, 4], [2.0, 1.0])
    assert found.rows.tolist() == [1, 0, 4]
    assert found.scores.tolist() == pytest.approx([0.75 / 62 + 0.25 / 61, 0.75 / 61, 0.25 / 62])


def test_a_word_that_most_rows_have_says_nothing():
    """Three of four rows have it, and the first of them by length would stand for all."""
    meaning = [0, 1, 2]
    for kind in ("reciprocal", "relative"):
        found = fused(Fusion(kind, 0.9), meaning, [4, 3, 2], [0.29, 0.28, 0.28])
        assert (found.rows.tolist(), found.places[:, 1].tolist()) == (meaning, [0, 0, 0])
    weak = fused(Fusion("relative", 0.5), meaning, [4], [0.5], 0.5)  # a word of more than half: of weight 0.5
    assert weak.rows.tolist() == [0, 1, 4, 2]
    assert weak.scores.tolist() == pytest.approx([0.5, 0.375, 0.25, 0.0])


def test_of_four_words_one_weighs_a_fourth():
    assert fused(Fusion("relative", 0.6), [0, 1, 2], [2], [2.5], 10.0).rows.tolist() == [0, 1, 2]  # .4, .3, .15
    assert fused(Fusion("relative", 0.6), [0, 1, 2], [2], [9.0], 10.0).rows.tolist() == [2, 0, 1]  # .54, .4, .3


# ---------------------------------------------------------------- an index


class Colors:
    """Pictures by their mean color; of texts it knows colors, everything else is gray."""

    name, fingerprint, dim = "colors", "0" * 16, 3
    KNOWN = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}

    def encode_texts(self, texts):
        return unit([self.KNOWN.get(text.split()[0], (1, 1, 1)) for text in texts])


@pytest.fixture
def asked(tmp_path):
    """Search an index of six pictures, of which `words` are the captions."""
    with Store.create(tmp_path / "index", 3, encoder={"name": "colors", "fingerprint": "0" * 16}) as store:
        colors = unit([(1, 0, 0), (0.9, 0.2, 0), (0, 1, 0), (0, 0, 1), (0.1, 0, 1), (0.5, 0.5, 0)])
        said = ["a fox", "red fox runs", "grass", "red sea, a fox", "sky", ""]
        store.add(
            colors, [Record(f"{n}.jpg", fields={"uri": f"{n}.jpg", "caption": one}) for n, one in enumerate(said)]
        )
        retriever = Retriever(store, Colors())
        yield lambda text, **wanted: retriever.search(text, **wanted)


def uris(found):
    return [hit.uri[0] for hit in found]


def test_by_meaning_by_words_and_by_both(asked):
    assert uris(asked("red fox", k=3)) == ["0", "1", "5"]
    assert uris(asked("red fox", k=9, by="words")) == ["1", "3", "0"]
    both = asked("red fox", k=4, by="both")
    assert uris(both) == ["1", "0", "3", "5"]
    assert [hit.by for hit in both] == [
        By(2, 1, ("red fox",)), By(1, 3, ("fox",)), By(6, 2, ("red", "fox")), By(3, None)
    ]  # fmt: skip
    assert [round(hit.score, 2) for hit in both] == [0.98, 1.0, 0.0, 0.71]  # cosines still
    (grass,) = asked("grass", k=1, by="both")  # which the encoder does not know
    assert (grass.uri, grass.by.words, grass.by.matched) == ("2.jpg", 1, ("grass",))


def test_what_is_taken_away_is_not_found_by_words(asked):
    assert uris(asked(["fox", "-", "sea"], by="words")) == ["0", "1"]


def test_the_order_of_limits(asked):
    assert uris(asked("red fox", by="both", min_score=0.5)) == ["1", "0", "5"]
    assert uris(asked("red fox", by="words", where="uri != '1.jpg'")) == ["3", "0"]
    assert len(asked("red fox", by="both", diversity=0.5, k=4)) == 4
    assert set(uris(asked("red fox", by="words", diversity=0.5, k=2))) <= set("013")


def test_diverse_answers_are_of_both_rankings(asked):
    """As much the same as they are: of the first in their order, and not in that of meaning alone."""
    plain, diverse = asked("red fox", by="both", k=3), asked("red fox", by="both", k=3, diversity=0.01)
    assert uris(diverse) == uris(plain) != uris(asked("red fox", k=3, by="meaning", diversity=0.01))


def test_pages_of_both_follow_each_other(tmp_path):
    count = 3 * WINDOW
    with Store.create(tmp_path / "index", 3, encoder={"name": "colors", "fingerprint": "0" * 16}) as store:
        rng = np.random.default_rng(0)
        said = ["fox " * (n % 7 == 0) + "red " * (n % 5 == 0) + f"w{n}" for n in range(count)]
        records = [Record(f"{n}", fields={"uri": f"{n}", "caption": one}) for n, one in enumerate(said)]
        store.add(unit(rng.random((count, 3)) + 0.1), records)
        retriever = Retriever(store, Colors())
        whole = [hit.id for hit in retriever.search("red fox", k=count, by="both")]
        assert sorted(whole) == sorted(record.id for record in records)
        for k in (1, 30, 100, WINDOW, 2 * WINDOW):
            assert [hit.id for hit in retriever.search("red fox", k=k, by="both")] == whole[:k]
        shown = retriever.search("red fox", k=30, by="both", unexplained=20)
        assert [bool(hit.by.matched) for hit in shown] == [False] * 20 + [True] * 10
        diverse = retriever.search("red fox", k=30, by="both", diversity=0.3)
        assert len({hit.id for hit in diverse}) == 30


def test_phrases_and_beginnings(asked):
    assert uris(asked('"red fox"', by="words")) == ["1"]
    assert uris(asked("gras*", by="words")) == ["2"]
    assert asked("nothing", by="words") == []


def test_an_item_of_the_query_is_no_answer_by_both(asked):
    assert "1" not in uris(asked(["red fox", "+", "id:1.jpg"], by="both"))


@pytest.mark.parametrize(
    ("query", "wanted", "error", "message"),
    [
        ('"red', {}, BadWords, "not closed"), ("id:1.jpg", {}, BadRequest, "looks for words"),
        ("red", {"min_score": 0.1}, BadRequest, "--min-score"), ("?!", {}, BadWords, "no word"),
        ("red", {"by": "luck"}, BadRequest, "meaning, words or both"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_by_words(asked, query, wanted, error, message):
    with pytest.raises(error, match=message):
        asked(query, **{"by": "words", **wanted})


def test_by_both_signs_and_pictures_are_asked_by_meaning(asked):
    assert [hit.by for hit in asked("?!", by="both")] == [None] * 6
    assert asked("id:1.jpg", by="both")[0].by is None


# ---------------------------------------------------------------- measured


class Mute(Colors):
    """Hears nothing in a text."""

    def encode_texts(self, texts):
        return unit(np.ones((len(texts), 3)))


NAMES = [
    "".join(letter * 3 for letter in f"{n:03d}".translate(str.maketrans("0123456789", "abcdefghij")))
    for n in range(120)
]


def filled(path, said, encoder):
    store = Store.create(path, 3, encoder={"name": "colors", "fingerprint": "0" * 16})
    vectors = unit(np.random.default_rng(1).random((len(said), 3)) + 0.1)
    store.add(vectors, [Record(f"{n}", fields={"uri": f"{n}.jpg", "caption": one}) for n, one in enumerate(said)])
    hybrid.keep(store, encoder)
    return store


def test_words_are_asked_where_they_find_more(tmp_path):
    with filled(tmp_path / "index", [[f"one {name}", f"again {name}"] for name in NAMES], Mute()) as store:
        found = Measured.recorded(store)
        assert (found.queries, found.rows, found.words, found.both) == (120, 120, 1.0, 1.0)
        assert found.better and found.meaning < 0.2
        assert Retriever(store, Mute()).search(f"the {NAMES[7]}", k=1)[0].id == "7"
        assert "asked together unless --no-hybrid" in str(found)


def test_a_caption_that_is_asked_for_is_not_looked_in(tmp_path):
    """Only the caption that is asked for tells an item from others: held out, words find nothing."""
    with filled(tmp_path / "index", [["a thing", name] for name in NAMES], Mute()) as store:
        assert (Measured.recorded(store).words, Measured.recorded(store).better) == (0.0, False)
        assert Retriever(store, Mute()).search(NAMES[7], k=1)[0].by is None


def test_of_an_only_caption_a_quarter_of_the_words_stays():
    caption = " ".join(f"word{n}" for n in range(4000))
    fields = {"caption": [caption], "meta": {"title": caption, "year": 3}}
    found = json.loads(hybrid._without(fields, caption, np.random.default_rng(0)))
    left = found["caption"][0].split()
    assert 900 < len(left) < 1100 and left == [word for word in caption.split() if word in set(left)]
    assert found["meta"] == {"title": found["caption"][0], "year": 3}
    several = {"caption": ["other", caption], "meta": {"title": caption}}
    found = json.loads(hybrid._without(several, caption, np.random.default_rng(0)))
    assert found == {"caption": ["other", ""], "meta": {"title": ""}}


def trials(places):
    """(by meaning, by words) of each caption, and what every way of fusing makes of it."""
    return [hybrid._Trial((*two, *(way(number) for _ in hybrid._WAYS))) for number, (two, way) in enumerate(places)]


def judged(places):
    return hybrid._judged(trials(places), len(places), 1.0, "0" * 16)


def test_both_are_better_only_where_that_is_sure():
    """A few more found among many may be chance: gains of 1 for two of 100, of 0 for the others, are."""
    few = [((0, 0), lambda number: int(number < 2))] * 100
    many = [((0, 0), lambda number: int(number < 20))] * 100
    assert (judged(few).better, judged(few).both) == (False, 0.02)
    assert (judged(many).better, judged(many).both) == (True, 0.2)


def test_a_way_is_judged_by_captions_that_did_not_choose_it():
    """Each way finds one caption alone, so the way that half of them choose finds none of the other half."""
    ways = len(hybrid._WAYS)
    one_each = [hybrid._Trial((0, 0, *(int(way == number) for way in range(ways)))) for number in range(ways)]
    assert hybrid._judged(one_each, ways, 1.0, "0" * 16).both == 0.0


def test_every_second_caption_is_asked_as_people_type(tmp_path, monkeypatch):
    said = [["seen", f"all these words are said of {name}"] for name in NAMES]
    asked = []
    monkeypatch.setattr(Mute, "encode_texts", lambda self, texts: asked.extend(texts) or unit(np.ones((len(texts), 3))))
    with filled(tmp_path / "index", said, Mute()):
        lengths = [len(text.split()) for text in asked]
    assert sorted(lengths) == [hybrid.TYPED] * 60 + [7] * 60 and lengths[:4] == [7, 4, 7, 4]
    assert all(text in said[n][1] for n in range(120) for text in asked if NAMES[n] in text)


def test_items_with_several_captions_are_asked_for_where_they_are_enough():
    captions = [("one",) if n % 3 else ("one", f"two {n}") for n in range(330)]
    assert hybrid._asked(captions) == {n: f"two {n}" for n in range(0, 330, 3)}
    assert len(hybrid._asked(captions[:200])) == 200  # 67 with several are too few
    assert hybrid._asked([(), (" ",)]) == {}


def test_captions_that_say_nothing_of_their_item_are_not_asked(tmp_path):
    """Words find none; whatever way chance prefers, they are not said to be better."""
    said = [[f"a{n}", f"b{n}"] for n in range(120)]
    with filled(tmp_path / "index", said, Mute()) as store:
        assert not Measured.recorded(store).better


def test_few_captions_are_not_measured_and_it_is_forgotten_with_them(tmp_path):
    said = [[f"one {name}", f"again {name}"] for name in NAMES]
    with filled(tmp_path / "index", said[:99], Mute()) as store:
        assert Measured.recorded(store) is None
    with filled(tmp_path / "other", said, Mute()) as store:
        measured = store.generation
        hybrid.keep(store, Mute())
        assert store.generation == measured  # known already
        store.delete([str(n) for n in range(60)])
        hybrid.keep(store, Mute())
        assert Measured.recorded(store) is None


def test_captions_that_come_later_or_go_are_measured_anew(tmp_path):
    said = [[f"one {name}", f"again {name}"] for name in NAMES]
    with filled(tmp_path / "index", [[]] * 120, Mute()) as store:
        assert Measured.recorded(store) is None
        vectors, ids = store.vectors(store.rows()), [record.id for record in store.records(store.rows())]
        store.add(vectors, [Record(one, fields={"uri": one, "caption": said[int(one)]}) for one in ids])
        hybrid.keep(store, Mute())
        assert Measured.recorded(store).better
        store.add(vectors, [Record(one, fields={"uri": one}) for one in ids])
        hybrid.keep(store, Mute())
        assert Measured.recorded(store) is None


def test_another_encoder_is_measured_anew(tmp_path):
    said = [[f"one {name}", f"again {name}"] for name in NAMES]
    with filled(tmp_path / "index", said, Mute()) as store:
        other = Mute()
        other.fingerprint = "1" * 16
        store.set_manifest(encoder={"name": "other", "fingerprint": "1" * 16})
        hybrid.keep(store, other)
        assert Measured.recorded(store).fingerprint == "1" * 16


GOOD = {
    "kind": "relative", "weight": 0.5, "better": True, "meaning": 0.1, "words": 0.1, "both": 0.2, "queries": 100,
    "rows": 100, "captioned": 1.0, "fingerprint": "0" * 16,
}  # fmt: skip


@pytest.mark.parametrize(
    "said", [3, "x", {}, {"kind": "relative"}, {**GOOD, "kind": "x"}, {**GOOD, "both": [1]}, {**GOOD, "rows": "3"}]
)
def test_what_is_recorded_by_other_hands_is_not_believed(tmp_path, said):
    made = {"name": "colors", "fingerprint": "0" * 16}
    with Store.create(tmp_path / "good", 3, hybrid=GOOD, encoder=made) as store:
        assert Measured.recorded(store) == Measured(**GOOD)
        store.set_manifest(encoder={"name": "other", "fingerprint": "1" * 16})
        assert Measured.recorded(store) is None  # measured of another encoder
    with Store.create(tmp_path / "index", 3, hybrid=said, encoder=made) as store:
        assert Measured.recorded(store) is None


# ---------------------------------------------------------------- as it is shown


@pytest.mark.parametrize(
    ("by", "shown"),
    [
        (By(3, 1, ("golden retriever",)), 'meaning 3rd, words 1st "golden retriever"'),
        (By(None, 12, ("a", "b")), 'words 12th "a" "b"'), (By(111, None), "meaning 111th"),
        (By(22, None), "meaning 22nd"),
    ],
)  # fmt: skip
def test_why_in_words(by, shown):
    assert hits.why(by) == shown


def said_of(by, captions, **meta):
    return hits.telling(Hit(1, 0.5, "a.jpg", None, captions, "a", meta, by=by))


def test_what_is_shown_of_a_hit_is_what_was_found():
    captions = ("a dog jumps", "Golden grass", "golden dogs")
    assert said_of(None, captions) == said_of(By(1, None), captions, text="GATE 14") == "a dog jumps"
    assert said_of(By(None, 1, ("golden",)), captions) == "Golden grass"
    assert said_of(By(None, 1, ("golden", "dog")), captions) == "golden dogs"
    assert said_of(By(None, 1, ("gate 14",)), captions, text="TO GATE 14", year=14) == "text: TO GATE 14"
    assert said_of(By(None, 1, ("a folder",)), ()) == said_of(None, ()) == ""


def test_a_long_text_is_shown_where_it_was_found():
    text = "word " * 1000 + "needle " + "word " * 1000
    assert said_of(None, (text,)) == text[:200] + "…"
    found = said_of(By(None, 1, ("needle",)), (text,))
    assert len(found) == 202 and found[0] == found[-1] == "…" and "needle" in found


@pytest.fixture
def captioned(tmp_path):
    """A csv of twelve gray pictures with captions."""
    names = ["red fox", "brown bear", "blue whale", *(f"thing {n}" for n in range(9))]
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for n, name in enumerate(names):
            Image.new("RGB", (16, 16), (n, n, n)).save(tmp_path / f"{n}.png")
            writer.writerow([f"{n}.png", f"the {name}"])
    return tmp_path


def test_the_command(captioned, trained):
    index = str(captioned / "index")
    assert mmr("index", f"csv:{captioned / 'pairs.csv'}", "--model", str(trained), "--index", index).exit_code == 0
    found = mmr("search", "--words-only", '"brown bear"', "--index", index, "--json")
    (line,) = [json.loads(one) for one in found.stdout.splitlines()]
    assert line["uri"] == "1.png" and line["by"] == {"meaning": None, "words": 1, "matched": ["brown bear"]}
    both = mmr("search", "--hybrid", "brown bear", "--index", index, "-k", "3")
    assert 'words 1st "brown bear"' in both.stdout
    assert mmr("search", "brown bear", "--index", index, "-k", "3", "--no-hybrid").stdout.count("by:") == 0
    none = mmr("search", "--words-only", "zebra", "--index", index)
    assert none.exit_code == 1 and "no --words-only" in none.stderr
    wrong = mmr("search", "--words-only", "--hybrid", "zebra", "--index", index)
    assert wrong.exit_code == 2 and wrong.stderr.count("\n") == 1


def test_a_line_of_a_file_that_makes_no_sense_is_named(captioned, trained, tmp_path):
    index = str(captioned / "index")
    mmr("index", f"csv:{captioned / 'pairs.csv'}", "--model", str(trained), "--index", index)
    (tmp_path / "q.txt").write_text('fox\n"open\n', "utf-8")
    told = mmr("search", "--queries", tmp_path / "q.txt", "--words-only", "--index", index)
    assert told.exit_code == 2 and told.stderr.startswith(f"mmr: line 2 of {tmp_path / 'q.txt'}: a quotation mark")


def test_words_alone_load_no_encoder(captioned, trained, monkeypatch):
    index = str(captioned / "index")
    mmr("index", f"csv:{captioned / 'pairs.csv'}", "--model", str(trained), "--index", index)
    import retrieval.retriever

    def load(*given):
        raise AssertionError("it was loaded")

    monkeypatch.setattr(retrieval.retriever, "_remembered", load)
    assert mmr("search", "--words-only", "whale", "--index", index, "--paths").exit_code == 0


def test_what_was_judged_is_of_meaning_and_no_answer_by_both(asked):
    with pytest.raises(BadRequest, match="leave out the judgements"):
        asked("red fox", by="words", like=["1.jpg"])
    found = asked("red fox", by="both", like=["3.jpg"], unlike=["1.jpg"])
    assert len(found) == 4 and not set(uris(found)) & {"3", "1"}
