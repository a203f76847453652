"""What is left of the neighbors: sums, folders, limits, confidence, diverse answers, captions, duplicates."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexes import Condition, Record, Store
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.indexing import stored
from retrieval.search import confidence, filters, near_duplicates
from retrieval.search import diversity as mmr
from retrieval.search.answers import Asked
from rows import unit


@pytest.fixture
def retriever(photos, toy):
    (photos / "moreover").mkdir()
    Image.new("RGB", (8, 8), (250, 5, 0)).save(photos / "moreover" / "red.png")
    made, _ = Retriever.build(str(photos), photos / ".mmr", toy)
    with made:
        yield made


def uris(hits):
    return [hit.uri for hit in hits]


# ---------------------------------------------------------------- sums


def test_what_is_taken_away_goes_last(retriever):
    assert uris(retriever.search(["green", "+", "blue", "-", "2:green"], 4))[0] == "blue é.png"
    assert uris(retriever.search(["-", "green"], 4))[-1] == "more/green.jpg"


def test_pictures_and_items_of_a_query_are_no_answers(retriever, photos):
    asked = ["id:red.png", "+", str(photos / "more" / "green.jpg")]
    assert sorted(uris(retriever.search(asked, 10))) == ["blue é.png", "moreover/red.png"]
    assert len(retriever.search(asked, 1)) == 1  # those that are left out take no place
    assert uris(retriever.search("id:red.png", 1)) == ["moreover/red.png"]
    with pytest.raises(BadRequest, match="holds no `none.png`: see `mmr ls`"):
        retriever.search("id:none.png")


def test_many_queries_are_each_as_alone(retriever):
    queries = ["red", ["green", "+", "blue"], "id:red.png"]
    together = retriever.search_many(queries, Asked(k=2))
    assert together == [retriever.search(query, 2) for query in queries]
    assert retriever.search_many([]) == []


# ---------------------------------------------------------------- which items


@pytest.mark.parametrize("folder", ["more", "more/", "./more", "moreover/../more"])
def test_in_a_folder_and_not_in_one_whose_name_begins_alike(retriever, folder):
    assert uris(retriever.search("red", inside=folder)) == ["more/green.jpg"]


def test_a_folder_as_it_is_seen_from_here(retriever, photos, monkeypatch):
    monkeypatch.chdir(photos / "more")
    assert uris(retriever.search("red", inside=".")) == ["more/green.jpg"]
    assert uris(retriever.search("red", inside="../moreover")) == ["moreover/red.png"]
    assert len(retriever.search("red", inside=str(photos))) == 4
    monkeypatch.chdir("/")
    assert uris(retriever.search("red", inside="more")) == ["more/green.jpg"]
    with pytest.raises(BadRequest, match="is not below"):
        retriever.search("red", inside=str(photos.parent))


@pytest.mark.parametrize("folder", ["MORE", "m%", "mor_", "none", "more' OR 1=1 --", "red.png", "\udcff"])
def test_a_folder_is_no_pattern(retriever, folder):
    assert retriever.search("red", inside=folder) == []


def test_where_and_in_both_hold(retriever):
    assert retriever.search("red", inside="moreover", where="caption is not null") == []
    assert uris(retriever.search("red", inside="more", where="caption is not null or uri == 'red.png'")) == [
        "more/green.jpg"
    ]


def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"b\xff/\xfe.jpg")
    with Store.create(tmp_path / "i", 2, root="..") as store:
        store.add(
            unit([[1, 0], [0, 1]]), [Record("b\\udcff/x", fields={"uri": name}), Record("c", fields={"uri": "c"})]
        )
        assert stored.named(store, [name, "c"]) == [0, 1]
        assert store.rows(filters.condition(store, inside=os.fsdecode(b"b\xff"))).tolist() == [0]


def test_conditions_are_joined_whole():
    either, one = Condition("a = ? OR b = ?", (1, 2)), Condition("c = ?", (3,))
    assert filters.all_of([either, one]) == Condition("(a = ? OR b = ?) AND (c = ?)", (1, 2, 3))


def test_rows_come_in_the_order_asked_for(retriever):
    rows = retriever.store.rows()[::-1]
    found = retriever.store.vectors([*rows, rows[0]])
    assert found.shape == (len(rows) + 1, 4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    names = [record.fields["uri"] for record in retriever.store.records(rows)]
    assert found[names.index("more/green.jpg")].argmax() == 1
    np.testing.assert_array_equal(found[-1], found[0])
    assert retriever.store.vectors([]).shape == (0, 4)


# ---------------------------------------------------------------- limits


def test_min_score_leaves_what_reaches_it(retriever):
    scores = [hit.score for hit in retriever.search("red", 4)]
    assert [hit.score for hit in retriever.search("red", 4, min_score=scores[1])] == scores[:2]
    assert retriever.search("red", 4, min_score=1.1) == []


@pytest.mark.parametrize("limits", [{"diversity": -0.1}, {"diversity": 1.5}, {"min_confidence": 2}, {"k": 0}])
def test_limits_that_make_no_sense_are_said(limits):
    with pytest.raises(BadRequest, match="give"):
        Asked(**limits)


def test_more_answers_than_there_are(retriever):
    assert len(retriever.search("red", 10**9)) == 4


# ---------------------------------------------------------------- confidence


def test_confidence_is_the_share_of_prompts_that_find_less(retriever, monkeypatch):
    prompts = ["red", "red green", "red blue", "nothing here", "green"]
    monkeypatch.setattr("retrieval.encoders.prompts.prompts", lambda: prompts)
    best = [retriever.search(prompt, 1)[0].score for prompt in prompts]
    for query in ("red", "red green blue", "a word"):
        (hit,) = retriever.search(query, 1, min_confidence=0)
        assert hit.confidence == sum(score < hit.score for score in best) / 5
    (hit,) = retriever.search("red green", 1)
    assert hit.confidence is None
    assert retriever.search("words that are no colour", min_confidence=0.5) == []


def test_the_background_is_asked_once_for_each_state(retriever, photos, toy, monkeypatch):
    asked = []
    ask = confidence.ask
    monkeypatch.setattr(confidence, "ask", lambda store, *rest: asked.append(store.generation) or ask(store, *rest))
    for _ in range(2):
        retriever.search("red", min_confidence=0.5)
    assert len(asked) == 1
    (file,) = [confidence.cache_file(retriever.store, toy)]
    for content, times in ((file.read_bytes(), 1), (b"damaged", 2)):
        file.write_bytes(content)
        retriever.search("red", min_confidence=0.5)  # it has kept it
        with Retriever.open(photos / ".mmr", toy) as another:
            another.search("red", min_confidence=0.5)
        assert len(asked) == times
    (photos / "red.png").unlink()
    retriever.close()
    with Retriever.build(str(photos), photos / ".mmr", toy)[0] as changed:
        changed.search("red", min_confidence=0.5)
    assert len(set(asked)) == 2


def test_a_cache_that_cannot_be_written_costs_no_answer(retriever, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "file"))
    assert retriever.search("red", min_confidence=0)[0].confidence is not None


def test_confidence_is_of_words(retriever, photos):
    for query in (str(photos / "red.png"), ["red", "+", "id:red.png"]):
        with pytest.raises(BadRequest, match="for words alone"):
            retriever.search(query, min_confidence=0.5)


def test_an_empty_index_is_confident_of_nothing(tmp_path, toy):
    with Store.create(tmp_path / "i", 4) as store:
        assert confidence.ask(store, toy).confidence(np.array([0.9])).tolist() == [0]


# ---------------------------------------------------------------- diverse answers


@st.composite
def candidates(draw):
    count = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return np.sort(rng.random(count).astype(np.float32))[::-1], unit(rng.standard_normal((count, 3)))


@given(candidates(), st.integers(1, 15), st.floats(0, 1))
def test_what_is_picked(candidates, k, diversity):
    scores, vectors = candidates
    picked = mmr.pick(scores, vectors, k, diversity).tolist()
    assert len(picked) == len(set(picked)) == min(k, len(scores))
    assert picked[0] == 0
    assert mmr.pick(scores, vectors, k, 0).tolist() == list(range(min(k, len(scores))))


def test_a_near_copy_comes_after_something_else():
    vectors = unit([[1, 0], [1, 0.01], [0.9, -1]])
    scores = np.array([0.9, 0.89, 0.7], np.float32)
    assert mmr.pick(scores, vectors, 3, 0.6).tolist() == [0, 2, 1]
    assert mmr.pick(scores, vectors, 3, 0.1).tolist() == [0, 1, 2]


def test_diverse_answers_keep_their_scores(retriever):
    plain = {hit.uri: hit.score for hit in retriever.search("red", 4)}
    found = retriever.search("red", 2, diversity=1)
    assert found[0].uri == "red.png"
    assert found[1].uri not in ("red.png", "moreover/red.png")
    assert [hit.rank for hit in found] == [1, 2]
    assert all(hit.score == plain[hit.uri] for hit in found)


# ---------------------------------------------------------------- captions


def test_a_picture_finds_its_captions(photos, toy):
    (photos / "red.txt").write_text("something red\n")
    Image.new("RGB", (8, 8)).save(photos / "silent.png")
    (photos / "blue é.txt").write_text("a green field\n")
    with Retriever.build(str(photos), photos / ".mmr", toy)[0] as retriever:
        found = retriever.captions(str(photos / "red.png"), Asked(k=9))
        assert [hit.caption for hit in found] == ["something red", "a green field"]  # the same words once
        assert found[0].score == pytest.approx(1, abs=0.01)
        assert uris(found)[0] == "red.png"  # its own caption is an answer
        assert [hit.caption for hit in retriever.captions("green", Asked(k=1))] == ["a green field"]
        assert len(retriever.captions("green", Asked(min_score=0.5))) == 1
        below = retriever.captions("red", Asked(inside="more"))
        assert [(hit.uri, hit.caption) for hit in below] == [("more/green.jpg", "a green field")]
        with pytest.raises(BadRequest, match="has a caption"):
            retriever.captions("red", Asked(where="uri == 'silent.png'"))
        assert retriever.captions("red", Asked(where="uri == 'none'")) == []


# ---------------------------------------------------------------- duplicates


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 50), st.sampled_from([0.5, 0.8, 0.95]), st.integers(1, 9))
def test_groups_are_those_of_brute_force(count, seed, threshold, block):
    import tempfile

    import scipy.sparse.csgraph as graph

    rows = unit(np.random.default_rng(seed).standard_normal((count, 3)))
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(f"{folder}/i", 3) as store,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(near_duplicates, "BLOCK", block)
        store.add(rows, [Record(str(i)) for i in range(count)])
        kept = store.vectors(store.rows())
        found = near_duplicates.groups(store, threshold)
    near = kept @ kept.T >= threshold - 1e-6
    np.fill_diagonal(near, False)
    members = [row for group in found for row in group.rows.tolist()]
    assert sorted(members) == np.flatnonzero(near.any(1)).tolist() if count else not members  # each once, none is lost
    labels = graph.connected_components(near)[1] if count else []
    assert all(len(set(labels[group.rows])) == 1 for group in found)
    assert [len(group.rows) for group in found] == sorted((len(group.rows) for group in found), reverse=True)
    for group in found:
        assert group.scores[0] == 1
        assert group.scores.min() >= threshold - 2e-6
        assert (np.diff(group.scores) <= 0).all()
        np.testing.assert_allclose(group.scores, kept[group.rows] @ kept[group.rows[0]], atol=1e-5)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        ([0, 20, 40], [[1, 0, 2]]),  # a chain of three is the star of its middle
        ([0, 20, 40, 60], [[1, 0], [2, 3]]),  # no end is left alone
        ([0, 20, 40, 60, 80], [[1, 0, 2], [3, 4]]),
        ([0, 5, 10, 30], [[2, 1, 0, 3]]),
    ],
)
def test_a_chain_is_cut_so_that_each_is_near_to_the_first(tmp_path, degrees, expected):
    at = np.deg2rad(degrees)
    with Store.create(tmp_path / "i", 2) as store:
        store.add(np.stack([np.cos(at), np.sin(at)], 1).astype(np.float32), [Record(str(i)) for i in range(len(at))])
        found = near_duplicates.groups(store, float(np.cos(np.deg2rad(21))))
    assert [sorted(group.rows.tolist()) for group in found] == sorted(map(sorted, expected))
    for group in found:
        np.testing.assert_allclose(group.scores, np.cos(at[group.rows] - at[group.rows[0]]), atol=1e-3)


def test_identical_rows_are_found_at_a_threshold_of_1(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((40, 48)))
    with Store.create(tmp_path / "i", 48) as store:
        store.add(np.repeat(rows, 2, axis=0), [Record(str(i)) for i in range(80)])
        assert len(near_duplicates.groups(store, 1.0)) == 40
        with pytest.raises(BadRequest, match="is no cosine"):
            near_duplicates.groups(store, 1.2)
