"""Queries as sums: what is parsed, what is encoded, what cancels out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval.errors import BadRequest
from retrieval.search import query
from retrieval.search.query import Part

WORDS = st.text("abc éß:.", min_size=1, max_size=8).filter(lambda text: text.strip(" .") and "://" not in text)
WEIGHTS = st.integers(1, 99).map(float)
TERMS = st.lists(st.tuples(st.sampled_from("+-"), WEIGHTS, WORDS), min_size=1, max_size=5)


def no_item(uri):
    raise AssertionError(f"{uri} is not asked for")


def encode(toy, *queries, vector_of=no_item):
    return query.encode([query.parse(one) for one in queries], toy, vector_of)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["a dog"], [("words", "a dog", 1)]),
        (["a", "dog"], [("words", "a dog", 1)]),
        (["2:golden retriever", "+", "a", "pool", "-", "people"],
         [("words", "golden retriever", 2), ("words", "a pool", 1), ("words", "people", -1)]),
        (["-", ".5:people"], [("words", "people", -0.5)]),
        (["+", "1.:x"], [("words", "x", 1)]),
        (["0.25:id:more/green.jpg"], [("item", "more/green.jpg", 0.25)]),
        (["a+b", "-c"], [("words", "a+b -c", 1)]),
        (["3:HTTPS://a.b/c.jpg"], [("url", "HTTPS://a.b/c.jpg", 3)]),
        (["1.2.3:x"], [("words", "1.2.3:x", 1)]),
        (["12:30 on a clock"], [("words", "12:30 on a clock", 1)]),
        (["16:9 dog"], [("words", "16:9 dog", 1)]),
        (["16: 9 dog"], [("words", "16: 9 dog", 1)]),
        (["1:.5 dog"], [("words", "1:.5 dog", 1)]),
        (["3:狗"], [("words", "狗", 3)]),
        (["2:3d glasses", "-", "a"], [("words", "3d glasses", 2), ("words", "a", -1)]),
        (["-", "2:30 x"], [("words", "30 x", -2)]),
        (["text:dog.jpg"], [("words", "dog.jpg", 1)]),
        (["2:text:./dog.jpg", "+", "text:id:x"], [("words", "./dog.jpg", 2), ("words", "id:x", 1)]),
        (["text:16:9"], [("words", "16:9", 1)]),
        (["text:text:x"], [("words", "text:x", 1)]),
        (["shirt - red"], [("words", "shirt - red", 1)]),
        (["black/white dog"], [("words", "black/white dog", 1)]),
    ],
)  # fmt: skip
def test_parts_by_hand(words, parts):
    assert [(part.kind, part.text, part.weight) for part in query.parse(words)] == parts


@given(TERMS)
def test_what_was_put_together_is_taken_apart(terms):
    written = [word for sign, weight, text in terms for word in (sign, f"{weight:g}:{text}")]
    expected = [Part("words", text, weight if sign == "+" else -weight) for sign, weight, text in terms]
    assert list(query.parse(written)) == expected
    assert list(query.parse(" ".join(written).split(" "))) == expected  # as a line of a file


@given(st.lists(st.one_of(st.sampled_from(["+", "-", "", " ", "2:", "9" * 400 + ":x", "id:", "\0", "."]), st.text())))
def test_any_arguments_are_parts_or_one_clear_error(words):
    try:
        parts = query.parse(words)
    except BadRequest as error:
        assert ": " in str(error)
        return
    assert parts
    assert all(np.isfinite(part.weight) for part in parts)
    assert len(parts) >= sum(word in ("+", "-") for word in words[1:])


@pytest.mark.parametrize("words", [["+"], ["a", "-"], ["a", "+", "+", "b"], ["a", "+", " "], ["+", "-", "a"]])
def test_an_operator_needs_something_to_work_on(words):
    with pytest.raises(BadRequest, match="nothing follows `[+-]`"):
        query.parse(words)


@pytest.mark.parametrize("words", [[], [""], "", [" ", " "], "2: "])
def test_an_empty_query_is_said(words):
    with pytest.raises(BadRequest, match="query is empty"):
        query.parse(words)


def test_a_weight_that_is_no_number_is_said():
    with pytest.raises(BadRequest, match="write, say, 2:dog"):
        query.parse("9" * 400 + ":x")


@pytest.mark.parametrize("text", ["none.jpg", "./none", "2:../none.png", "~/none.gif", "/none at all.jpg", "none.mp4"])
def test_what_can_only_be_a_path_must_be_there(text, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRequest, match="no such clip" if text == "none.mp4" else "no such picture"):
        query.parse(text)


def test_a_home_behind_a_weight_and_a_name_with_spaces_are_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (4, 4)).save(tmp_path / "my dog.png")
    monkeypatch.chdir(tmp_path)
    parts = query.parse(["2:~/my dog.png", "+", "my", "dog.png"])
    assert [part.kind for part in parts] == ["picture", "picture"]
    assert [file.resolve() for file in query.files(parts)] == [tmp_path / "my dog.png"] * 2


def test_what_exists_is_never_words(tmp_path, monkeypatch, toy):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "no ending", "PNG")
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "odd.xyz", "JPEG")
    Image.new("RGB", (8, 8), (0, 0, 255)).save(tmp_path / "2:dog", "PNG")
    (tmp_path / "notes.txt").write_text("red")
    (tmp_path / "dog").mkdir()
    rows = encode(toy, "no ending", ["no", "ending"], "odd.xyz", "2:dog", "text:odd.xyz red")
    np.testing.assert_allclose(rows[:, :3], [[1, 0, 0]] * 2 + [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=0.02)
    assert query.parse(["a", "dog"]) == (Part("words", "a dog"),)
    with pytest.raises(BadRequest, match="^dog is a folder, not words: .* text:dog for the words$"):
        query.parse("dog")
    with pytest.raises(BadRequest, match="^./dog/ is a folder"):
        query.parse(["red", "+", "./dog/"])
    with pytest.raises(BadRequest, match="^notes.txt: not a picture of a known format: .* text:notes.txt for"):
        encode(toy, "notes.txt")


def test_files_with_no_operator_between_are_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(name)
    for asked in (["a.png", "b.png"], ["a", "dog", "b.png"], ["red", "-", "./a.png", "b.png"]):
        with pytest.raises(BadRequest, match="is a file among other words: write [+] or - between"):
            query.parse(asked)


def test_a_clip_is_asked_with_by_its_frames(tmp_path, monkeypatch, toy):
    seen = []

    def frames(content, count, at_least):
        seen.append((content.name, count))
        return [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]

    monkeypatch.setattr("retrieval.images.load.frames", frames)
    (tmp_path / "film").write_bytes(b"\0\0\0\x14ftypisom\0\0\2\0isom")
    (tmp_path / "odd.MPG").write_bytes(b"what FFmpeg may know")
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "picture.mp4", "PNG")
    film, odd, still = encode(toy, *(str(tmp_path / name) for name in ("film", "odd.MPG", "picture.mp4")))
    assert seen == [("film", 8), ("odd.MPG", 8)]
    for row, expected in ((film, [0.5**0.5, 0, 0.5**0.5]), (odd, [0.5**0.5, 0, 0.5**0.5]), (still, [0, 1, 0])):
        np.testing.assert_allclose(row[:3], expected, atol=0.01)


def test_a_clip_without_its_library_is_one_line_that_says_how_to_have_it(tmp_path, monkeypatch, toy):
    monkeypatch.setattr("retrieval.images.load.find_spec", lambda name: None)
    (tmp_path / "a.webm").write_bytes(b"\x1aE\xdf\xa3")
    with pytest.raises(BadRequest, match=r"a.webm: clips need one more library: pip install '[\w-]+\[video\]'$"):
        encode(toy, str(tmp_path / "a.webm"))


@pytest.mark.parametrize("asked", [["-2:dog"], ["a", "+", "-1:dog"], ["-.5:./x"]])
def test_a_weight_below_nothing_is_said(asked):
    with pytest.raises(BadRequest, match=r"^the weight of .* is below 0: take away with - "):
        query.parse(asked)


def test_a_query_that_no_tower_reads_is_said():
    with pytest.raises(BadRequest, match="^a query of 10001 letters is more than 10000: write fewer words$"):
        query.parse("a" * 10_001)
    with pytest.raises(BadRequest, match="^a word of 2001 letters is more than 2000: write shorter ones$"):
        query.parse("a " + "a" * 2001)
    assert query.parse("ab " * 3000)[0].kind == "words"
    assert query.parse("https://example.org/" + "a" * 3000)[0].kind == "url"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["shirt - red"], "'shirt - red' is searched for as words: a sum is written mmr search shirt - red"),
        (["a dog + a cat", "-", "x y"], "'a dog + a cat' is searched for as words: a sum is written mmr search "
                                        "'a dog' + 'a cat' - 'x y'"),
        (["shirt", "-", "red"], ""), (["t-shirt"], ""), (["text:a - b"], ""), (["a - "], ""), (["- a"], ""),
    ],
)  # fmt: skip
def test_a_sum_within_quotes_gets_a_hint(asked, line):
    assert query.signs_inside(asked) == line


def test_a_sum_is_that_of_unit_parts(toy):
    ((red, green, blue, _),) = encode(toy, ["3:red", "+", "red green", "-", "blue"])
    expected = 3 * np.array([1, 0, 0]) + np.array([1, 1, 0]) / 2**0.5 - np.array([0, 0, 1])
    np.testing.assert_allclose([red, green, blue], expected / np.linalg.norm(expected), atol=0.02)


@given(TERMS)
def test_every_sum_is_of_unit_length_or_nothing(terms):
    from toy import ToyEncoder

    words = [word for sign, weight, text in terms for word in (sign, f"{weight:g}:red {text}")]
    try:
        rows = encode(ToyEncoder(), words)
    except BadRequest as error:
        assert "cancel out" in str(error)
        assert any(sign == "-" for sign, _, _ in terms)
        return
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("words", [["red", "-", "red"], ["0:red"], ["0.1:red", "+", "0.2:red", "-", "0.3:red"]])
def test_parts_that_cancel_are_said(toy, words):
    with pytest.raises(BadRequest, match="cancel out"):
        encode(toy, words)


def test_huge_weights_do_not_overflow(toy):
    (row,) = encode(toy, ["9" * 300 + ":red", "+", "9" * 300 + ":red"])
    np.testing.assert_allclose(row[:3], [1, 0, 0], atol=0.02)


def test_all_texts_are_encoded_in_one_call_and_each_once(toy, photos, monkeypatch):
    calls = []
    texts, pictures = toy.encode_texts, toy.encode_images
    monkeypatch.setattr(toy, "encode_texts", lambda batch: calls.append(list(batch)) or texts(batch))
    monkeypatch.setattr(toy, "encode_images", lambda batch: calls.append(len(batch)) or pictures(batch))
    asked = [["red", "-", "2:blue"], ["red", "+", str(photos / "red.png")], [str(photos / "red.png")]]
    rows = encode(toy, *asked)
    assert calls == [["red", "blue"], 1]
    np.testing.assert_allclose(rows, np.concatenate([encode(toy, one) for one in asked]), atol=1e-6)


def test_an_item_is_asked_for_by_its_uri(toy):
    given = {"a.jpg": np.array([0, 1, 0, 0], np.float32)}
    (row,) = encode(toy, ["red", "+", "id:a.jpg"], vector_of=given.__getitem__)
    np.testing.assert_allclose(row[:2], [0.5**0.5] * 2, atol=0.01)


def test_an_address_is_not_fetched_unasked(toy, monkeypatch):
    monkeypatch.setattr("retrieval.sources.web.fetch", no_item)
    with pytest.raises(BadRequest, match="add --urls"):
        encode(toy, "http://example.org/a.jpg")


def test_a_damaged_picture_is_one_line(toy, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(BadRequest, match="bad.jpg: not a picture of a known format: give another picture, or text:"):
        encode(toy, str(tmp_path / "bad.jpg"))
