"""Tables that are texts: encodings, separators, quotes and names of columns, as people's programs write them."""

import json
import os
import shlex

import pytest

from retrieval.errors import BadRequest
from retrieval.images import load
from retrieval.sources.registry import open_items, open_pairs, parse_uri
from retrieval.sources.uri import written
from terminal import fails, lines, mmr

TABLE = "image,caption,straße\na.png,Mädchen in grünem Kleid,ö\nb.png,café — „gut“,ß\n"


def held(uri):
    return [(item.uri, item.caption, item.meta) for item in open_items(uri)]


def pairs(uri):
    return [(pair.item.uri, pair.caption) for pair in open_pairs(uri)]


EXPECTED = [
    ("a.png", "Mädchen in grünem Kleid", {"straße": "ö"}),
    ("b.png", "café — „gut“", {"straße": "ß"}),
]


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_is_marked_or_utf_8_is_read(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(TABLE.encode(encoding))
    assert held(f"{tmp_path}/t.csv") == EXPECTED
    rows = [{"image": uri, "caption": caption, **meta} for uri, caption, meta in EXPECTED]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    (tmp_path / "t.jsonl").write_bytes(text.encode(encoding))
    assert held(f"{tmp_path}/t.jsonl") == EXPECTED


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "mac-roman"])
def test_what_is_neither_has_to_be_said_and_the_line_says_how(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes(TABLE.encode(encoding))
    with pytest.raises(BadRequest) as refused:
        held(f"{tmp_path}/t.csv")
    asked = encoding if encoding.startswith("utf") else "cp1252"
    assert str(refused.value).endswith(f" as in '{tmp_path}/t.csv?encoding={asked}'")
    assert "line 1 is not UTF-8" in str(refused.value) or "holds NUL bytes, as UTF-16 does" in str(refused.value)
    assert held(f"{tmp_path}/t.csv?encoding={encoding}") == EXPECTED


def test_the_line_is_counted_through_the_whole_file(tmp_path):
    rows = ["image,caption", *(f"{number}.png,{'x' * 100}" for number in range(30_000))]
    content = "\n".join(rows).encode() + b"\nlast.png,caf\xe9"
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadRequest, match="line 30002 is not UTF-8"):
        held(f"{tmp_path}/t.csv")


def test_what_is_not_as_it_was_said_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"image,caption\na.png,\x81\n")
    with pytest.raises(BadRequest, match="line 2 is not cp1252: give the encoding it has"):
        held(f"{tmp_path}/t.csv?encoding=cp1252")
    (tmp_path / "u.csv").write_bytes(TABLE.encode("utf-16")[:-1])
    with pytest.raises(BadRequest, match="is not UTF-16"):
        held(f"{tmp_path}/u.csv")


def test_lists_of_addresses_and_queries_have_encodings_too(tmp_path, indexed, trained):
    (tmp_path / "l.txt").write_bytes("http://a/é.png\n".encode("cp1252"))
    result = mmr("index", tmp_path / "l.txt", "--index", tmp_path / "i", "--urls", "--model", trained)
    fails(result, 2, "line 1 is not UTF-8", "l.txt?encoding=cp1252")
    (tmp_path / "q.txt").write_bytes("a red square\ncafé\n".encode("cp1252"))
    asked = ("search", "--index", indexed, "--queries")
    fails(mmr(*asked, tmp_path / "q.txt"), 2, "line 2 of", "is no UTF-8: save it as UTF-8")
    fails(mmr(*asked, "-", typed="a red square\ncafé\n".encode("cp1252")), 2, "line 2 of -", "is no UTF-8")
    (tmp_path / "q.txt").write_bytes("a red square\n".encode("utf-16"))
    assert mmr(*asked, tmp_path / "q.txt").exit_code == 0


# ---------------------------------------------------------------- separators and quotes


