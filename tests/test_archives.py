"""Tars as webdataset writes them and folders of img2dataset, made by hand; pictures in them are opened again."""

import io
import json
import tarfile

import pytest
from PIL import Image

from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.sources import archives, reopen, within
from retrieval.sources.registry import open_items, open_pairs, parse_uri


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path, members, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sample(key, colour, caption=None, /, **fields):
    members = [(f"{key}.png", png(colour))]
    members += [(f"{key}.txt", caption.encode())] if caption else []
    return members + ([(f"{key}.json", json.dumps(fields).encode())] if fields else [])


def colours(uri):
    return [load.load(item).getpixel((0, 0)) for item in open_items(uri)]


def test_braces():
    assert list(archives.braces("a{008..010}.tar")) == ["a008.tar", "a009.tar", "a010.tar"]
    assert list(archives.braces("{x,y}{0..1}")) == ["x0", "x1", "y0", "y1"]
    assert list(archives.braces("plain{it}.tar")) == ["plain{it}.tar"]
    with pytest.raises(BadRequest, match="give fewer"):
        list(archives.braces("{0..99999999999}"))


def test_samples_captions_and_fields(tmp_path):
    long = "d/" + "n" * 150  # its name stands in a header of its own
    members = [
        *sample("a/one.v", "red", " a red square \n", width=4, similarity=0.3, nested={"x": 1}, url="http://x/1.png"),
        ("__index__.txt", b"no sample"), ("noending", b""), (".hidden", b""),
        ("two.seg.PNG", png("blue")), ("two.JPEG", png("lime")), ("two.json", b'{"caption": "green"}'),
        *sample(long, "blue"),
    ]  # fmt: skip
    write_tar(tmp_path / "00000.tar", members)
    items = list(open_items(f"webdataset:{tmp_path}/00000.tar"))
    assert [(item.id, item.caption) for item in items] == [
        ("00000.tar/a/one", None),
        ("00000.tar/two", "green"),
        (f"00000.tar/{long}", None),
    ]
    assert [load.load(item).getpixel((0, 0)) for item in items] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_the_text_and_the_plain_values_of_json(tmp_path):
    write_tar(
        tmp_path / "0.tar", sample("k", "red", " a red square \n", width=4, nested={"x": 1}, url="http://x", e="")
    )
    (item,) = open_items(f"{tmp_path}/0.tar")
    assert item.caption == "a red square"
    assert item.meta == {"width": 4, "url": "http://x"}
    with pytest.raises(BadRequest, match="no pictures that match"):
        list(open_items(f"{tmp_path}/0.tar?width=5"))


def test_patterns_globs_and_folders_name_the_same_shards(tmp_path):
    write_tar(tmp_path / "s" / "00000.tar", sample("a", "red"))
    write_tar(tmp_path / "s" / "00001.tar", sample("a", "blue"))
    for uri in (f"{tmp_path}/s/{{00000..00001}}.tar", f"{tmp_path}/s/*.tar", f"{tmp_path}/s"):
        assert colours(f"webdataset:{uri}") == [(255, 0, 0), (0, 0, 255)]
        assert parse_uri(f"webdataset:{uri}").root == tmp_path / "s"
    assert [item.id for item in open_items(f"webdataset:{tmp_path}/{{s,t}}/00000.tar")] == [
        "s/00000.tar/a",
        "t/00000.tar",
    ]


@pytest.mark.parametrize("cut", [540, 1500, 1560])
def test_a_damaged_shard_costs_what_is_damaged(tmp_path, cut):
    whole = write_tar(tmp_path / "0.tar", sample("a", "red") + sample("b", "blue"))
    whole.write_bytes(whole.read_bytes()[:cut])
    write_tar(tmp_path / "1.tar", sample("c", "lime"))
    good, bad = [], []
    for item in open_items(f"webdataset:{tmp_path}/*.tar"):
        try:
            good.append((item.id, load.load(item).getpixel((0, 0))))
        except ImageError as error:
            bad.append(str(error))
    assert good[-1] == ("1.tar/c", (0, 255, 0))
    assert cut < 1024 or good[0] == ("0.tar/a", (255, 0, 0))
    assert bad


