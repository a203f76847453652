"""Tars as webdataset writes them and folders of img2dataset, made by hand; pictures in them are opened again."""

import io
import json
import tarfile

import pytest

from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.sources import archives, reopen, within
from retrieval.sources.registry import open_items, open_pairs, parse_uri
from tarred import png, sample, write_tar


def colours(uri):
    return [load.load(item).getpixel((0, 0)) for item in open_items(uri)]


def test_braces():
    assert list(archives.braces("a{008..010}.tar")) == ["a008.tar", "a009.tar", "a010.tar"]
    assert list(archives.braces("{x,y}{0..1}")) == ["x0", "x1", "y0", "y1"]
    assert list(archives.braces("plain{it}.tar")) == ["plain{it}.tar"]
    with pytest.raises(BadRequest, match="give fewer"):
        list(archives.braces("{0..99999999999}"))


def test_texts_of_another_encoding_lose_no_letter_in_silence(tmp_path):
    members = [
        ("a.png", png("red")), ("a.txt", "café".encode("utf-16")),
        ("b.png", png("red")), ("b.txt", "café".encode("cp1252")),
        ("c.png", png("red")), ("c.json", '{"caption": "café"}'.encode("cp1252")),
    ]  # fmt: skip
    write_tar(tmp_path / "t.tar", members)
    found = {item.uri: item for item in open_items(f"webdataset:{tmp_path}/t.tar")}
    assert [found[f"t.tar/{name}.png"].captions for name in "abc"] == [("café",), (), ()]
    for lost in ("b.txt", "c.json"):
        with pytest.raises(ImageError, match="line 1 is not UTF-8"):
            load.load(found[f"t.tar/{lost}"])


