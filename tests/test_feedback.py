"""Judged answers move the query: by hand and by an oracle, what contradicts, shards, the server."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reds import from_red
from serving import bytes_of, served
from serving import uris as answered
from sharding import cut

from cli.serve.shown import name_of
from indexes import Record, Store
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.indexing import approximate, called, stored
from retrieval.search import feedback
from retrieval.search.answers import Asked
from retrieval.search.feedback import Judged, Space
from retrieval.search.picks import Pick
from rows import unit, unit_rows
from toy import ToyEncoder, picture

FLAT = Space(np.zeros(3), np.eye(3))


@pytest.fixture
def folder(tmp_path):
    return from_red(tmp_path / "photos")


@pytest.fixture
def retriever(folder):
    with Retriever.open(folder / ".mmr", ToyEncoder()) as made:
        yield made


def uris(hits):
    return [hit.uri for hit in hits]


def judged(liked=(), unliked=(), said="here"):
    return [Pick(name, True, said) for name in liked] + [Pick(name, False, said) for name in unliked]


# ---------------------------------------------------------------- the formulas


def test_rocchio_by_hand():
    asked, liked, unliked = np.array([1.0, 0, 0]), np.eye(3)[[1, 1]], np.eye(3)[[2]]
    np.testing.assert_allclose(feedback.rocchio(asked, liked, unliked, FLAT), [1, 2, -1])
    about = Space(np.array([0, 0.5, 0]), np.eye(3))
    np.testing.assert_allclose(feedback.rocchio(asked, liked, unliked, about), [1, 1 + 0.5, -1])


def test_apart_by_hand():
    asked, near, unliked = np.array([1.0, 0, 0]), np.eye(3)[[0, 1]], np.eye(3)[[2]]
    a = feedback.APART
    np.testing.assert_allclose(feedback.apart(asked, near, unliked), [1 + a / 2, a / 2, -a])
    np.testing.assert_array_equal(feedback.apart(asked, near[:0], unliked), asked)  # all there is was unliked


def test_the_head_by_hand():
    """One liked vector e2, no spread: (1 + l) w = 1 along it, where l = 1, m = 1, and t of it is added to the query."""
    flat = Space(np.zeros(3), np.zeros((3, 3)))
    found = feedback.head(np.array([1.0, 0, 0]), np.eye(3)[[1]], np.empty((0, 3)), flat)
    np.testing.assert_allclose(found, [1, feedback.HEAD / 2, 0])


@pytest.mark.parametrize(("liked", "unliked"), [(1, 0), (3, 5), (40, 2), (0, 4)])
def test_the_head_has_the_least_penalty_of_all(liked, unliked):
    """By gradient: where a convex sum is the least, it is flat."""
    rng = np.random.default_rng(liked)
    x, known = unit_rows(rng, liked + unliked, 12).astype(float), Space.of(unit_rows(rng, 200, 12))
    asked = unit_rows(rng, 1, 12)[0].astype(float)
    prior = np.eye(12) + feedback.WEAK * known.spread
    m = np.mean([(one - known.mean) @ np.linalg.inv(prior) @ (one - known.mean) for one in x])
    w = (feedback.head(asked, x[:liked], x[liked:], known) - asked) / (feedback.HEAD * m)
    half = (liked + unliked) / (2 if liked and unliked else 1)
    share = [half / max(1, liked)] * liked + [half / max(1, unliked)] * unliked
    y = [1.0] * liked + [-feedback.LOW] * unliked
    slope = 2 * feedback.PENALTY * m * prior @ w
    for c, one, right in zip(share, x - known.mean, y, strict=True):
        slope += 2 * c * (one @ w - right) * one
    np.testing.assert_allclose(slope, 0, atol=1e-9)


def test_of_two_differences_the_head_trusts_the_rarer():
    """What is liked differs from what is not as much along e1, where the whole index differs, as along e2."""
    known = Space(np.zeros(3), np.diag([2.9, 0.05, 0.05]))
    wide, narrow, _ = feedback.head(np.zeros(3), np.array([[1.0, 1, 0]]), np.array([[-1.0, -1, 0]]), known)
    assert narrow > 1.2 * wide > 0


def test_a_head_outweighs_the_words(retriever):
    """Red is asked for, and ten pictures say that green is meant: what is left is green before it is red."""
    liked, unliked = [f"g{n}.png" for n in (3, 4)], [f"b{n}.png" for n in range(1, 9)]
    found = uris(retriever.search("red", 15, train_on=judged(liked, unliked)))
    assert found[0] == "g5.png" and uris(retriever.search("red", 15)).index("g5.png") > 5


def test_of_an_index_that_is_all_the_same_nothing_is_learned():
    same = Space.of(np.repeat(np.eye(3)[:1], 4, 0))
    assert not same.spread.any()
    asked = np.array([0, 1.0, 0])
    np.testing.assert_array_equal(feedback.head(asked, np.eye(3)[:1], np.empty((0, 3)), same), asked)


# ---------------------------------------------------------------- answers


def test_what_is_liked_comes_nearer_and_is_no_answer(retriever):
    alone = uris(retriever.search("red", 15))
    liked = uris(retriever.search("red", 15, like=["g5.png"]))
    assert "g5.png" not in liked and sorted([*liked, "g5.png"]) == sorted(alone)
    assert liked[:2] == ["g4.png", "g3.png"] and alone.index("g4.png") > 5
    assert uris(retriever.search("red", 15, like=["g5.png"], unlike=["g1.png"], with_judged=True))[0] == "g5.png"


def test_what_is_unliked_goes_away(retriever):
    found = uris(retriever.search("red", 15, unlike=["b3.png"]))
    alone = [uri for uri in uris(retriever.search("red", 15)) if uri != "b3.png"]
    assert [found.index(uri) > alone.index(uri) for uri in ("b2.png", "b4.png")] == [True, True]
    assert "b3.png" not in found and len(found) == 14


@pytest.mark.parametrize("head", [False, True])
def test_unliking_near_misses_alone_does_not_undo_the_query(tmp_path, head):
    """Words lie far from pictures, as of two towers, and say little of a color, whose nearest shades are unliked."""
    rng, axes = np.random.default_rng(0), np.eye(40)
    pictures = unit(np.repeat(axes[:4], 20, 0) + 2 * axes[4] + 0.05 * rng.standard_normal((80, 40)))
    words = unit([0.3 * axes[0] + axes[5]])
    with Store.create(tmp_path / "i", 40) as store:
        store.add(pictures, [Record(f"{n:02d}") for n in range(80)])
        order = np.argsort(-(pictures @ words[0]))
        assert {*order[:20].tolist()} == {*range(20)}
        for unliked in ((0,), (0, 7, 12), (*range(1, 20, 2),)):
            (query,) = feedback.moved(store, [(1,)], [Judged((), unliked, head)], lambda asked: words)
            best = [row for row in np.argsort(-(pictures @ query)).tolist() if row not in unliked]
            assert {*best[: 20 - len(unliked)]} <= {*range(20)}


def test_where_all_of_the_best_answers_are_unliked_the_query_looks_elsewhere(retriever):
    alone = uris(retriever.search("red", 15))
    all_of_them = retriever.search("red", 15, unlike=alone[:5])
    unliked = retriever.store.vectors(stored.named(retriever.store, alone[:5])).astype(float)
    space = Space.of(retriever.store.vectors(retriever.store.rows()))
    query = unit((ToyEncoder().encode_texts(["red"])[0] - (unliked.mean(0) - space.mean))[None])[0]
    np.testing.assert_allclose(
        [hit.score for hit in all_of_them],
        retriever.store.vectors(stored.named(retriever.store, uris(all_of_them))) @ query,
        atol=5e-4,
    )


def test_what_was_unliked_does_not_stand_for_what_is_wanted(retriever):
    """Of everything unliked but two, those two are nearest, whatever else is nearer to the words."""
    unliked = [f"b{n}.png" for n in range(1, 10)] + [f"g{n}.png" for n in range(1, 5)]
    alone = {hit.uri: hit.score for hit in retriever.search("red", 15)}
    found = retriever.search("red", 15, unlike=unliked)
    assert uris(found) == ["b0.png", "g5.png"]
    assert found[1].score - found[0].score > alone["g5.png"] - alone["b0.png"]


def test_judged_ones_take_no_place(retriever):
    assert len(retriever.search("red", 3, like=["b0.png", "b1.png", "b2.png"])) == 3
    assert len(retriever.search("red", 100, like=["b0.png"])) == 14


def test_without_words_what_is_liked_is_asked_for(retriever):
    assert uris(retriever.search("", 2, like=["g5.png"])) == uris(retriever.search([], 2, like=["g5.png"]))
    assert uris(retriever.search("", 2, like=["g5.png"]))[0] == "g4.png"
    (found,) = retriever.search_many([""], Asked(k=1, like=["b9.png", "b7.png"]))
    assert uris(found) == ["b8.png"]


def test_a_picture_that_is_not_in_the_index_can_be_liked(retriever, tmp_path):
    other = picture(tmp_path / "elsewhere" / "mine.png", (140, 110, 0))
    assert uris(retriever.search("red", 1, like=[str(other)])) == ["g5.png"]


def test_paths_name_items_and_pictures_too(retriever, folder):
    by_name = retriever.search("red", 5, like=["g5.png"], unlike=["b1.png"])
    assert retriever.search("red", 5, like=[folder / "g5.png"], unlike=(folder / "b1.png",)) == by_name


def test_scores_are_cosines_with_the_moved_query(retriever):
    vectors = retriever.store.vectors(stored.named(retriever.store, ["g5.png", "b5.png"])).astype(float)
    space = Space.of(retriever.store.vectors(retriever.store.rows()))
    words = ToyEncoder().encode_texts(["red"])[0].astype(float)
    query = unit(words + 2 * (vectors[0] - space.mean) - (vectors[1] - space.mean)[None])[0]
    found = retriever.search("red", 3, like=["g5.png"], unlike=["b5.png"])
    rows = stored.named(retriever.store, uris(found))
    expected = retriever.store.vectors(rows) @ query
    np.testing.assert_allclose([hit.score for hit in found], expected, atol=5e-4)  # rows are stored in half precision


def test_many_judgements_are_a_head(retriever, monkeypatch):
    few = retriever.search("red", 3, like=["g5.png"], unlike=["b5.png"])
    assert few == retriever.search("red", 3, train_on=[], like=["g5.png"], unlike=["b5.png"])
    assert few != retriever.search("red", 3, train_on=judged(["g5.png"], ["b5.png"]))
    monkeypatch.setattr(feedback, "FEW", 1)
    assert few == retriever.search("red", 3, like=["g5.png"], unlike=["b5.png"])  # one liked item is no head's
    monkeypatch.setattr(feedback, "LEAST", 1)
    assert retriever.search("red", 3, like=["g5.png"], unlike=["b5.png"]) == retriever.search(
        "red", 3, train_on=judged(["g5.png"], ["b5.png"])
    )


def test_filters_diversity_limits_and_several_queries(retriever):
    asked = Asked(k=4, like=["g5.png"], where="uri like 'b%'", diversity=0.3)
    together = retriever.search_many(["red", "blue", ["red", "-", "blue"]], asked)
    assert together == [retriever.search_many([one], asked)[0] for one in ("red", "blue", ["red", "-", "blue"])]
    assert all(uri.startswith("b") for found in together for uri in uris(found))
    best = retriever.search("red", 15, like=["g5.png"])
    limit = best[4].score
    assert uris(retriever.search("red", 15, like=["g5.png"], min_score=limit)) == uris(best[:5])


def test_captions_are_answers_too(retriever, folder):
    (folder / "g4.txt").write_text("a green wall\n", "utf-8")
    (folder / "b0.txt").write_text("a red wall\n", "utf-8")
    with Retriever.build(str(folder), folder / ".mmr", ToyEncoder())[0] as made:
        assert made.captions("red", Asked(k=1))[0].caption == "a red wall"
        assert made.captions("red", Asked(k=1, like=["g5.png"], unlike=["b1.png"]))[0].caption == "a green wall"


def test_shards_answer_as_one_index_of_all_does(tmp_path):
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng, 90, 4)
    records = [Record(f"{n:02d}", "", {"uri": f"{n:02d}", "n": n}) for n in range(90)]
    whole, sharded, clients = cut(vectors, records, 4, tmp_path)
    wanted = {"like": ["03", "40"], "unlike": ["77"]}
    with whole, sharded:
        one, many = (Retriever(store, ToyEncoder()) for store in (whole, sharded))
        for more in ({}, {"train_on": judged(["10"], ["20", "60"])}, {"diversity": 0.5}):
            assert one.search("red", 12, **wanted, **more) == many.search("red", 12, **wanted, **more)
        assert one.search("red", 12, unlike=["03"]) == many.search("red", 12, unlike=["03"])
        clients[3].away = True
        feedback._spaces.clear()
        assert len(many.search("red", 12, like=["03"])) == 12
        assert not feedback._spaces  # how three of four shards lie is kept for nobody
        clients[3].away = False
        many.search("red", 12, like=["03"])
        assert list(feedback._spaces) == [sharded.key]


def test_approximate_search_finds_what_exact_search_does(tmp_path, monkeypatch):
    """For moved queries as for those of text that it was tuned with."""
    monkeypatch.setattr(approximate, "LEAST_ROWS", 500)
    rng = np.random.default_rng(1)
    centers = unit_rows(rng, 30, 16)
    vectors = unit(centers[rng.integers(0, 30, 3000)] + 0.3 * unit_rows(rng, 3000, 16))

    class Words:
        def encode_texts(self, texts):
            return unit(centers[[len(text) * 7 % 30 for text in texts]] + 0.2 * unit_rows(rng, len(texts), 16))

    with Store.create(tmp_path / "i", 16) as store:
        store.add(vectors, [Record(f"{n}", "", {"uri": f"{n}", "caption": "x" * (n % 90)}) for n in range(3000)])
        approximate.keep(store, Words(), 0.95, 1e9)
        assert store.approximate is not None
        judged = [Judged((n, n + 1), (n + 2,), head=n % 2 == 0) for n in range(0, 300, 6)]
        moved = feedback.moved(store, [(n,) for n in range(50)], judged, lambda asked: vectors[: len(asked)])
        near, exact = store.search(moved, 10).rows, store.search(moved, 10, recall=1).rows
        assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(near.tolist(), exact.tolist(), strict=True)]) > 0.85


# ---------------------------------------------------------------- what makes no sense


@pytest.mark.parametrize(
    ("asked", "wanted", "says"),
    [
        ("red", {"like": ["none.png"]}, "holds no `none.png`: see `mmr ls`"),
        ("red", {"like": ["id:none.png"]}, "holds no `none.png`: see `mmr ls`"),
        (
            "red",
            {"like": ["b1.png"], "unlike": ["id:b1.png"]},
            "`b1.png` is liked by --like and unliked by --unlike, whe",
        ),
        ("", {"unlike": ["b1.png"]}, 'as in mmr search "a dog" --unlike'),
        ("", {}, "the query is empty"),
        ("red", {"like": "b1.png"}, "give like="),
        ("red", {"unlike": Path("b1.png")}, "give unlike="),
        ("red", {"like": 7}, "give like="),
        ("red", {"like": [7]}, "like has 7, which names no item: give ids, uris or paths"),
        ("red", {"train_on": "x.csv"}, "give train_on=picks.read('clicks.csv').picks"),
        ("red", {"train_on": [("b1.png", 1)]}, "give train_on=picks.read('clicks.csv').picks"),
        ("red", {"train_on": 7}, "give train_on=picks.read('clicks.csv').picks"),
        ("red", {"like": ["b1.png"], "min_confidence": 0.9}, "leave it out where something is judged"),
        ("red", {"like": ["picture:abc"]}, "no picture abc is kept"),
        ("red", {"like": ["https://example.org/a.jpg"]}, "add --urls"),
        ("red", {"like": ["a\0b"]}, "see `mmr ls`"),
    ],
)
def test_one_line_each(retriever, asked, wanted, says):
    with pytest.raises(BadRequest) as error:
        retriever.search(asked, **wanted)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_cancels_out_is_said(tmp_path):
    """Of two opposite pictures that are liked the mean, which is asked for, is nothing."""
    rows = unit([[1, 0, 0, 0], [-1, 0, 0, 0]])
    with Store.create(tmp_path / "i", 4) as store:
        store.add(rows, [Record("a"), Record("b")])
        with pytest.raises(BadRequest, match="cancel out"):
            feedback.moved(store, [()], [Judged((0, 1))], lambda asked: rows[:0])


# ---------------------------------------------------------------- names


def test_many_names_are_found_in_one_look(folder, retriever, monkeypatch):
    names = ["b1.png", str(folder / "b2.png"), "./b3.png", "b1.png", "none", "\0"]
    monkeypatch.chdir(folder)
    asked, rows = [], Store.rows
    monkeypatch.setattr(Store, "rows", lambda self, where=None: asked.append(where) or rows(self, where))
    found = called.rows_there(retriever.store, names[:4])
    assert len(asked) == 2  # by id, and those that are left by uri
    one, two, three = stored.named(retriever.store, ["b1.png", "b2.png", "b3.png"])
    assert found == [one, two, three, one]
    assert called.rows_there(retriever.store, names[4:]) == [None, None]


def test_a_name_that_is_said_again_and_again_is_looked_up_once(retriever, monkeypatch):
    asked, there = [], called.rows_there
    monkeypatch.setattr(called, "rows_there", lambda store, names: asked.append([*names]) or there(store, asked[-1]))
    picked = judged(["b1.png", "g1.png"] * 50, ["id:b3.png"] * 50)
    assert len(Judged.of(retriever.store, picked)) == 3
    assert asked == [["b1.png", "g1.png"]]


def test_names_that_are_no_text_are_found(tmp_path):
    name = os.fsdecode(b"b\xff.jpg")
    with Store.create(tmp_path / "i", 2) as store:
        store.add(
            unit([[1, 0], [0, 1]]), [Record("b\\udcff.jpg", fields={"uri": name}), Record("x", fields={"uri": "y"})]
        )
        assert stored.found(store, [name, "y", "x", "b\\udcff.jpg", "none"]) == {
            name: 0,
            "y": 1,
            "x": 1,
            "b\\udcff.jpg": 0,
        }


# ---------------------------------------------------------------- the server


def test_a_server_takes_judgements(folder):
    with served(folder / ".mmr") as client:
        alone = answered(client.get("/api/search?q=red"))
        moved = answered(client.get("/api/search?q=red&like=g5.png&unlike=id:b1.png&min_confidence=0.9"))
        assert moved[:2] == ["g4.png", "g3.png"] and not {"g5.png", "b1.png"} & set(moved)
        assert answered(client.get("/api/search?q=red&like=g5.png&with_judged=1"))[0] == "g5.png"
        assert answered(client.get("/api/search?like=g5.png"))[0] == "g4.png"
        assert set(alone) == {*moved, "g5.png", "b1.png"}
        name = client.post("/api/search?k=1", content=bytes_of((140, 110, 0))).json()["picture"]
        assert answered(client.get(f"/api/search?q=red&like={name}"))[0] == "g5.png"


def test_a_server_takes_the_ids_of_its_answers(folder):
    with served(folder / ".mmr") as client:
        ids = {hit["uri"]: hit["id"] for hit in client.get("/api/search?q=red").json()["hits"]}
        by_uri = client.get("/api/search?q=red&like=g5.png&unlike=b1.png").json()["hits"]
        for before in ("", "id:"):
            asked = f"q=red&like={before}{ids['g5.png']}&unlike={before}{ids['b1.png']}"
            assert client.get(f"/api/search?{asked}").json()["hits"] == by_uri
        none = client.get("/api/search?q=red&like=" + name_of("none"))  # an id, and of nothing
        assert none.status_code == 400 and "holds no" in none.json()["error"]


def test_an_item_that_is_called_as_the_id_of_another_is_itself(folder):
    name = name_of("b0.png")
    with Store.open(folder / ".mmr", write=True) as store:
        store.add(unit([[0, 1, 0, 0]]), [Record(name, "", {"uri": name})])
    with served(folder / ".mmr") as client:
        found = answered(client.get(f"/api/search?q=red&like={name}"))
        assert name not in found and "b0.png" in found and found[0] == "g5.png"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("q=red&like=none", "holds no `none`"),
        ("q=red&like=b1.png&unlike=b1.png", "is liked by like and unliked by unlike"),
        ("unlike=b1.png", "nothing says what you look for"),
        ("q=red&like=picture:gone", "no picture gone is kept any more: send it again"),
    ],
)
def test_a_server_says_what_makes_no_sense(folder, asked, says):
    with served(folder / ".mmr") as client:
        answer = client.get(f"/api/search?{asked}")
        assert answer.status_code == 400 and says in answer.json()["error"]


def test_a_server_opens_no_file_that_is_judged(folder, tmp_path):
    other = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), (0, 255, 0)).save(other)
    with served(folder / ".mmr") as client:
        assert client.get(f"/api/search?q=red&like={other}").status_code == 400
        assert (
            client.get(f"/api/search?q=red&like={folder / 'g5.png'}").status_code == 400
        )  # an item by its file's path