@pytest.mark.parametrize(
    ("name", "content", "more"),
    [
        ("t.csv", "image;caption;a,b\nx.png;one, two;3\n", ""),
        ("t.csv", "image\tcaption\ta,b\nx.png\tone, two\t3\n", ""),
        ("t.csv", 'image,caption,"a,b"\nx.png,"one, two",3\n', ""),
        ("t.tsv", "image\tcaption\ta,b\nx.png\tone, two\t3\n", ""),
        ("t.tsv", "image;caption;a,b\nx.png;one, two;3\n", ""),
        ("t.csv", "image|caption|a,b\nx.png|one, two|3\n", "?sep=|"),
        ("t.csv", "file;caption;a,b\nx.png;one, two;3\n", "?image=file&sep=;"),
        ("t.csv", "file\tcaption\ta,b\nx.png\tone, two\t3\n", "?image=file&sep=tab"),
        ("t.csv", 'image, caption, "a,b"\nx.png, "one, two", 3\n', ""),
        ("t.csv", " image ;caption; a,b \nx.png;one, two;3\n", ""),
        ("t.csv", 'image,caption,"a,b"\rx.png,"one, two",3\r', ""),
        ("t.csv", 'image,caption,"a,b",,\nx.png,"one, two",3,,\n\n', ""),
    ],
)
def test_a_table_is_cut_as_its_first_line_is(tmp_path, name, content, more):
    (tmp_path / name).write_bytes(content.encode())
    assert held(f"{tmp_path}/{name}{more}") == [("x.png", "one, two", {"a,b": "3"})]


def test_quotes_of_a_csv_hold_lines_and_those_of_a_tsv_are_letters(tmp_path):
    (tmp_path / "t.csv").write_text('image,caption\na.png,"one ""big""\nline"\n', "utf-8")
    assert pairs(f"{tmp_path}/t.csv") == [("a.png", 'one "big"\nline')]
    (tmp_path / "t.tsv").write_text('image\tcaption\na.png\t"one ""big"" line"\nb.png\t"two\n', "utf-8")
    assert pairs(f"{tmp_path}/t.tsv") == [("a.png", '"one ""big"" line"'), ("b.png", '"two')]
    with pytest.raises(BadRequest, match="line 3: a quote is opened and never closed"):
        pairs(f"{tmp_path}/t.tsv?quote=yes")
    (tmp_path / "u.csv").write_text('image,caption\na.png,"one\nb.png,two\nc.png,"three" four\n', "utf-8")
    with pytest.raises(BadRequest, match="line 2: "):  # and not three rows in one caption
        pairs(f"{tmp_path}/u.csv")
    assert pairs(f"{tmp_path}/u.csv?quote=no") == [("a.png", '"one'), ("b.png", "two"), ("c.png", '"three" four')]


def test_what_has_no_end_is_refused(tmp_path, monkeypatch):
    from retrieval.sources import text_tables, texts

    monkeypatch.setattr(texts, "LINE", 100)
    monkeypatch.setattr(text_tables, "CELL", 40)
    monkeypatch.setattr(text_tables, "_ROW", 90)
    for content, message in [
        ("x" * 41, "line 2: a cell of more than 0 million letters"), ("x," * 60, "line 2 is longer than"),
        ('"x\n' + '","\n' * 50, "the row of line 2 has no end"),
    ]:  # fmt: skip
        (tmp_path / "t.csv").write_text(f"image,caption\n{content}", "utf-8")
        with pytest.raises(BadRequest, match=message):
            held(f"{tmp_path}/t.csv")
    (tmp_path / "t.jsonl").write_text('{"image": "' + "x" * 100 + '"}', "utf-8")
    with pytest.raises(BadRequest, match="line 1 is longer than"):
        held(f"{tmp_path}/t.jsonl")


# ---------------------------------------------------------------- names


def test_columns_have_other_names_and_options_are_no_filters(tmp_path):
    (tmp_path / "t.csv").write_text("path,title,caption,sep\na.png,one,old,x\nb.png,two,new,y\n", "utf-8")
    one, two = (f"{name}.png" for name in "ab")
    both = [(one, "one", {"caption": "old", "sep": "x"}), (two, "two", {"caption": "new", "sep": "y"})]
    named = f"csv:{tmp_path}/t.csv?image=path&caption=title"
    assert held(named) == both
    assert held(f"{named}&caption==new") == held(f"{named}&sep==y") == held(f"{named}&path=b.png") == both[1:]
    (tmp_path / "t.jsonl").write_text(
        '{"path": "a.png"}\n{"path": "b.png", "title": ["two", "2"], "ok": true}', "utf-8"
    )
    assert pairs(f"{tmp_path}/t.jsonl?image=path&caption=title") == [(two, "two"), (two, "2")]
    assert held(f"{tmp_path}/t.jsonl?image=path&ok=true") == [(two, None, {"title": ["two", "2"], "ok": True})]
    with pytest.raises(BadRequest, match="has no column `titel`, only path, title, ok: did you mean title"):
        held(f"{tmp_path}/t.jsonl?image=path&caption=titel")


