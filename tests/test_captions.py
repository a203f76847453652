"""Captions: what is one, whatever form a source has it in; all of them, in their order, wherever its rows stand."""

import io
import json
import math
import tarfile

import pyarrow.parquet
import pytest

from cli.output import hits, sheet
from indexes import Store
from retrieval import Retriever
from retrieval.exchange import export, import_into, open_collection
from retrieval.indexing import catalog
from retrieval.indexing.cards import Card
from retrieval.search.answers import Asked
from retrieval.sources.captions import captions_in, captions_of, whole
from retrieval.sources.registry import open_items, open_pairs
from terminal import lines, mmr
from toy import ToyEncoder, picture


@pytest.mark.parametrize(
    ("value", "captions"),
    [
        ("a dog", ("a dog",)), (" a dog\n", ("a dog",)), ("two\nlines", ("two\nlines",)), (3, ("3",)), (0, ("0",)),
        (None, ()), (math.nan, ()), ("", ()), (" \t", ()), ({"en": "a dog"}, ()), (b"a dog", ()), ([], ()),
        (["a cat", None, "", math.nan, "a kitten"], ("a cat", "a kitten")), (("a", "a"), ("a", "a")),
        ([["a"], {"b": 1}, "c"], ("c",)), ("nan", ("nan",)), ("['a', 'b']", ("['a', 'b']",)),
        ("cut \ud83d", ("cut \ufffd",)), ("whole \U0001f600", ("whole \U0001f600",)),
    ],
)  # fmt: skip
def test_what_is_a_caption(value, captions):
    assert captions_of(value) == captions


def test_a_text_file_has_a_caption_a_line():
    assert captions_in("a dog\r\n\n  a hound \n") == ("a dog", "a hound")
    assert captions_in("") == ()


def test_half_a_character_has_a_sign_of_its_own():
    assert [whole(text) for text in ("plain", "é", "\ud83d\ude00!", "")] == ["plain", "é", "\ufffd\ufffd!", ""]


def captions(uri):
    return [item.captions for item in open_items(str(uri))]


def test_all_captions_of_a_picture_are_kept_wherever_its_rows_stand(tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    rows = "a.png,one\nb.png,two\na.png,three\nb.png,\na.png,one\n"
    (tmp_path / "t.csv").write_text(f"image,caption\n{rows}")
    assert captions(tmp_path / "t.csv") == [("one", "three", "one"), ("two",)]
    assert [pair.caption for pair in open_pairs(str(tmp_path / "t.csv"))] == ["one", "two", "three", "one"]


def test_the_same_data_has_the_same_captions_as_a_folder_a_tar_a_table_and_a_download(tmp_path):
    said = ("a dog", "a hound", "a good dog")
    folder = tmp_path / "folder"
    data = picture(folder / "0.png").read_bytes()
    (folder / "0.txt").write_text("a dog\n\na hound\n a good dog\n")
    write_tar(tmp_path / "texts.tar", {"0.png": data, "0.txt": (folder / "0.txt").read_bytes()})
    write_tar(tmp_path / "lists.tar", {"0.png": data, "0.json": json.dumps({"caption": said}).encode()})
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "folder/0.png", "caption": [*said, None]}))
    shard = picture(tmp_path / "out" / "00000" / "0.png").parent
    (shard / "0.json").write_text(json.dumps({"caption": said}))
    (tmp_path / "out" / "00000_stats.json").write_text("{}")
    for source in ("folder", "texts.tar", "lists.tar", "t.jsonl", "out"):
        assert captions(tmp_path / source) == [said], source
        assert [pair.caption for pair in open_pairs(str(tmp_path / source))] == list(said)


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_reported_captions(shared):
    reports = shared / "reports"
    assert captions(reports / "absent_captions.jsonl") == [("a dog",), (), ("a cat",), ()]
    assert [pair.caption for pair in open_pairs(str(reports / "absent_captions.jsonl"))] == ["a dog", "a cat"]
    assert captions(reports / "caption_list.tar") == [("a dog", "a hound"), ()]
    assert captions(reports / "half_emoji.jsonl") == [("cut emoji \ufffd",), ("fine",)]


