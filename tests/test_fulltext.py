"""Records found by the words in them: what is found, in which order, of which commit; and damage."""

import math
import re
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from older import second

from indexes import BadWords, Record, Store, StoreError, Words, filters, verify
from indexes.fulltext import ranking, table, texts
from rows import numbered

DIM = 8
GOLDEN = ["A golden retriever runs", "ein Hund läuft"]
RECORDS = [
    Record("golden", fields={"uri": "dogs/goldenRetriever2.jpg", "caption": GOLDEN}),
    Record("chinese", fields={"uri": "c.jpg", "caption": "一只金毛犬在草地上跑 🐶❤️"}),
    Record("hindi", fields={"uri": "h.jpg", "caption": "कुत्ता घास पर दौड़ रहा है", "file": {"text": "INVOICE No 123"}}),
    Record("shirt", fields={"uri": "s.png", "meta": {"year": 2011, "tags": ["t-shirt", {"of": "Café"}], "ok": True}}),
    Record("thai", fields={"uri": "t.jpg", "caption": "หมาวิ่งบนสนามหญ้า", "labels": {"of": "dog"}, "key": "abc"}),
    Record("odd", fields={"uri": 3, "caption": {"a": "retriever of golden things"}, "meta": True, "file": {"w": 77}}),
    Record("bare"),
]  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "index", DIM) as made:
        made.add(numbered(*range(len(RECORDS))), RECORDS)
        yield made


def found(store, text, k=10, **rest):
    return [record.id for record in store.records(store.search_words(Words.parse(text), k, **rest).rows[0])]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("dog", ["golden", "thai"]),  # a folder; a label, beside letters that are words each
        ("DOGS", ["golden", "thai"]),  # English endings and case do not count
        ("running", ["golden"]),
        ("lauft", ["golden"]),  # nor do accents
        ("cafe", ["shirt"]),
        ("2011", ["shirt"]),
        ("77", []),  # numbers of the file say nothing
        ("abc", []),  # nor does what is no text of people
        ("retriev*", ["odd", "golden"]),
        ('"golden retriever"', ["golden"]),
        ('"retriever golden"', []),
        ('"golden retriever" nothing', ["golden"]),
        ('"golden" things', ["odd", "golden"]),
        ('"golden retr"*', ["golden"]),
        ('"golden retr*"', ["golden"]),
        ('"a golden retr"', []),
        ("goldenRetriever2", ["golden"]),  # names as they are written, and their parts
        ("retriever2", []),
        ("dog's (golden)", ["golden", "odd", "thai"]),  # signs around a word are none of it
        ("t-shirt", ["shirt"]),
        ("金毛", ["chinese"]),
        ("狗", []),
        ("草", ["chinese"]),
        ("大金毛犬", ["chinese"]),  # some of its pairs
        ('"金毛犬在"', ["chinese"]),
        ('"金犬"', []),
        ("🐶", ["chinese"]),
        ("❤", ["chinese"]),
        ("कुत्ता", ["hindi"]),
        ("कुत", []),  # a word of Hindi does not end at its vowel signs
        ("สนาม", ["thai"]),
        ("invoice", ["hindi"]),
        ("ＩＮＶＯＩＣＥ", ["hindi"]),  # of full width
    ],
)
def test_what_is_found(store, text, wanted):
    assert found(store, text) == wanted


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Straße", "STRASSE"), ("Ёлка", "елка"), ("كِتَابٌ", "كتاب"), ("łódź", "lodz"), ("đường", "duong"),
        ("smørrebrød", "Smorrebrod"), ("œuvre", "oeuvre"), ("אִישׁ", "איש"), ("ὁδός", "ΟΔΟΣ"), ("İzmir", "izmir"),
        ("👍🏽", "👍🏿"), ("한국", "한국"), ("がく", "がく"),
    ],
)  # fmt: skip
def test_case_accents_and_points_do_not_count(tmp_path, said, asked):
    with Store.create(tmp_path / "index", DIM) as store:
        store.add(numbered(0, 1), [Record("it", fields={"caption": said}), Record("other", fields={"caption": "かく"})])
        assert found(store, asked) == found(store, said) == ["it"]