def test_a_plus_is_a_plus_and_values_are_compared_as_what_they_are(tmp_path):
    rows = [
        {"image": "a.png", "cat": "C++", "ok": True, "x": 0.5, "n": 1.0, "big": 2**60 + 1, "tags": ["a", "b"]},
        {"image": "b.png", "cat": "C  ", "ok": False, "x": 1.5, "n": 2, "big": 2**60, "tags": [], "none": None},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    for asked in ("cat=C++", "cat=C%2B%2B", "cat==C++", "ok=true", "ok=True", "x=0.5", "x=.50", "n=1", "n=1.0",
                  "tags=b", f"big={2**60 + 1}"):  # fmt: skip
        assert [uri for uri, _, _ in held(f"{tmp_path}/t.jsonl?{asked}")] == ["a.png"], asked
    for asked in ("cat=C  ", "cat=C%20 ", "ok=false", "n=2.0", f"big={2**60}", "n=2&x=1.5"):
        assert [uri for uri, _, _ in held(f"{tmp_path}/t.jsonl?{asked}")] == ["b.png"], asked
    with pytest.raises(BadRequest, match="no pictures that match none=None"):
        held(f"{tmp_path}/t.jsonl?none=None")


def test_the_way_on_is_the_source_as_it_was_typed_with_one_option_more():
    assert parse_uri("csv:a b.csv?lang=en").with_options(caption="A & B") == "'csv:a b.csv?lang=en&caption=A %26 B'"
    again = parse_uri("csv:a b.csv?lang=en&caption=A %26 B&sep=;")
    assert (again.where, again.reading) == ({"lang": "en"}, {"caption": "A & B", "sep": ";"})
    where, reading = {"caption": "x", "a&b": "=c=+", "sep": "%"}, {"sep": ";", "image": "the picture"}
    again = parse_uri(written("csv", "p.csv", where, reading))
    assert (again.where, again.reading) == (where, reading)


def test_an_index_remembers_how_its_table_was_read(tmp_path, photos, trained, monkeypatch):
    """Bare `mmr index` reads it so again; it is named as it can be typed."""
    (photos / "t.csv").write_bytes(
        "bild;text;sep\nred.png;größer;a\nblue é.png;kleiner;b\n".encode("cp1252", "replace")
    )
    source = f"{photos}/t.csv?image=bild&caption=text&encoding=cp1252&sep==a"
    assert mmr("index", source, "--index", photos / ".mmr", "--model", trained).exit_code == 0
    monkeypatch.chdir(photos)
    again = mmr("index")
    assert (again.exit_code, "(0 new, 0 changed, 0 moved, 0 removed, 1 as before" in again.stdout) == (0, True), again
    assert [line["caption"] for line in lines(mmr("ls", "--json"))] == ["größer"]


# ---------------------------------------------------------------- letters that are none


def test_half_of_a_letter_is_one_sign_in_any_text(tmp_path):
    rows = [
        '{"image": "a.png", "caption": "cut \\ud83d", "k\\udc00": ["\\ud83d", {"x": "\\udfff!"}], '
        '"whole": "\\ud83d\\ude00"}',
        '{"image": "b.png", "caption": ["\\ud83d one", "two"]}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(rows), "utf-8")
    sign = "\N{REPLACEMENT CHARACTER}"
    assert held(f"{tmp_path}/t.jsonl") == [
        ("a.png", f"cut {sign}", {f"k{sign}": [sign, {"x": f"{sign}!"}], "whole": "😀"}),
        ("b.png", f"{sign} one", {}),
    ]


def test_a_name_that_no_file_can_have_is_listed_and_the_rest_goes_on(tmp_path, photos, trained):
    names = [b"red.png", b"r\0d.png", b"\xf0\x9f\x98\x80" * 200 + b".png", b"x" * 5000]
    (photos / "t.csv").write_bytes(b"image,caption\n" + b"".join(name + b",x\n" for name in names))
    rows = [{"image": name} for name in ("red.png", "r\0d.png", "\ud83d.png", "blue é.png", 5, ["a"])]
    (photos / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    for name, good in (("t.csv", 1), ("t.jsonl", 2)):
        result = mmr("index", photos / name, "--index", tmp_path / f"{name}.mmr", "--model", trained)
        assert result.exit_code == 4, result.output
        assert f"({good} new," in result.stdout
        assert "r\\x00d.png: no file can have this name" in result.stderr


def test_bytes_of_a_name_that_are_no_letters_are_kept(tmp_path, photos):
    name = os.fsdecode(b"\xff.png")
    (photos / "red.png").rename(photos / name)
    (photos / "t.jsonl").write_text(json.dumps({"image": name}), "utf-8")
    (item,) = open_items(f"{photos}/t.jsonl")
    assert (item.id, load.load(item).size) == ("\\udcff.png", (20, 10))


def test_an_index_that_is_still_empty_takes_another_source(tmp_path, photos, trained):
    """Nothing of the first could be used: that is no reason to refuse the second."""
    (tmp_path / "t.csv").write_text("image\nnone.png\n", "utf-8")
    assert mmr("index", tmp_path / "t.csv", "--index", tmp_path / "i.mmr", "--model", trained).exit_code == 4
    result = mmr("index", photos, "--index", tmp_path / "i.mmr", "--model", trained)
    assert result.exit_code == 0, result.output
    assert "(3 new," in result.stdout


# ---------------------------------------------------------------- reports of others


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stray_quote.tsv", ['"hello world', "a second", 'the "third" one', 'fourth"', "fifth"]),
        ("blank_in_header.csv", ["a dog"]),
        ("cp1252.csv?encoding=cp1252", ["Mädchen in grünem Kleid", "café"]),
        ("semicolons.csv", ["ein Hund", "eine Katze"]),
        ("other_names.tsv?image=filepath&caption=title", ["a dog", "a cat"]),
        ("half_emoji.jsonl", ["cut emoji \N{REPLACEMENT CHARACTER}", "fine"]),
        ("absent_captions.jsonl", ["a dog", "a cat"]),
    ],
)
def test_small_tables_after_reports(shared, name, expected):
    assert [pair.caption for pair in open_pairs(f"{shared}/reports/{name}")] == expected


def test_what_is_typed_after_a_refusal_works(shared):
    import shlex

    for name in ("cp1252.csv", "other_names.tsv"):
        with pytest.raises(BadRequest) as refused:
            open_pairs(f"{shared}/reports/{name}")
        (typed,) = shlex.split(str(refused.value).rpartition("as in ")[2])
        assert len(open_pairs(typed)) == 2


def hint(caught):
    """The source that a message says to type."""
    return shlex.split(str(caught.value).rpartition("as in ")[2])[0]


@pytest.mark.parametrize("sign", ["|", "^", "~", ":", "\x01", " "])
def test_what_is_typed_for_an_unknown_separator_reads_the_table(tmp_path, sign):
    file = tmp_path / "pairs.csv"
    file.write_text(f'image{sign}caption\na.png{sign}"a dog"\n')
    with pytest.raises(BadRequest, match="say what stands between cells") as caught:
        list(open_items(str(file)))
    (item,) = open_items(hint(caught))
    assert (item.uri, item.captions) == ("a.png", ("a dog",))


def test_a_separator_and_columns_are_named_in_one_go(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("no|filename|title\n7|a.png|a dog\n")
    with pytest.raises(BadRequest, match=r"sep=\|&image=filename&caption=title'$") as caught:
        list(open_items(str(file)))
    assert [(item.uri, item.captions) for item in open_items(hint(caught))] == [("a.png", ("a dog",))]


@pytest.mark.parametrize("said", ["sep=;", "sep=;&split==x", "split==x&sep=%7C%7C", "encoding=nonsense"])
def test_what_is_typed_takes_the_place_of_what_was_said_wrongly(tmp_path, said):
    file = tmp_path / "pairs.csv"
    file.write_text("image,split\na.png,x\n")
    with pytest.raises(BadRequest) as caught:
        list(open_items(f"{file}?{said}"))
    again = parse_uri(hint(caught))
    assert {**again.where, **again.reading} != {} and ("split" in again.where) == ("split" in said)


def test_a_table_of_vectors_is_sent_to_import_and_no_column_is_guessed(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "it is.parquet"
    parquet.write_table(pyarrow.table({"id": [7], "embedding": [[1.0, 0.0]]}), file)
    with pytest.raises(BadRequest, match="take it in with mmr import parquet '.*it is.parquet'$"):
        list(open_items(str(file)))
    parquet.write_table(pyarrow.table({"id": [7], "n": [8]}), file)
    with pytest.raises(BadRequest, match="only id, n: say which it is with image=$"):
        list(open_items(str(file)))