# ---------------------------------------------------------------- in an index


@pytest.fixture
def index(tmp_path):
    """Two pictures, the first with three captions."""
    for name, colour in (("a.png", (255, 0, 0)), ("b.png", (0, 255, 0))):
        picture(tmp_path / name, colour)
    (tmp_path / "t.csv").write_text("image,caption\na.png,a thing\nb.png,something green\na.png,red\na.png,blue\n")
    Retriever.build(str(tmp_path / "t.csv"), tmp_path / "i.mmr", ToyEncoder())[0].close()
    return tmp_path / "i.mmr"


def test_every_caption_of_an_index_is_an_answer_and_a_hit_has_all(index):
    with Retriever.open(index, ToyEncoder()) as retriever:
        (hit,) = retriever.captions("blue", Asked(k=1))
        assert (hit.uri, hit.caption, hit.captions) == ("a.png", "blue", ("blue", "a thing", "red"))
        assert len(retriever.captions("blue", Asked(k=9))) == 4
        (hit,) = retriever.search("red", k=1)
        assert (hit.caption, hit.captions) == ("a thing", ("a thing", "red", "blue"))
        assert [hit.uri for hit in retriever.search("red", where="caption contains 'lu'")] == ["a.png"]
        assert [hit.uri for hit in retriever.search("red", where="caption == 'something green'")] == ["b.png"]


def test_the_terminal_says_all_captions(index):
    assert mmr("ls", "--index", index, "-l", "--where", "caption == 'red'").stdout == (
        "a.png  a thing  red  blue  width=8  height=8\n"
    )
    (told,) = lines(mmr("ls", "--index", index, "--json", "--where", "caption == 'red'"))
    assert (told["caption"], told["captions"]) == ("a thing", ["a thing", "red", "blue"])


def test_a_sheet_and_a_csv_show_the_first_caption_and_the_sheet_tells_the_others(index, tmp_path, capsys):
    with Retriever.open(index, ToyEncoder()) as retriever:
        found = retriever.search("red", k=1)
        sheet.write(tmp_path / "s.html", "s", [sheet.Section("s", found, catalog.allowed(retriever.store))])
    assert f'alt="a thing" title="{tmp_path}/a.png\nred\nblue" src="data:' in (tmp_path / "s.html").read_text()
    hits.Writer("csv")("red", found)
    assert capsys.readouterr().out.splitlines()[0] == "rank,score,uri,path,caption"


@pytest.mark.parametrize(("kind", "name"), [("clip-retrieval", "c"), ("npy", "v.npy"), ("parquet", "v.parquet")])
@pytest.mark.parametrize("by", ["records", "columns"])
def test_all_captions_go_out_and_come_back(index, tmp_path, kind, name, by):
    """Also through the columns alone, as another tool would hand them on."""
    with Store.open(index) as store:
        out, *beside = export(kind, store, tmp_path / name)
    table = {"clip-retrieval": out / "metadata" / "metadata_0.parquet", "npy": out.with_suffix(".parquet")}.get(
        kind, out
    )
    if by == "columns":
        plain = pyarrow.parquet.read_table(table).drop_columns(["mmr_record"]).replace_schema_metadata(None)
        pyarrow.parquet.write_table(plain, table)
    import_into(tmp_path / "j.mmr", open_collection(kind, out, None, *beside), "toy:x", tmp_path)
    with Store.open(tmp_path / "j.mmr") as store:
        cards = [Card.of(record) for record in store.records(store.rows())]
    assert [card.captions for card in cards] == [("a thing", "red", "blue"), ("something green",)]
    assert [card.fields for card in cards] == [{"width": 8, "height": 8}] * 2