@pytest.mark.parametrize(
    "text", ["golden AND nothing", "NOT golden", "NEAR(golden retriever)", "^golden (", "golden' --"]
)
def test_nothing_that_is_typed_is_syntax_of_sqlite(store, text):
    assert "golden" in found(store, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a "golden', "quotation mark"), ("", "no word"), ("!!! ?", "no word"), ("*", "star"), ("a *", "star"),
        ("a*", "star"), ('"golden r"*', "'r\\*' has fewer"),
        (" ".join(f"w{n}*" for n in range(9)), "more than 8 words"),
        ("dog " + " ".join(f"-w{n}*" for n in range(9)), "more than 8 words"),
        ('""', "no word"), (" ".join(f"w{n}" for n in range(201)), "201 words"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told(text, message):
    with pytest.raises(BadWords, match=message):
        Words.parse(text)


def test_a_question_that_was_not_meant_so_is_read_all_the_same():
    assert Words.parse('a 5" pipe *', strict=False).expression == '("5" OR "pipe")'
    assert len(Words.parse(" ".join(f"w{n}" for n in range(300)), strict=False).terms) == 200
    assert not any(term.prefix for term in Words.parse(" ".join(f"w{n}*" for n in range(9)), strict=False).terms)


def test_what_must_not_be_there(store):
    asked = Words.parse("golden", without=["things"])
    assert [record.id for record in store.records(store.search_words(asked, 9).rows[0])] == ["golden"]


def test_a_word_behind_a_minus_must_not_be_there(store):
    assert found(store, "golden -things") == ["golden"]
    with pytest.raises(BadWords, match="looked for too"):
        Words.parse("-things")
    asked = Words.parse("golden -things", strict=False)  # in a question that was not meant so
    assert [record.id for record in store.records(store.search_words(asked, 9).rows[0])] == ["golden"]
    assert Words.parse("-5 degrees", strict=False).expression == '("5" OR "degrees")'


def test_what_is_taken_away_together_rules_out_together(store):
    """Two rows have `golden`; one of them has `retriever` behind it, too, and `things`."""
    asked = Words.parse("golden", without=["a running golden", "invoice"])
    assert [record.id for record in store.records(store.search_words(asked, 9).rows[0])] == ["odd"]
    asked = Words.parse("golden", without=["retriever of nothing"])
    assert len(store.search_words(asked, 9).rows[0]) == 2


def test_a_word_counts_once_however_often_it_is_asked_for():
    assert Words.parse("dog Dog DOG cat dog " + "dog " * 300).expression == '("dog" OR "cat")'
    assert Words.parse('dog dog* "dog"').expression == '("dog") AND ("dog" OR "dog" * OR "dog")'


def test_stop_words_count_only_where_nothing_else_is_there():
    assert Words.parse("the dog").expression == '("dog")'
    assert Words.parse("to be").expression == '("to" OR "be")'


def test_which_words_it_was(store):
    asked = Words.parse("Golden  Retriever of nothing 毛犬在")
    ids = store.search_words(asked, 9)
    has = dict(zip([one.id for one in store.records(ids.rows[0])], store.words_in(asked, ids.rows[0]), strict=True))
    # Neighbors of the query are one where they are neighbors in the record too: not in `retriever of golden things`.
    assert has == {"golden": ("Golden Retriever",), "odd": ("Golden", "Retriever"), "chinese": ("毛犬在",)}


def rarity(count, n):
    """Lucene's."""
    return math.log(1 + (count - n + 0.5) / (n + 0.5))


@pytest.mark.parametrize("more", [0, 5])  # of six rows two have a word; then of eleven seven
def test_the_score_is_bm25(tmp_path, more):
    said = ["red dog", "red red cat in a house", "blue dog and dog", "green bird", "a bird", "one two three"]
    said += ["a red bird and a dog"] * more
    with Store.create(tmp_path / "index", DIM) as store:
        store.add(numbered(*range(len(said))), [Record(str(n), fields={"caption": one}) for n, one in enumerate(said)])
        words = store.search_words(Words.parse("dog red"), 9)
    split = [one.split() for one in said]
    average = sum(map(len, split)) / len(split)

    def score(one):  # Robertson and Zaragoza (2009), k1 = 1.2, b = 0.75
        total = 0.0
        for word in ("dog", "red"):
            n = sum(word in other for other in split)
            often = one.count(word)
            part = often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(one) / average))
            total += rarity(len(split), n) * part
        return total

    expected = sorted(((score(one), -n) for n, one in enumerate(split) if score(one)), reverse=True)
    assert words.rows[0].tolist() == [-n for _, n in expected]
    np.testing.assert_allclose(words.scores[0], [value for value, _ in expected], rtol=1e-6)


def test_the_weight_of_words_is_that_of_a_row_with_all_of_them(tmp_path):
    with Store.create(tmp_path / "index", DIM) as store:
        store.add(
            numbered(*range(9)), [Record(str(n), fields={"caption": "red" * (n < 2) + " a" * 3}) for n in range(9)]
        )
        # 2 of 9 rows, and none of 9
        assert store.words_weight(Words.parse("red")) == pytest.approx(rarity(9, 2))
        assert store.words_weight(Words.parse("red zebra")) == pytest.approx(rarity(9, 2) + rarity(9, 0))
        assert store.words_weight(Words.parse("a")) == pytest.approx(rarity(9, 9))


