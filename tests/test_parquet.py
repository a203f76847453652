"""Parquet files: the types of their columns, their pictures in any order, and files that were made to do harm."""

import datetime
import decimal
import io
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.sources import parquet
from retrieval.sources.registry import open_items, open_pairs
from terminal import mmr


def write(path, columns, **how):
    table = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
    pyarrow.parquet.write_table(table, path, **how)
    return str(path)


def metas(uri):
    return [{k: v for k, v in item.meta.items() if k != "x"} for item in open_items(uri)]


def png(colour):
    held = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(held, "png")
    return held.getvalue()


# ---------------------------------------------------------------- types


def test_columns_of_every_type_are_fields(tmp_path):
    moment = datetime.datetime(2021, 1, 5, 10, 0, 0, 120000)
    there = datetime.timezone(datetime.timedelta(hours=1))
    columns = {
        "image": ["a.png"],
        "day": [datetime.date(2021, 1, 5)],
        "at": pyarrow.array([moment], pyarrow.timestamp("ns")),
        "there": pyarrow.array([moment.replace(tzinfo=there)], pyarrow.timestamp("ms", "+01:00")),
        "never": pyarrow.array([2**60], pyarrow.timestamp("ms")),
        "clock": [datetime.time(10, 30)],
        "long": [datetime.timedelta(minutes=1.5)],
        "price": [decimal.Decimal("12.50")],
        "whole": [decimal.Decimal("12.00")],
        "exact": [decimal.Decimal("0.12345678901234567890123")],
        "tags": [["red", None, "new"]],
        "box": [{"x": 1, "at": [moment], "raw": None}],
        "ok": [True],
        "nan": [float("nan")],
        "none": pyarrow.array([None], pyarrow.null()),
        "empty": [""],
        "raw": [b"bytes"],
        "picture": [{"bytes": b"x", "path": "x"}],
        "few": pyarrow.array(["one"]).dictionary_encode(),
        "big": pyarrow.array([2**64 - 1], pyarrow.uint64()),
        "half": pyarrow.array([0.5], pyarrow.float32()),
    }
    assert metas(write(tmp_path / "t.parquet", columns)) == [
        {
            "day": "2021-01-05", "at": "2021-01-05T10:00:00.120000", "there": "2021-01-05T10:00:00.120000+01:00",
            "clock": "10:30:00", "long": 90.0, "price": 12.5, "whole": 12, "exact": "0.12345678901234567890123",
            "tags": ["red", None, "new"], "box": {"x": 1, "at": ["2021-01-05T10:00:00.120000"], "raw": None},
            "ok": True, "few": "one", "big": 2**64 - 1, "half": 0.5,
        }
    ]  # fmt: skip


def test_filters_meet_values_of_every_type(tmp_path):
    columns = {
        "image": ["a.png", "b.png"], "ok": [True, False], "x": [0.5, 1.0], "n": [1, 2], "cat": ["C++", "C"],
        "tags": [["a"], ["b", "c"]], "day": [datetime.date(2021, 1, 5), None],
        "price": [decimal.Decimal("1.50"), decimal.Decimal("2.00")],
    }  # fmt: skip
    source = write(tmp_path / "t.parquet", columns)
    for asked in (
        "ok=true",
        "x=0.5",
        "n=1",
        "n=1.0",
        "cat=C++",
        "tags=a",
        "day=2021-01-05",
        "price=1.5",
        "image=a.png",
    ):
        name = asked.replace("image=", "image==")
        assert [item.id for item in open_items(f"{source}?{name}")] == ["0"], asked
    for asked in ("ok=false", "x=1", "tags=c", "day=", "price=2"):
        assert [item.id for item in open_items(f"{source}?{asked}")] == ["1"], asked


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_classes_are_called_by_their_names(tmp_path, photos, kind):
    import datasets

    label = datasets.ClassLabel(names=["cat", "dog"])
    features = {"image": datasets.Image(), "label": label, "several": datasets.Sequence(label),
                "at": datasets.Value("timestamp[s]"), "n": datasets.Value("int64")}  # fmt: skip
    rows = {"image": [str(photos / "red.png")] * 3, "label": [1, 0, -1], "several": [[0, 1], [], [1]],
            "at": [datetime.datetime(2021, 1, 5)] * 3, "n": [0, 1, 2]}  # fmt: skip
    table = datasets.Dataset.from_dict(rows, datasets.Features(features))
    if kind == "parquet":
        table.to_parquet(tmp_path / "t.parquet")
    else:
        table.save_to_disk(tmp_path / "saved")
    source = str(tmp_path / "t.parquet") if kind == "parquet" else f"hf:{tmp_path / 'saved'}"
    at = "2021-01-05T00:00:00"
    assert metas(source) == [
        {"label": "dog", "several": ["cat", "dog"], "at": at, "n": 0},
        {"label": "cat", "several": [], "at": at, "n": 1},
        {"several": ["dog"], "at": at, "n": 2},
    ]
    source = source if ":" in source else f"parquet:{source}"
    assert [item.id for item in open_items(f"{source}?label=dog")] == ["0"]
    assert [load.load(item).getpixel((0, 0)) for item in open_items(source)] == [(255, 0, 0)] * 3


