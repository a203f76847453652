"""Several indexes searched as one: the same answers as one index of all, and what happens when a shard is away."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharding import MADE, cut, filled

from indexes import Damaged, NewerFormat, NotAnIndex, Record, ShardAway, StoreError, Words, WrongEncoder, filters
from indexes.reader import StoreReader
from indexes.segments import Neighbors
from indexes.sharded import local, manifest, merge
from indexes.sharded.opening import open_reader, open_sharded
from indexes.sharded.reader import Sharded
from retrieval import Retriever
from retrieval.search.answers import Asked
from rows import numbered, unit_rows
from toy import ToyEncoder


def records(count):
    def fields(n):
        return {"n": n, "kind": "odd" if n % 2 else "even"}

    return [Record(f"{n:04d}", f"stamp {n}", {"uri": f"{n:04d}", **fields(n), "meta": fields(n)}) for n in range(count)]


def same(whole, sharded, found, others):
    """The ids, scores and order of two answers are the same to the last bit."""
    assert (found.scores == others.scores).all()
    for ones, twos in zip(found.rows, others.rows, strict=True):
        assert (ones < 0).tolist() == (twos < 0).tolist()
        assert whole.records(ones[ones >= 0]) == sharded.records(twos[twos >= 0])


@pytest.mark.parametrize("into", [1, 2, 3, 7])
@pytest.mark.parametrize(("count", "k"), [(50, 10), (50, 80), (2500, 10), (2500, 300)])
def test_shards_answer_as_one_index_of_all_does(tmp_path, into, count, k):
    rng = np.random.default_rng(into * count)
    vectors = unit_rows(rng, count, 24)
    vectors[rng.integers(0, count, count // 4)] = vectors[0]  # ties, over all shards
    whole, sharded, _ = cut(vectors, records(count), into, tmp_path, batch=400)
    with whole, sharded:
        queries = np.concatenate([vectors[:1], unit_rows(rng, 5, 24)])
        for where in (None, filters.parse("n >= 20 and kind == 'odd'"), filters.parse("n < 0")):
            same(whole, sharded, whole.search(queries, k, where=where), sharded.search(queries, k, where=where))
            same(whole, sharded, whole.search(queries[:1], k, where=where), sharded.search(queries[:1], k, where=where))


def test_the_best_are_those_of_brute_force(tmp_path):
    rng = np.random.default_rng(3)
    vectors = unit_rows(rng, 300, 16)
    whole, sharded, _ = cut(vectors, records(300), 4, tmp_path)
    with whole, sharded:
        query = unit_rows(rng, 1, 16)
        exact = vectors.astype(np.float16).astype(np.float64) @ query[0].astype(np.float64)
        found = sharded.search(query, 12)
        assert [record.id for record in sharded.records(found.rows[0])] == [f"{n:04d}" for n in np.argsort(-exact)[:12]]
        assert np.allclose(found.scores[0], np.sort(exact)[::-1][:12], atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_best_of_the_best_are_the_best_of_all(data):
    k, queries = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    sizes = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    score = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])
    table = [[[data.draw(score) for _ in range(size)] for size in sizes] for _ in range(queries)]
    answers = {}
    for number, size in enumerate(sizes):
        rows, scores = np.full((queries, k), -1), np.full((queries, k), -np.inf, np.float32)
        for query in range(queries):
            own = sorted(range(size), key=lambda row, own=table[query][number]: (-own[row], row))[:k]
            rows[query, : len(own)], scores[query, : len(own)] = own, [table[query][number][row] for row in own]
        answers[number] = Neighbors(rows, scores)
    found = merge.best(answers, k)
    for query in range(queries):
        every = [
            (-value, number * merge.ROWS + row)
            for number, own in enumerate(table[query])
            for row, value in enumerate(own)
        ]
        best = sorted(every)[:k]
        assert found.rows[query].tolist() == [row for _, row in best] + [-1] * (k - len(best))
        assert found.scores[query].tolist() == [-value for value, _ in best] + [-np.inf] * (k - len(best))


def test_all_that_a_reader_is_asked_is_answered_over_shards_too(tmp_path):
    """Rows, records, vectors, stamps, fields, ids: the same; rows by their numbers over all shards."""
    vectors = unit_rows(np.random.default_rng(1), 11, 8)
    whole, sharded, _ = cut(vectors, records(11), 3, tmp_path)
    with whole, sharded:
        ours = np.array([*range(4), *(merge.ROWS + n for n in range(4)), *(2 * merge.ROWS + n for n in range(3))])
        assert sharded.rows().tolist() == ours.tolist()
        assert sharded.rows(filters.parse("n > 6")).tolist() == ours[7:].tolist()
        assert (len(sharded), sharded.dim, sharded.holds_nothing, sharded.needs_compaction()) == (11, 8, False, False)
        shuffled = [10, 0, 5, 5, 3]
        assert sharded.records(ours[shuffled]) == whole.records(shuffled)
        assert (sharded.vectors(ours[shuffled]) == whole.vectors(shuffled)).all()
        assert sharded.vectors([]).shape == (0, 8) and sharded.records([]) == []
        assert (
            sharded.among([*ours[[9, 2]], 4, 77 * merge.ROWS, 2 * merge.ROWS + 3, -1]).tolist() == ours[[2, 9]].tolist()
        )
        assert sharded.stamps() == whole.stamps()
        assert sharded.stamps_of(["0009", "0001", "none"]) == whole.stamps_of(["0009", "0001", "none"])
        assert sharded.fields_of(["0009"]) == {"0009": (int(ours[9]), whole.fields_of(["0009"])["0009"][1])}
        assert sharded.ids_between("0002", "0008") == [f"{n:04d}" for n in range(2, 8)]
        assert sharded.describe()["rows"] == 11
        assert (sharded.verify(), sharded.damaged(), sharded.damaged(ours[:5])) == ([], [], [])
        sharded.require_sound()
        sharded.require_sound(ours[3:6])
        assert sharded.approximate is None and len(sharded.marks()) == 3
        with pytest.raises(KeyError, match="is not in"):
            sharded.records([5 * merge.ROWS])


def test_words_are_found_in_all_shards(tmp_path):
    said = [Record(f"{n}", fields={"uri": f"{n}", "caption": "a dog" + " on grass" * (n % 3)}) for n in range(20)]
    whole, sharded, _ = cut(numbered(*range(20)), said, 4, tmp_path)
    with whole, sharded:
        for text, where in (("dog", None), ("grass", filters.parse("uri != '5'")), ("zebra", None), ("17", None)):
            words = Words.parse(text)
            found, right = sharded.search_words(words, 50, where), whole.search_words(words, 50, where)
            ids = {record.id for record in sharded.records(found.rows[0])}
            assert ids == {record.id for record in whole.records(right.rows[0])}
            assert (np.diff(found.scores[0]) <= 0).all()
            assert sharded.words_in(words, found.rows[0]) == [(text,)] * len(ids)
        both = Words.parse("dog grass")
        rows = sharded.search_words(both, 50).rows[0][::-1]
        wanted = [("dog", "grass") if int(record.id) % 3 else ("dog",) for record in sharded.records(rows)]
        assert sharded.words_in(both, rows) == wanted


def test_shards_have_every_member_that_a_reader_has():
    """A Sharded stands where a Store stands that was opened for reading: the same names, the same arguments."""
    for name, member in inspect.getmembers(StoreReader):
        if name.startswith("_") and name not in ("__len__", "__enter__", "__exit__"):
            continue
        assert hasattr(Sharded, name), name
        if callable(member):
            own = inspect.signature(getattr(Sharded, name)).parameters
            assert [*own] == [*inspect.signature(member).parameters], name
            assert [one.default for one in own.values()] == [
                one.default for one in inspect.signature(member).parameters.values()
            ]


def test_what_needs_the_rows_themselves_says_that_it_is_not_offered(tmp_path):
    whole, sharded, _ = cut(numbered(1, 2), records(2), 2, tmp_path)
    with whole, sharded:
        for reach in (lambda: sharded.segments, lambda: sharded.derived, lambda: sharded.set_manifest(a=1)):
            with pytest.raises(StoreError, match="`mmr shards show "):
                reach()


# ---------------------------------------------------------------- a shard that is away


def test_the_others_answer_for_a_shard_that_is_away_and_say_so(tmp_path):
    vectors = unit_rows(np.random.default_rng(5), 70, 8)
    whole, sharded, clients = cut(vectors, records(70), 7, tmp_path)
    with whole, sharded:
        view = sharded.view()
        assert (len(view.search(vectors[:2], 70).rows[0]), view.answered) == (70, (7, 7))
        clients[2].away = True  # rows 20 to 29
        view = sharded.view()
        found = view.search(vectors[:2], 70)
        assert view.answered == (6, 7)
        left = np.r_[0:20, 30:70]
        expected = whole.search(vectors[:2], 70, where=filters.parse("n < 20 or n >= 30"))
        same(whole, view, expected, found)
        assert sorted(record.id for record in view.records(found.rows[0][:60])) == [f"{n:04d}" for n in left]
        assert len(view.rows()) == 60
        with pytest.raises(ShardAway, match="shard 2 of .* does not answer"):
            view.records([2 * merge.ROWS])
        with pytest.raises(ShardAway, match="shard 2 of"):
            view.vectors([0, 2 * merge.ROWS])
        assert sharded.view().answered == (7, 7)  # each request asks everyone anew
        asked = len(clients[2].asked)
        view.search(vectors[:2], 1)
        assert len(clients[2].asked) == asked  # and waits for one that is away once
        clients[2].away = False
        back = sharded.view()
        assert (back.search(vectors[20:21], 1).rows[0][0], back.answered) == (2 * merge.ROWS, (7, 7))


def test_no_shard_at_all_is_an_error_of_one_line(tmp_path):
    whole, sharded, clients = cut(numbered(1, 2, 3), records(3), 3, tmp_path)
    with whole, sharded:
        for client in clients:
            client.away = True
        with pytest.raises(StoreError, match="^none of the 3 shards of .* answers: ask again"):
            sharded.view().search(numbered(1), 1)


def test_a_retriever_says_how_many_shards_answered(tmp_path, toy):
    vectors = toy.encode_texts(["red", "green", "blue"] * 7)
    whole, sharded, clients = cut(vectors, records(21), 7, tmp_path)
    said = []
    with whole, Retriever(sharded, toy) as retriever:
        assert len(retriever.search("red", 21, on_message=said.append)) == 21 and said == []
        clients[6].away = True
        assert len(retriever.search("red", 21, on_message=said.append)) == 18
        assert said == ["answered by 6 of 7 shards: what the others hold is not among the answers"]
        with pytest.raises(StoreError, match="6 of 7 shards, none of which holds `0020`: ask again"):
            retriever.search("id:0020")
        assert len(retriever.search("red", 21, where="n >= 15")) == 3  # rows 15 to 17


def test_a_shard_that_goes_between_finding_and_reading_is_done_without(tmp_path, toy):
    whole, sharded, clients = cut(toy.encode_texts(["red", "green", "blue"]), records(3), 3, tmp_path)

    class Going:
        def __init__(self, shard):
            self.shard = shard

        def ask(self, question, *given):
            if question == "records":
                clients[0].away = True
            return clients[0].ask(question, *given)

        def close(self):
            clients[0].close()

    with whole, Retriever(sharded, toy) as retriever:
        sharded._asking.shards = [Going(None), *clients[1:]]
        assert [hit.id for hit in retriever.search("red", 3)] == ["0001", "0002"]


def test_what_confidence_is_measured_by_is_not_kept_of_a_part(tmp_path, toy):
    vectors = toy.encode_texts(["red", "green", "blue"])
    whole, sharded, clients = cut(vectors, records(3), 3, tmp_path)
    with whole, Retriever(whole, toy) as plain, Retriever(sharded, toy) as retriever:
        clients[0].away = True
        retriever.search("green", min_confidence=0.0)
        clients[0].away = False
        assert (retriever.background(sharded.view()).best == plain.background(whole).best).all()


# ---------------------------------------------------------------- the whole way of a query


@pytest.mark.parametrize("into", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (["red"], {}),
        (["red", "+", "2:green", "-", "blue"], {"k": 3}),
        (["red"], {"k": 500}),
        (["green"], {"where": "n >= 10 and kind == 'odd'"}),
        (["blue"], {"min_score": 0.5}),
        (["blue"], {"min_confidence": 0.2}),
        (["id:0005"], {"k": 4}),
        (["red", "+", "id:0007"], {"diversity": 0.6}),
        (["red"], {"exact": True}),
    ],
)
def test_hits_are_those_of_one_index(tmp_path, toy, into, query, asked):
    words = ["red", "green", "blue", "red green", "green blue", "red red blue", "red other"]
    vectors = toy.encode_texts([words[n % 7] + " x" * (n % 3) for n in range(60)])
    whole, sharded, _ = cut(vectors, records(60), into, tmp_path, batch=9)
    with Retriever(whole, toy) as plain, Retriever(sharded, toy) as retriever:
        assert retriever.search(query, **asked) == plain.search(query, **asked)
        many = [query, ["green"], ["blue", "-", "red"]]
        if "min_confidence" not in asked:
            assert retriever.search_many(many, Asked(**asked)) == plain.search_many(many, Asked(**asked))


# ---------------------------------------------------------------- what may be wrong with a folder of shards


@pytest.fixture
def parts(tmp_path):
    """Three shards on disk; their folder."""
    whole, sharded, _ = cut(unit_rows(np.random.default_rng(2), 9, 8), records(9), 3, tmp_path)
    whole.close(), sharded.close()
    return tmp_path / "parts"


def test_a_shard_that_is_missing_is_one_line(parts):
    (parts / "1").rename(parts / "gone")
    with pytest.raises(StoreError, match=r"^1 of .*parts is missing, .*: bring it back, or split again with"):
        open_sharded(parts)


def test_a_shard_of_another_encoder_is_one_line(parts):
    with local.Store.open(parts / "1", write=True) as store:
        store.set_manifest(encoder=MADE | {"fingerprint": "other"})
    with pytest.raises(WrongEncoder, match=rf"^1 of .* is of encoder toy \(other\).*then `mmr shards pin {parts}`$"):
        open_sharded(parts)


def test_a_shard_that_moved_on_is_one_line(parts):
    with local.Store.open(parts / "2", write=True) as store:
        store.delete(["0008"])
    with pytest.raises(StoreError, match=rf"^2 of .* at commit 2 .* of its commit 1: .*`mmr shards pin {parts}`$"):
        open_sharded(parts)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda text: text[:-20], Damaged, "no JSON"),
        (lambda text: text.replace('"format": 1', '"format": 2'), NewerFormat, "newer"),
        (lambda text: text.replace('"first": 3', '"first": 2'), Damaged, "do not add up"),
        (lambda text: text.replace('"folder": "1"', '"folder": "a\\u0000"'), Damaged, "damaged"),
        (lambda text: text.replace('"rows": 3', '"rows": -3'), Damaged, "damaged"),
        (lambda text: text.replace('"dim": 8', '"dim": "8"'), Damaged, "damaged"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_one_line(parts, change, error, said):
    file = parts / manifest.FILE
    text = file.read_text()
    assert change(text) != text
    file.write_text(change(text))
    with pytest.raises(error, match=said) as raised:
        open_sharded(parts)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_manifest_is_no_index(tmp_path):
    with pytest.raises(NotAnIndex, match="mmr index"):
        open_reader(tmp_path)
    with pytest.raises(NotAnIndex, match="`mmr shards split INDEX"):
        open_sharded(tmp_path)


def test_a_reader_goes_on_to_what_the_manifest_says_now_and_a_view_stays(parts):
    sharded = open_reader(parts)
    with sharded:
        view, key = sharded.view(), sharded.key
        assert sharded.refresh() and sharded.key == key
        with local.Store.open(parts / "2", write=True) as store:
            store.delete(["0008"])
            said = manifest.read(parts)
            counts = [(part.folder, part.generation, part.rows) for part in said.shards]
            counts[2] = ("2", store.generation, len(store))
        manifest.write(parts, manifest.Manifest(1, 2, 8, said.encoder, manifest.parts(counts)))
        assert not sharded.refresh(lambda newest: len(newest) == 9) and len(sharded) == 9
        assert sharded.refresh(lambda newest: len(newest) == 8)
        assert (len(sharded), len(view), len(sharded.rows()), len(view.rows())) == (8, 9, 8, 9)
        assert sharded.key != key


def test_a_closed_reader_says_so(parts):
    sharded = open_reader(parts)
    sharded.close()
    with pytest.raises(StoreError, match="closed"):
        sharded.search(numbered(1), 1)


def test_an_empty_shard_answers_nothing(tmp_path, toy):
    for name, count in (("a", 2), ("b", 0), ("c", 1)):
        filled(tmp_path / name, toy.encode_texts(["red"] * 2)[:count], records(count)).close()
    counts = [("a", 1, 2), ("b", 0, 0), ("c", 1, 1)]
    manifest.write(tmp_path, manifest.Manifest(1, 1, 4, manifest.Made(**MADE), manifest.parts(counts)))
    with Retriever.open(tmp_path, ToyEncoder()) as retriever:
        assert [hit.id for hit in retriever.search("red")] == ["0000", "0001", "0000"]
