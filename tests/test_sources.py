"""Sources: what each reads, how a plain path is understood, what is said where nothing can be read."""

import json

import pytest
from PIL import Image

from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.sources import reopen
from retrieval.sources.registry import open_items, open_pairs, parse_uri
from retrieval.sources.within import InTable


def captions(uri):
    return [(pair.item.id, pair.caption) for pair in open_pairs(uri)]


def test_folder_takes_pictures_and_the_texts_beside_them(photos):
    (photos / ".hidden").mkdir()
    Image.new("RGB", (4, 4)).save(photos / ".hidden" / "no.png")
    (photos / "notes.txt").write_text("no picture beside me")
    assert [item.uri for item in open_items(f"folder:{photos}")] == ["blue é.png", "red.png", "more/green.jpg"]
    assert captions(str(photos)) == [("more/green.jpg", "a green field")]


def test_csv_rows_of_one_picture_share_an_item_and_filters_keep_rows(tmp_path):
    (tmp_path / "p.csv").write_text(
        "\ufeffimage,split,lang,caption\nx/a.jpg,train,en,one\nx/a.jpg,train,en,two\nx/a.jpg,train,zh,一\nb.jpg,dev,en,three\n"
    )
    pairs = open_pairs(f"csv:{tmp_path}/p.csv?split=train&lang=en")
    assert [(pair.item.uri, pair.caption) for pair in pairs] == [("x/a.jpg", "one"), ("x/a.jpg", "two")]
    assert pairs[0].item is pairs[1].item
    assert pairs[0].item.content == tmp_path / "x" / "a.jpg"
    assert captions(f"{tmp_path}/p.csv?lang=zh") == [("x/a.jpg", "一")]
    assert [(item.id, item.caption) for item in open_items(f"{tmp_path}/p.csv")] == [
        ("x/a.jpg", "one"),
        ("b.jpg", "three"),
    ]