def test_columns_have_other_names_here_too(tmp_path, photos):
    columns = {"picture": [png("red")], "title": ["a title"], "image": ["a field"], "status": ["sold"]}
    source = write(tmp_path / "t.parquet", columns)
    (pair,) = open_pairs(f"{source}?image=picture&caption=title")
    assert (pair.caption, pair.item.meta["image"], pair.item.meta["status"]) == ("a title", "a field", "sold")
    assert load.load(pair.item).size == (4, 4)
    columns = {"file": ["a.png"], "text": ["x"]}
    with pytest.raises(BadRequest, match="no column `image`, only file, text: .*[?]image=file&caption=text'"):
        open_pairs(write(tmp_path / "u.parquet", columns))


def test_nothing_is_copied_into_a_cache_and_nothing_reaches_the_terminal(tmp_path, photos, monkeypatch, capfd):
    import datasets

    monkeypatch.setattr(datasets.Dataset, "from_parquet", lambda *_: pytest.fail("copied"))
    source = write(tmp_path / "t.parquet", {"image": [png("red")], "caption": ["red"]})
    assert [pair.caption for pair in open_pairs(source)] == ["red"]
    datasets.Dataset.from_dict({"image": ["red.png"], "caption": ["red"]}).save_to_disk(tmp_path / "saved")
    datasets.Dataset.from_dict({"image": ["red.png"], "caption": ["red"]}).to_parquet(
        tmp_path / "hub" / "train.parquet"
    )
    capfd.readouterr()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.enable_progress_bars()
    with ThreadPoolExecutor(4) as pool:
        for source in (f"hf:{tmp_path / 'saved'}", f"hf:{tmp_path / 'hub'}", f"hf:{tmp_path / 'hub'}?stream=1"):
            for found in pool.map(open_pairs, [source] * 4):
                assert [pair.caption for pair in found] == ["red"]
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- cells


@pytest.fixture
def many(tmp_path):
    """A file of 10 pictures in groups of 4, with an empty one; the pictures."""
    held = [None if number == 6 else bytes([number]) * (100 + number) for number in range(10)]
    return write(tmp_path / "t.parquet", {"image": held}, row_group_size=4), held


def test_cells_are_read_in_any_order_and_each_group_once_a_round(many, tmp_path, monkeypatch):
    path, held = many
    cells = parquet.Cells(tmp_path / "t.parquet", "image")
    read = []
    spool = parquet.Cells._spool
    monkeypatch.setattr(parquet.Cells, "_spool", lambda self, group: read.append(group) or spool(self, group))
    assert [cells(number) for number in range(10)] == held
    assert (read, cells._groups) == ([0, 1, 2], {})
    order = random.Random(0).sample(range(10), 10)
    assert [cells(number) for number in order] == [held[number] for number in order]
    assert (len(read), cells._groups) == (6, {})
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(cells, [*range(10)] * 20)) == held * 20


def test_a_single_cell_is_found_in_its_group(many, tmp_path):
    _, held = many
    assert [parquet.cell(tmp_path / "t.parquet", "image", number) for number in range(10)] == held
    for row in (-1, 10):
        with pytest.raises(parquet.NoSuchCell):
            parquet.cell(tmp_path / "t.parquet", "image", row)


def test_what_is_before_the_damage_can_be_used(tmp_path, monkeypatch):
    pictures = [png((number * 20, 0, 0)) for number in range(8)]
    source = write(tmp_path / "t.parquet", {"image": pictures}, row_group_size=4, compression="snappy")
    items = list(open_items(source))
    values = parquet._values

    def damaged(path, file, group, column):
        for number, value in enumerate(values(path, file, group, column)):
            if (group, number) == (1, 2):
                raise BadRequest("cannot be read")
            yield value

    monkeypatch.setattr(parquet, "_values", damaged)
    told = []
    for item in items:
        try:
            told.append(load.load(item).getpixel((0, 0))[0])
        except ImageError as error:
            told.append(str(error))
    assert told == [0, 20, 40, 60, 80, 100, "cannot be read", "cannot be read"]