def test_samples_captions_and_fields(tmp_path):
    long = "d/" + "n" * 150  # its name stands in a header of its own
    members = [
        *sample("a/one.v", "red", " a red square \n", width=4, similarity=0.3, nested={"x": 1}, url="http://x/1.png"),
        ("__index__.txt", b"no sample"), ("noending", b""), (".hidden", b""),
        ("two.seg.PNG", png("blue")), ("two.JPEG", png("lime")), ("two.json", b'{"caption": "green"}'),
        *sample(long, "blue"),
    ]  # fmt: skip
    write_tar(tmp_path / "00000.tar", members)
    *items, mask = open_items(f"webdataset:{tmp_path}/00000.tar")
    with pytest.raises(ImageError, match="another picture of its sample is taken: two.JPEG"):
        load.load(mask)
    assert [(item.id, item.caption) for item in items] == [
        ("00000.tar/a/one", "a red square"),
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


def test_dots_in_keys(tmp_path):
    """Each picture comes with its own text; a text for all of a key is every picture's that has none."""
    members = sample("d/2021.01.05", "red", "jan") + sample("d/2021.02.07", "blue", "feb", year=2021)
    write_tar(tmp_path / "0.tar", [*members, *sample("k.a", "lime"), *sample("k.b", "red", "b"), ("k.txt", b"both")])
    items = list(open_items(f"{tmp_path}/0.tar"))
    assert [(item.id, item.uri, item.caption) for item in items] == [
        ("0.tar/d/2021.01.05", "0.tar/d/2021.01.05.png", "jan"),
        ("0.tar/d/2021.02.07", "0.tar/d/2021.02.07.png", "feb"),
        ("0.tar/k.a", "0.tar/k.a.png", "both"), ("0.tar/k.b", "0.tar/k.b.png", "b"),
    ]  # fmt: skip
    assert items[1].meta["year"] == 2021
    assert [load.load(item).getpixel((0, 0))[0] for item in items] == [255, 0, 0, 255]


def test_dots_in_the_keys_of_a_real_tar(shared):
    told = [(item.uri, item.caption) for item in open_items(str(shared / "reports" / "dotted_keys.tar"))]
    assert [uri for uri, _ in told] == ["dotted_keys.tar/2021.01.05.png", "dotted_keys.tar/2021.02.07.png"]
    assert [len(caption) for _, caption in told] == [5, 6]


def test_a_picture_beside_that_of_its_sample_has_its_own_text_or_is_listed(tmp_path):
    write_tar(
        tmp_path / "0.tar", sample("k", "red", "k") + sample("k.edit", "blue", "edited") + sample("k.mask", "lime")
    )
    first, second, listed = open_items(f"{tmp_path}/0.tar")
    assert [(item.id, item.caption) for item in (first, second)] == [("0.tar/k", "k"), ("0.tar/k.edit", "edited")]
    with pytest.raises(ImageError, match=r"another picture of its sample is taken: k.png"):
        load.load(listed)


def test_members_of_a_sample_need_not_be_beside_each_other(tmp_path):
    one, two = sample("one", "red", "a red one", n=1), sample("two", "blue", "a blue one", n=2)
    members = [member for pair in zip(one, two, strict=True) for member in pair]
    for order in (members, members[::-1]):
        write_tar(tmp_path / "0.tar", order)
        items = {item.id: (item.caption, item.meta["n"]) for item in open_items(f"{tmp_path}/0.tar")}
        assert items == {"0.tar/one": ("a red one", 1), "0.tar/two": ("a blue one", 2)}


def test_capitals_and_a_dot_before_names(tmp_path):
    members = [
        ("./Pics/a.JPG", png("red")),
        ("./Pics/a.Txt", b"a red one"),
        ("./b.PNG", png("blue")),
        ("b.TXT", b"blue"),
    ]
    tar = write_tar(tmp_path / "s" / "SHARD.TAR", members)
    for uri in (f"{tar}", f"webdataset:{tmp_path}/s"):
        items = list(open_items(uri))
        assert [(item.id, item.uri, item.caption) for item in items] == [
            ("SHARD.TAR/Pics/a", "SHARD.TAR/Pics/a.JPG", "a red one"), ("SHARD.TAR/b", "SHARD.TAR/b.PNG", "blue"),
        ]  # fmt: skip
        assert [load.load(item).getpixel((0, 0)) for item in items] == [(255, 0, 0), (0, 0, 255)]


def link(name, to, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_links_are_what_they_lead_to_or_listed(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        info = tarfile.TarInfo("./d/a.png")
        info.size = len(png("red"))
        tar.addfile(link("first.png", "second.png", tarfile.SYMTYPE))
        tar.addfile(info, io.BytesIO(png("red")))
        tar.addfile(link("hard.png", "./d/a.png", tarfile.LNKTYPE))
        tar.addfile(link("d/soft.png", "../hard.png", tarfile.SYMTYPE))
        tar.addfile(link("second.png", "d/soft.png", tarfile.SYMTYPE))
        tar.addfile(link("lost.png", "/etc/a.png", tarfile.SYMTYPE))
        tar.addfile(link("loop.png", "loop.png", tarfile.SYMTYPE))
        tar.addfile(link("folder", "d", tarfile.SYMTYPE))
    *found, lost, loop = open_items(f"{tmp_path}/0.tar")
    assert {item.id for item in found} == {f"0.tar/{name}" for name in ("d/a", "hard", "d/soft", "first", "second")}
    for item in found:
        assert load.load(item).getpixel((0, 0)) == (255, 0, 0)
        assert reopen.open_again(item.uri, item.within, tmp_path).getpixel((0, 0)) == (255, 0, 0)
    for item, to in ((lost, "/etc/a.png"), (loop, "loop.png")):
        with pytest.raises(ImageError, match=f"a link to {to}, which is not in the tar"):
            load.load(item)


def test_what_a_later_member_of_the_same_name_replaces_is_listed(tmp_path):
    write_tar(tmp_path / "0.tar", sample("a", "red") + sample("a", "blue") + [("c.jpg", png("red")), ("c.JPG", b"")])
    *found, twice, other = open_items(f"{tmp_path}/0.tar")
    assert [load.load(item).getpixel((0, 0)) for item in found] == [(0, 0, 255), (255, 0, 0)]
    assert (twice.uri, other.uri) == ("0.tar/a.png", "0.tar/c.JPG")
    with pytest.raises(ImageError, match="stands twice in the tar"):
        load.load(twice)


@pytest.mark.parametrize("folder", ["{a,b}", "[2020] photos", "{0..1}"])
def test_braces_and_other_signs_in_a_real_path(tmp_path, folder):
    for number in range(2):
        write_tar(tmp_path / folder / f"{number}.tar", sample("a", "red"))
    write_tar(tmp_path / folder / "{x,y}.tar", sample("a", "red"))
    for pattern, expected in {
        f"{folder}/0.tar": ["0.tar/a"], f"{folder}/{{0..1}}.tar": ["0.tar/a", "1.tar/a"], f"{folder}/[01].tar":
        ["0.tar/a", "1.tar/a"], folder: ["0.tar/a", "1.tar/a", "{x,y}.tar/a"], f"{folder}/{{x,y}}.tar": ["{x,y}.tar/a"],
    }.items():  # fmt: skip
        uri = parse_uri(f"webdataset:{tmp_path}/{pattern}")
        assert [item.id for item in open_items(uri)] == expected
        assert uri.root == tmp_path / folder


def test_compressed_tars_of_a_folder_are_listed(tmp_path):
    write_tar(tmp_path / "0.tar", sample("a", "red"))
    for name in ("1.tar.gz", "2.TGZ", "notes.txt", "3.tar.zst"):
        (tmp_path / name).touch()
    assert [item.id for item in open_items(f"webdataset:{tmp_path}")] == ["0.tar/a", "1.tar.gz", "2.TGZ", "3.tar.zst"]


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