def test_jsonl_takes_one_caption_or_several(tmp_path):
    lines = [{"image": "a.jpg", "caption": ["one", "two"]}, {"image": "b.jpg", "caption": "three"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert captions(f"jsonl:{tmp_path}/p.jsonl") == [("a.jpg", "one"), ("a.jpg", "two"), ("b.jpg", "three")]


def test_parquet_and_a_saved_dataset(tmp_path, photos):
    import datasets

    table = datasets.Dataset.from_dict(
        {"image": [str(photos / "red.png")] * 2, "caption": ["a red square", "red"], "split": ["train", "dev"]}
    ).cast_column("image", datasets.Image())
    table.to_parquet(tmp_path / "p.parquet")
    table.save_to_disk(tmp_path / "saved")
    for uri in (f"parquet:{tmp_path}/p.parquet?split=train", f"hf:{tmp_path}/saved"):
        first = open_pairs(uri)[0]
        assert first.caption == "a red square"
        assert load.load(first.item).getpixel((0, 0)) == (255, 0, 0)
    assert len(open_pairs(f"parquet:{tmp_path}/p.parquet?split=train")) == 1


@pytest.fixture
def on_a_hub(tmp_path, photos, monkeypatch):
    """A folder that `datasets` takes for a dataset of the hub: five red pictures in two files."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = {"bytes": (photos / "red.png").read_bytes(), "path": None}
    (tmp_path / "hub").mkdir()
    for part, numbers in enumerate([(0, 1, 2), (3, 4)]):
        rows = {"image": [data] * len(numbers), "caption": [f"number {number}" for number in numbers]}
        table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        table.to_parquet(tmp_path / "hub" / f"train-{part}.parquet")
    return tmp_path / "hub"


def test_of_a_stream_the_first_rows_are_taken_and_any_of_them_read(on_a_hub):
    for count, there in ((4, 4), (9, 5)):
        pairs = open_pairs(f"hf:{on_a_hub}?stream={count}")
        assert [pair.caption for pair in pairs] == [f"number {number}" for number in range(there)]
        for pair in reversed(pairs):
            assert load.load(pair.item).getpixel((0, 0)) == (255, 0, 0)


def test_of_a_dataset_that_was_saved_the_first_rows_are_taken_too(on_a_hub, tmp_path):
    import datasets

    datasets.load_dataset(str(on_a_hub), split="train").save_to_disk(str(tmp_path / "saved"))
    for count, there in ((2, 2), (9, 5)):
        pairs = open_pairs(f"hf:{tmp_path / 'saved'}?stream={count}")
        assert [pair.caption for pair in pairs] == [f"number {number}" for number in range(there)]


def test_a_stream_is_read_once_and_again_where_its_data_changed(on_a_hub, monkeypatch):
    import datasets

    first = open_pairs(f"hf:{on_a_hub}?stream=4")
    with monkeypatch.context() as patched:
        patched.setattr(datasets.IterableDataset, "__iter__", lambda self: pytest.fail("streamed again"))
        again = open_pairs(f"hf:{on_a_hub}?stream=4")
    assert [(p.item.stamp, p.caption) for p in first] == [(p.item.stamp, p.caption) for p in again]
    (on_a_hub / "train-0.parquet").unlink()
    assert [pair.caption for pair in open_pairs(f"hf:{on_a_hub}?stream=4")] == ["number 3", "number 4"]


@pytest.mark.parametrize("count", ["", "0", "-1", "many", "1.5"])
def test_a_stream_without_a_number_is_refused(on_a_hub, count):
    with pytest.raises(BadRequest, match=r"give the number of rows to take, as in hf:.*\?stream=10000"):
        open_pairs(f"hf:{on_a_hub}?stream={count}")


@pytest.mark.parametrize("kind", ["binary", "struct", "path in a struct", "path"])
def test_parquet_holds_pictures_in_many_ways_and_they_are_opened_again(tmp_path, photos, kind):
    import pyarrow
    import pyarrow.parquet

    data = (photos / "red.png").read_bytes()
    value = {"binary": data, "struct": {"bytes": data, "path": None}, "path": "photos/red.png",
             "path in a struct": {"bytes": None, "path": "photos/red.png"}}[kind]  # fmt: skip
    rows = [{"image": value, "caption": f"number {number}"} for number in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet", row_group_size=2)
    items = list(open_items(str(tmp_path / "p.parquet")))
    assert len(items) == 5
    for number, item in enumerate(items):
        assert item.within == InTable("p.parquet", number, "image")
        assert load.load(item).getpixel((0, 0)) == (255, 0, 0)
        assert reopen.open_again(item.uri, item.within, tmp_path).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ImageError, match="has changed"):
        reopen.open_again("5", InTable("p.parquet", 5, "image"), tmp_path)
    with pytest.raises(ImageError, match="cannot be read as parquet"):
        reopen.open_again("5", InTable("p.parquet", 0, "gone"), tmp_path)


def test_picturebook_is_a_source():
    assert len(list(open_items("picturebook:3?size=32"))) == 3
    assert len(open_pairs("picturebook:3?captions=full")) == 3


@pytest.mark.parametrize(
    ("content", "uri", "message"),
    [
        (None, "csv:{}", "no such file"),
        ("", "csv:{}", "is empty: it must start with a line `image,caption`"),
        ("image,caption\n", "csv:{}", "has no pictures"),
        ("file,text\na.jpg,x\n", "csv:{}", "has no column `image`, only file, text: .*[?]image=file&caption=text'$"),
        ("images,caption\na.jpg,x\n", "csv:{}", "say which it is, as in 'csv:.*[?]image=images'$"),
        ("image,caption,split\na.jpg,x,train\n", "csv:{}?splt=train", "has no column `splt`.*did you mean split[?]"),
        ("image,caption,split\na.jpg,x,train\n", "csv:{}?split=test", "has no pictures that match split=test"),
        ("image,caption\na.jpg,\n", "csv:{}", "has pictures but no captions"),
        (
            "image,caption\na.jpg,x\n",
            "csv:{}?caption=titel",
            "has no column `titel`, only image, caption: write caption==titel",
        ),
        (
            "image,title\na.jpg,x\n",
            "csv:{}?caption=titel",
            "has no column `titel`, only image, title: did you mean title[?]",
        ),
        (
            "image,a\na.jpg,x\n",
            "csv:{}?image=b",
            "no column `b`.*: write image==b to keep the rows whose image is that",
        ),
        ("image,image\na.jpg,x\n", "csv:{}", "has two columns `image`: rename one of them"),
        ("image,caption\na.jpg,x,y\n", "csv:{}", "line 2 has 3 cells, the first line names 2 columns: put quotes"),
        ('image,caption\na.jpg,"x\nb.jpg,y\n', "csv:{}", "line 2: a quote is opened and never closed: .*quote=no'$"),
        ('image,caption\na.jpg,x\nb.jpg,"y" z\n', "csv:{}", "line 3: .*quote=no'$"),
        (
            'image,caption\na.jpg,"x\n',
            "csv:{}?quote=yes",
            "line 2: a quote is opened and never closed: repair the file",
        ),
        ("image,caption\na.jpg,x\n", "csv:{}?sep=::", "sep=::: give one sign or tab, as in"),
        ("image,caption\na.jpg,x\n", "csv:{}?quote=maybe", "quote=maybe: give yes or no"),
        (
            "image,caption\na.jpg,x\n",
            "csv:{}?encoding=klingon",
            "no encoding `klingon`: give cp1252.*encoding=cp1252'$",
        ),
        ("image,caption\na.jpg,x\n", "csv:{}?encoding=rot13", "no encoding `rot13`"),
        ("image,a\na.jpg,x\n", "csv:{}?a=x&a=y", "says `a` twice: say it once"),
        ("image,a\na.jpg,x\n", "csv:{}?a=%E4", "%E4 is not UTF-8: write the letters as they are"),
        ('{"image": "a.jpg", "a": 1, "a": 2}', "jsonl:{}", "line 1 says `a` twice: repair the file"),
        ('{"image": "a.jpg", "a": ' + "[" * 40 + "]" * 40 + "}", "jsonl:{}", "line 1 is nested more than 32 deep"),
        ('{"image": "a.jpg", "a": ' + "[" * 99999 + "]" * 99999 + "}", "jsonl:{}", "line 1 is no JSON"),
        (
            '{"image": "a.jpg"}\n{"image": "b.jpg"}',
            "jsonl:{}?lang=en",
            "has no column `lang`, only image: filter by one",
        ),
        ("{", "jsonl:{}", "line 1 is no JSON"),
        ("[1]", "jsonl:{}", "line 1 is no JSON object"),
        ("PK", "parquet:{}", "cannot be read as parquet"),
        ("x", "{}", "is no source: give a folder"),
        (None, "{}", "no such file or folder"),
        (None, "picturebook:many", "write `picturebook:COUNT"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, content, uri, message):
    file = tmp_path / "source.dat"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadRequest, match=message):
        open_pairs(uri.format(file))


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(BadRequest, match="has no pictures"):
        list(open_items(str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "scheme"), [("a.csv", "csv"), ("a.tsv", "csv"), ("a.jsonl", "jsonl"), ("a.parquet", "parquet")]
)
def test_a_plain_path_picks_its_scheme(tmp_path, name, scheme):
    (tmp_path / name).touch()
    assert parse_uri(str(tmp_path / name)).scheme == scheme
    assert parse_uri(str(tmp_path)).scheme == "folder"


def test_a_path_may_hold_a_question_mark(tmp_path):
    (tmp_path / "what?").mkdir()
    assert parse_uri(str(tmp_path / "what?")).path == str(tmp_path / "what?")


def test_a_column_called_status_is_a_column(shared):
    items = list(open_items(str(shared / "reports" / "status.parquet")))
    assert [item.meta["status"] for item in items] == ["sold", "available", "success"]


def test_columns_of_any_name_are_columns(shared):
    (item,) = open_items(str(shared / "reports" / "reserved_columns.csv"))
    assert (item.meta, item.kind, item.within) == ({"inside": "yes", "video": "no"}, "picture", None)