def test_a_compressed_or_a_missing_tar_is_listed(tmp_path):
    write_tar(tmp_path / "ok.tar", sample("a", "red"))
    (tmp_path / "bad.tar").write_bytes(b"no tar at all" * 100)
    bad, gone, good = open_items(f"webdataset:{tmp_path}/{{bad,gone,ok}}.tar")
    with pytest.raises(ImageError, match="the tar is damaged"):
        load.load(bad)
    with pytest.raises(ImageError, match="no such file"):
        load.load(gone)
    assert load.load(good)


def test_a_picture_in_a_tar_is_opened_again(tmp_path):
    tar = write_tar(tmp_path / "s" / "0.tar", sample("a", "red", "x") + sample("b", "blue"))
    for item in open_items(str(tar)):
        place = within.from_json(json.loads(json.dumps(within.to_json(item.within))))  # as an index keeps it
        again = reopen.open_again(item.uri, place, tmp_path / "s")
        assert again.tobytes() == load.load(item).tobytes()
        assert place.file == "0.tar"
    write_tar(tmp_path / "s" / "0.tar", sample("c", "red", "x") + sample("a", "lime"))
    with pytest.raises(ImageError, match="has changed: index it again"):
        reopen.open_again(item.uri, place, tmp_path / "s")
    tar.unlink()
    with pytest.raises(ImageError, match="no such file"):
        reopen.open_again(item.uri, place, tmp_path / "s")


def test_a_picture_that_is_a_file_is_opened_again(photos):
    (item, *_) = open_items(str(photos))
    assert reopen.open_again(item.uri, item.within, photos).getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(ImageError, match="no file that could be opened again"):
        reopen.open_again("0", None, None)


@pytest.mark.parametrize("kind", ["webdataset", "files", "parquet"])
def test_img2dataset_folders(tmp_path, kind):
    """Two downloads that went well in another order than they were listed, and one that failed."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "00000_stats.json").write_text("{}")
    rows = [("000000002", "blue", "a blue one"), ("000000001", "red", "a red one")]
    if kind == "webdataset":
        members = [m for key, colour, text in rows for m in sample(key, colour, text, key=key, status="success")]
        write_tar(out / "00000.tar", members)
    elif kind == "files":
        (out / "00000").mkdir()
        for key, colour, text in rows:
            for name, content in sample(key, colour, text, key=key, status="success"):
                (out / "00000" / name).write_bytes(content)
    write_parquet(out / "00000.parquet", rows, kind == "parquet")
    items = {item.meta["key"]: item for item in open_items(str(out))}
    assert parse_uri(str(out)).scheme == "img2dataset"
    assert {key: (load.load(item).getpixel((0, 0)), item.caption) for key, item in items.items()} == {
        "000000001": ((255, 0, 0), "a red one"),
        "000000002": ((0, 0, 255), "a blue one"),
    }
    assert len(open_pairs(str(out))) == 2
    for item in items.values():
        assert reopen.open_again(item.uri, item.within, out).tobytes() == load.load(item).tobytes()


def write_parquet(path, rows, with_pictures):
    import pyarrow
    import pyarrow.parquet

    table = [{"key": key, "caption": text, "status": "success", "jpg": png(colour)} for key, colour, text in rows]
    table.append({"key": "000000000", "caption": "gone", "status": "failed_to_download", "jpg": None})
    if not with_pictures:
        table = [{k: v for k, v in row.items() if k != "jpg"} for row in table]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path, row_group_size=2)


def test_tfrecords_are_refused_with_the_way_on(tmp_path):
    (tmp_path / "00000_stats.json").write_text("{}")
    (tmp_path / "00000.tfrecord").touch()
    with pytest.raises(BadRequest, match="--output_format webdataset"):
        list(open_items(str(tmp_path)))