# ---------------------------------------------------------------- harm


def test_a_damaged_file_is_one_line(tmp_path, trained):
    whole = write(tmp_path / "t.parquet", {"image": [png("red")] * 50, "caption": [f"n {i}" for i in range(50)]})
    content = (tmp_path / "t.parquet").read_bytes()
    for name, damaged in {
        "cut": content[:-30], "tail": content[-50:], "empty": b"", "zeros": bytes(1000),
        "length": content[:-8] + b"\xff\xff\xff\x7fPAR1", "footer": content[:-200] + bytes(192) + content[-8:],
    }.items():  # fmt: skip
        (tmp_path / f"{name}.parquet").write_bytes(damaged)
        with pytest.raises(BadRequest, match="cannot be read as parquet"):
            list(open_items(str(tmp_path / f"{name}.parquet")))
    result = mmr("index", tmp_path / "cut.parquet", "--index", tmp_path / "i.mmr", "--model", trained)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "i.mmr").exists()
    assert len(list(open_items(whole))) == 50


def test_a_file_that_becomes_far_larger_than_it_is_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_FREE", 1 << 20)
    monkeypatch.setattr(parquet, "_FREE_ROWS", 1000)
    monkeypatch.setattr(parquet, "_TIMES", 20)
    text = "x" * 100_000
    bombs = {
        "page": {"image": ["a.png"] * 40, "caption": [text + str(i) for i in range(40)]},
        "dictionary": {"image": ["a.png"] * 300, "caption": [text] * 300},
        "list": {"image": ["a.png"], "numbers": [[0] * 1_000_000]},
        "rows": {"image": ["a.png"] * 100_000},
        "pictures": {"image": [text.encode()] * 300},
    }
    for name, columns in bombs.items():
        source = write(tmp_path / f"{name}.parquet", columns, compression="zstd")
        with pytest.raises(
            (BadRequest, ImageError), match="becomes more than 20 times its size when it is read: leave it"
        ):
            for item in open_items(source):
                item.content()
    assert len(list(open_items(write(tmp_path / "good.parquet", {"image": ["a.png"] * 900})))) == 900


def test_schemas_that_lose_or_hide_something_are_refused(tmp_path):
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a.png"]), pyarrow.array(["b.png"])], ["image", "image"])
    with pytest.raises(BadRequest, match="has two columns `image`: rename one of them"):
        list(open_items(write(tmp_path / "t.parquet", twice)))
    kind = pyarrow.int64()
    for _ in range(40):
        kind = pyarrow.struct([("x", kind)])
    deep = pyarrow.table({"image": ["a.png"], "deep": pyarrow.array([None], kind)})
    with pytest.raises(BadRequest, match="nested more than 32 deep: leave it out"):
        list(open_items(write(tmp_path / "t.parquet", deep)))
    wrong = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    )
    with pytest.raises(BadRequest, match="column `caption` has text that is not UTF-8: repair the file"):
        list(open_items(write(tmp_path / "t.parquet", {"image": ["a.png"], "caption": wrong})))


@pytest.mark.parametrize(
    "said", [b"{", b"[" * 5000, b'{"info": 5}', b'{"info": {"features": {"n": {"_type": "ClassLabel", "names": 5}}}}']
)
def test_what_is_said_of_classes_need_not_be_true(tmp_path, said):
    table = pyarrow.table({"image": ["a.png"], "n": [1]}).replace_schema_metadata({"huggingface": said})
    assert metas(write(tmp_path / "t.parquet", table)) == [{"n": 1}]


def test_a_bare_temporary_file_is_enough_for_a_group(many, tmp_path, monkeypatch):
    """Nothing with a name is left, whatever ends the process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    cells = parquet.Cells(tmp_path / "t.parquet", "image")
    assert cells(5) is not None
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nan_fields", [{"colour": "red"}]),
        ("status", [{"status": "sold"}, {"status": "available"}, {"status": "success"}]),
    ],
)
def test_small_files_after_reports(shared, name, expected):
    found = metas(f"{shared}/reports/{name}.parquet")
    if name == "status":
        assert [{"status": row["status"]} for row in found] == expected
    else:
        assert len(found) == 4
        assert ["price" in row for row in found].count(True) == 2