def test_rows_that_a_filter_lets_through(store):
    where = filters.parse("caption contains 'things' or uri == 's.png'")
    assert found(store, "golden", where=where) == ["odd"]
    assert found(store, "golden", where=filters.parse("uri == 'none'")) == []


def test_ties_go_to_the_lower_row(tmp_path):
    with Store.create(tmp_path / "index", DIM) as store:
        store.add(
            numbered(*range(9)), [Record(str(n), fields={"caption": "one dog" if n % 2 else "no"}) for n in range(9)]
        )
        assert store.search_words(Words.parse("dog"), 3).rows[0].tolist() == [1, 3, 5]


def test_rows_that_died_make_no_word_more_common(tmp_path, monkeypatch):
    """Nine captions, then four of them anew and anew, as when a person corrects them."""
    with Store.create(tmp_path / "index", DIM) as store, Store.create(tmp_path / "anew", DIM) as anew:
        for turn in range(6):
            for made in (store, anew) if turn == 5 else (store,):
                made.add(numbered(*range(4)), [Record(str(n), fields={"caption": f"red {turn}"}) for n in range(4)])
                if turn in (0, 5) and len(made) < 9:
                    made.add(numbered(*range(5)), [Record(f"o{n}", fields={"caption": "blue sky"}) for n in range(5)])
        assert len(store) == len(anew) == 9
        for text in ("red", "blue", "5"):
            weights = [made.words_weight(Words.parse(text)) for made in (store, anew)]
            assert weights[0] == pytest.approx(weights[1])
        monkeypatch.setattr(ranking, "_COUNTED", 5)
        assert store.words_weight(Words.parse("red")) == pytest.approx(rarity(9, 4), rel=0.5)


def test_so_many_words_as_would_take_minutes_are_not_all_ranked(monkeypatch, store):
    assert found(store, "things golden retriever") == ["odd", "golden"]
    monkeypatch.setattr(ranking, "_MOST_RANKED", 2)  # `things` one row has, each of the others two
    assert found(store, "golden retriever things") == ["odd"]
    assert found(store, "golden retriever") == ["odd", "golden"]
    assert found(store, '"golden" things') == ["odd", "golden"]  # what must be there is ranked, whatever it costs


def test_behind_many_that_do_not_count_others_are_found(monkeypatch, tmp_path):
    monkeypatch.setattr(ranking, "_AT_ONCE", 2)
    with Store.create(tmp_path / "index", DIM) as store:
        kinds = [{"caption": "a dog" + " that barks" * (n // 2), "side": n % 2} for n in range(60)]
        store.add(numbered(*range(60)), [Record(str(n), fields=one) for n, one in enumerate(kinds)])
        odd = store.search_words(Words.parse("dog"), 5, filters.parse("side == 1"))
        assert odd.rows[0].tolist() == [1, 3, 5, 7, 9]
        assert len(store.search_words(Words.parse("dog"), 99, filters.parse("side == 1")).rows[0]) == 30


def test_a_reader_stays_on_its_commit(store):
    with Store.open(store.path) as reader:
        store.delete(["golden"])
        store.add(numbered(1), [Record("odd", fields={"caption": "a cat"})])
        assert found(reader, "golden") == ["odd", "golden"]
        assert found(store, "golden") == []
        store.compact()
        assert found(reader, "golden") == ["odd", "golden"]
        assert found(store, "cat") == ["odd"]
        reader.refresh()
        assert found(reader, "cat") == ["odd"]


WORD = st.sampled_from(["cat", "dog", "bird", "红狗", "Ärger"])
STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5), st.lists(WORD, max_size=3)),
    st.tuples(st.just("delete"), st.integers(0, 5)), st.tuples(st.just("compact")), st.tuples(st.just("renew")),
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@example(steps=[("add", 2, []), ("compact",), ("delete", 2), ("compact",), ("compact",)])  # nothing is left
@given(steps=st.lists(STEP, max_size=12))
def test_whatever_is_done_words_are_those_of_the_items(tmp_path_factory, steps):
    held = {}
    with Store.create(tmp_path_factory.mktemp("words") / "index", DIM) as store:
        for step in steps:
            if step[0] == "add":
                store.add(numbered(0), [Record(str(step[1]), fields={"caption": " ".join(step[2])})])
                held[str(step[1])] = step[2]
            elif step[0] == "delete":
                store.delete([str(step[1])])
                held.pop(str(step[1]), None)
            else:
                store.compact() if step[0] == "compact" else store.renew_words()
        for word in ("cat", "dog", "bird", "红狗", "arger"):
            wanted = {name for name, said in held.items() if {"arger": "Ärger"}.get(word, word) in said}
            assert set(found(store, word)) == wanted
        assert store.verify() == []


# ---------------------------------------------------------------- damage, and older indexes


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE words_content SET c0 = 'a cat' WHERE id = 0",
        "DELETE FROM words_content WHERE id = 0",
        "UPDATE words_docsize SET sz = x'01010101' WHERE id = 0",
        "UPDATE words_data SET block = zeroblob(length(block)) WHERE id = 1",
        "UPDATE words_data SET block = zeroblob(length(block)) WHERE id > 10",
        "DELETE FROM words_data WHERE id > 10",
        "DELETE FROM words WHERE rowid = 1",
        "UPDATE words SET told = 'cat' WHERE rowid = 2",
        "INSERT INTO words_config VALUES ('rank', 'nosuch()')",
        "INSERT INTO words_config VALUES ('rank', 'bm25(0.0, 9.0)')",
    ],
)
def test_damage_is_told_and_mended(store, sql):
    with closing(sqlite3.connect(store.path / "mmr.db")) as connection:
        connection.execute(sql)
        connection.commit()
    (problem,) = store.verify()
    assert problem.startswith(verify.WORDS)
    store.renew_words()
    assert store.verify() == []
    assert found(store, "retriever") == ["odd", "golden"]


@pytest.mark.parametrize("fields", [b"\xff\x00", "[" * 100_000, "3", "{"])
def test_a_damaged_record_of_an_older_index_has_no_words_and_stays_damaged(store, fields):
    path = store.path
    store.close()
    second(path)
    with closing(sqlite3.connect(path / "mmr.db")) as connection:
        connection.execute("UPDATE items SET fields = ? WHERE row = 0", (fields,))
        connection.commit()
    with Store.open(path, write=True) as older:
        older.set_manifest(walked=1.0)
        assert found(older, "retriever") == ["odd"]
        assert "mmr.db: the record of row 0 was changed" in older.verify()


def test_beginnings_are_found_in_rows_at_once_and_words_one_by_one(store):
    asked = Words.parse("gold* retriev* retriever 金毛")
    assert store.words_in(asked, [5, 0, 1, 6]) == [("gold*", "retriev*", "retriever")] * 2 + [("金毛",), ()]


def test_a_python_without_fts5_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "SCHEMA", table.SCHEMA.replace("fts5", "fts5000"))
    with pytest.raises(StoreError, match="built without FTS5.*try again"):
        Store.create(tmp_path / "index", DIM)


def test_an_index_without_words_says_so_until_its_next_commit(store):
    path = store.path
    store.close()
    second(path)
    with Store.open(path, write=True) as older:
        assert older.verify() == []
        with pytest.raises(StoreError, match="older version.*mmr index"):
            found(older, "golden")
        older.set_manifest(walked=1.0)
        assert found(older, "golden") == ["odd", "golden"]
        assert older.verify() == []


# ---------------------------------------------------------------- texts


def test_the_texts_of_a_record():
    fields = {
        "uri": "beach trip/IMG_2041goldenRetriever.JPG", "caption": ["a", "b"], "key": "k", "kind": "picture",
        "meta": {"year": 1999, "price": 2.5, "yes": True, "n": None},
        "file": {"camera": "Canon", "width": 9, "text": "STOP", "modified": "2026-11-29"},
        "labels": {"predicted": "dog"},
    }  # fmt: skip
    assert [re.sub(r"\s+", " ", one) for one in texts.of(fields)] == [
        "a b", "beach trip IMG_2041goldenRetriever beach trip IMG_2041 golden Retriever", "1999 Canon dog",
        "STOP",
    ]  # fmt: skip


def test_names_of_odd_bytes_and_zeros_are_texts_too():
    assert "a?b" in texts.of({"uri": "a\udcffb.jpg"})[1]
    assert texts.of({"caption": "a\0b"})[0] == "a b"
    assert texts.of({"caption": "é\0b"})[0] == "e b"


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40), without=st.text(max_size=10))
def test_any_text_is_asked_or_told_in_one_line(text, without):
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(table.SCHEMA)
        table.insert(database, [(1, '{"caption": "a dog"}')])
        try:
            asked = Words.parse(text, [without])
        except BadWords as error:
            assert "\n" not in str(error) or "\n" in text
            asked = None
        if asked is not None:
            ranking.nearest(database, asked, 3, ranking.Living(1, lambda rows: rows >= 0), lambda rows: rows >= 0)
            assert all(asked.typed[term.start : term.end] for term in asked.terms)
