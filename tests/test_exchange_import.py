"""Moving in: what rclip, clip-retrieval, .npy and parquet leave, and which encoder it was."""

import json
import os
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from foreign import NAMES, Wide, clip_folder, held, rclip_database, rclip_row
from indexes import NotAnIndex, Store, WrongEncoder
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.exchange import export, import_into, importing, open_collection
from rows import unit
from toy import ToyEncoder

# ---------------------------------------------------------------- rclip


def test_rclip_moves_in_and_index_goes_on_from_there(rclip, photos, vectors):
    report = import_into(photos / ".mmr", open_collection("rclip", rclip))
    assert (report.rows, report.left_out, report.normalized, report.changed) == (3, {}, 0, 0)
    rows, records, manifest = held(photos / ".mmr")
    assert np.array_equal(rows, vectors.astype(np.float16).astype(np.float32))
    assert [record.id for record in records] == list(NAMES)
    assert manifest["encoder"] == {"name": "small", "fingerprint": None, "folder": None}
    assert (manifest["root"], manifest["source"]) == (".", "folder")

    encoder = Wide()
    retriever, again = Retriever.build(str(photos), photos / ".mmr", encoder)
    with retriever:
        # rclip says nothing of size, time and folder: that is taken over, beside the vectors as they are.
        assert (again.renewed, again.added, again.changed, again.removed) == (3, 0, 0, 0)
        assert encoder.images_seen == 3  # to compare; none was indexed again
        (hit,) = retriever.search("green", 1)
        assert (hit.uri, hit.path) == ("more/green.jpg", str(photos / "more" / "green.jpg"))
    _, _, manifest = held(photos / ".mmr")
    assert manifest["encoder"]["fingerprint"] == "wide"
    assert (manifest["imported"]["from"], manifest["imported"]["compared"]) == ("rclip", 3)
    assert manifest["imported"]["cosine"] == pytest.approx(1, abs=1e-3)


def test_what_rclip_holds_that_is_no_more(rclip, photos, vectors, tmp_path):
    """Deleted rows, a file that is gone, one that changed, one that is elsewhere, bytes that are no vector."""
    database = sqlite3.connect(rclip)
    for name in ("gone.png", "was deleted.png"):
        (photos / name).write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(b"x")
    (photos / "short.png").write_bytes(b"x")
    rows = [
        rclip_row(photos / "gone.png", vectors[0]), rclip_row(photos / "was deleted.png", vectors[0], 1),
        rclip_row(tmp_path / "elsewhere" / "x.png", vectors[0]), rclip_row(photos / "short.png", vectors[0][:5]),
    ]  # fmt: skip
    database.executemany("INSERT INTO images(filepath, modified_at, size, vector, deleted) VALUES (?,?,?,?,?)", rows)
    database.commit()
    database.close()
    (photos / "gone.png").unlink()
    os.utime(photos / "red.png", (1, 1))

    report = import_into(tmp_path / "i.mmr", open_collection("rclip", rclip), root=photos)
    assert (report.rows, report.changed) == (3, 1)
    assert {reason: count for reason, (count, _) in report.left_out.items()} == {
        importing.GONE: 1, importing.OUTSIDE: 1, importing.BROKEN: 1
    }  # fmt: skip
    retriever, again = Retriever.build(str(photos), tmp_path / "i.mmr", Wide())
    with retriever:
        assert (again.renewed, again.changed) == (2, 1)  # red.png is not what rclip saw
    kept = import_into(tmp_path / "k.mmr", open_collection("rclip", rclip), root=photos, keep_missing=True)
    assert kept.rows == 4
    assert "gone.png" in {record.id for record in held(tmp_path / "k.mmr")[1]}


def test_the_root_is_the_folder_of_dot_mmr_or_the_deepest_that_holds_all(rclip, photos, tmp_path):
    collection = open_collection("rclip", rclip.parent)  # the folder will do
    assert import_into(tmp_path / ".mmr", collection).root == str(tmp_path)
    assert held(tmp_path / ".mmr")[1][2].id == "photos/red.png"
    assert import_into(tmp_path / "other.mmr", collection).root == str(photos)
    assert import_into(photos / "more" / ".mmr", collection).root == str(photos)


@pytest.mark.parametrize(("version", "name"), [(1, "quickgelu/openai"), (2, "quickgelu/openai"), (3, "small")])
def test_the_version_says_the_encoder(tmp_path, photos, vectors, version, name):
    path = rclip_database(tmp_path / "v.db", [rclip_row(photos / "red.png", vectors[2])], version)
    assert import_into(tmp_path / "i.mmr", open_collection("rclip", path)).encoder.endswith(name)


def test_bad_rclip_databases_are_one_line(tmp_path):
    rclip_database(tmp_path / "newer.db", [], 5)
    (tmp_path / "noise.db").write_bytes(b"no database" * 100)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE images (id, url)")
    other.commit()
    other.close()
    rclip_database(tmp_path / "empty.db", [])
    for name, message in [
        ("none.db", "no rclip database at"), ("newer.db", "version 5.*pip install"), ("noise.db", "not a database"),
        ("other.db", "cannot be read as rclip's database"),
    ]:  # fmt: skip
        with pytest.raises((BadRequest, NotAnIndex), match=message):
            open_collection("rclip", tmp_path / name)
    with pytest.raises(BadRequest, match="nothing of .*empty.db can be used"):
        import_into(tmp_path / "i.mmr", open_collection("rclip", tmp_path / "empty.db"))
    assert not (tmp_path / "i.mmr").exists()


# ---------------------------------------------------------------- which encoder it was


def test_another_encoder_is_refused_whatever_it_is_called(rclip, photos):
    import_into(photos / ".mmr", open_collection("rclip", rclip))
    for wrong, message in [(Wide("other", turned=7), "not those of small"), (ToyEncoder(), "of 512, toy makes 4")]:
        with pytest.raises(WrongEncoder, match=message):
            Retriever.open(photos / ".mmr", wrong)
        assert held(photos / ".mmr")[2]["encoder"]["fingerprint"] is None
    right = Wide("right")
    right.name = "open_clip:the same/weights.pt"
    Retriever.open(photos / ".mmr", right).close()
    assert held(photos / ".mmr")[2]["encoder"] == {"name": right.name, "fingerprint": "right", "folder": None}
    with pytest.raises(WrongEncoder, match="was made with encoder"):
        Retriever.open(photos / ".mmr", Wide("later"))


def test_most_pictures_may_be_decoded_otherwise(rclip, photos, vectors, tmp_path):
    """Two of three were turned by the other program, say: the one that agrees is enough."""
    rows = [rclip_row(photos / name, np.roll(v, i)) for i, (name, v) in enumerate(zip(NAMES, vectors, strict=True))]
    path = rclip_database(tmp_path / "turned.db", rows)
    import_into(photos / ".mmr", open_collection("rclip", path))
    with pytest.raises(WrongEncoder):  # the better quarter of three lies between the first and the second
        Retriever.open(photos / ".mmr", Wide())
    for number in range(5):
        (photos / f"more{number}.png").write_bytes((photos / "red.png").read_bytes())
        rows.append(rclip_row(photos / f"more{number}.png", vectors[2] if number < 2 else np.roll(vectors[2], 9)))
    path = rclip_database(tmp_path / "some.db", rows)
    import_into(tmp_path / "i.mmr", open_collection("rclip", path))
    Retriever.open(tmp_path / "i.mmr", Wide()).close()


def test_an_index_that_another_process_writes_to_is_read_all_the_same(rclip, photos):
    import_into(photos / ".mmr", open_collection("rclip", rclip))
    with Store.open(photos / ".mmr", write=True), Retriever.open(photos / ".mmr", Wide()) as retriever:
        assert retriever.search("red", 1)[0].uri == "red.png"
    assert held(photos / ".mmr")[2]["encoder"]["fingerprint"] is None
    Retriever.open(photos / ".mmr", Wide()).close()
    assert held(photos / ".mmr")[2]["encoder"]["fingerprint"] == "wide"


# ---------------------------------------------------------------- clip-retrieval


def test_clip_retrieval_moves_in(tmp_path, photos, monkeypatch):
    """Eleven partitions, whose order is that of their names; captions and other columns; paths from where we are."""
    rows = unit(np.eye(12) + 0.1)
    paths = [f"photos/{name}" for name in NAMES]
    shards = [
        (
            rows[i : i + 1],
            {"image_path": paths[i : i + 1], "caption": [f"n {i}"], "width": [i], "exif.a": ["x"], "bad": [np.nan]},
        )
        for i in range(3)
    ]
    shards += [(rows[i : i + 1], {"image_path": ["photos/gone.jpg"], "caption": [None]}) for i in range(3, 11)]
    folder = clip_folder(tmp_path / "emb", shards)
    assert (folder / "img_emb" / "img_emb_00.npy").is_file()
    (folder / "image.index").write_bytes(b"autofaiss's")
    monkeypatch.chdir(tmp_path)
    collection = open_collection("clip-retrieval", folder)
    with pytest.raises(BadRequest, match="does not say which encoder.*--model"):
        import_into("i.mmr", collection)
    report = import_into("i.mmr", collection, model="open_clip:ViT-B-32/openai")
    assert (report.rows, report.left_out) == (3, {importing.GONE: (8, str(tmp_path / "photos" / "gone.jpg"))})
    found, records, manifest = held("i.mmr")
    assert np.array_equal(found, rows[:3].astype(np.float16).astype(np.float32))
    assert [record.id for record in records] == list(NAMES)
    assert records[1].fields == {
        "uri": NAMES[1], "kind": "picture", "caption": "n 1", "meta": {"width": 1, "exif.a": "x"}
    }  # fmt: skip
    assert (manifest["root"], manifest["source"]) == ("photos", "folder")


def test_addresses_and_keys_are_no_files(tmp_path):
    """What img2dataset and webdataset give: no file, so none is missed. Rows of one key are told from each other."""
    rows = unit([[1, 0], [0, 1], [1, 1]])
    web = {"image_path": ["0001", "0002", "0003"], "url": ["http://a/x.jpg", None, "http://a/x.jpg"]}
    import_into(tmp_path / "i", open_collection("clip-retrieval", clip_folder(tmp_path / "w", [(rows, web)])), "small")
    _, records, manifest = held(tmp_path / "i")
    assert [record.fields["uri"] for record in records] == ["http://a/x.jpg", "0002"]
    assert records[0].fields["meta"] == {"image_path": "0001"}
    assert (manifest["root"], manifest["source"]) == (None, "clip-retrieval")


def test_rows_that_are_no_unit_vectors(tmp_path):
    rows = np.array([[3, 4], [np.nan, 1], [0, 0], [np.inf, 0], [0, 1]], np.float32)
    folder = clip_folder(tmp_path / "w", [(rows, {"key": list("abcde")})])
    report = import_into(tmp_path / "i", open_collection("clip-retrieval", folder), "small")
    assert (report.rows, report.normalized) == (2, 1)
    assert report.left_out == {importing.BROKEN: (3, "b")}
    found, records, _ = held(tmp_path / "i")
    assert np.allclose(found, [[0.6, 0.8], [0, 1]], atol=1e-3)
    assert [record.id for record in records] == ["a", "e"]


def test_folders_that_do_not_fit_together(tmp_path):
    row = unit([[1, 0]])
    good = (row, {"key": ["a"]})
    cases = {
        "no img_emb": tmp_path / "nothing",
        "1 vectors in 1 file.*2 rows in 1 of": clip_folder(tmp_path / "more", [(row, {"key": ["a", "b"]})]),
        "holds rows of 3, img_emb_0.npy of 2": clip_folder(
            tmp_path / "dim", [good, (unit([[1, 0, 0]]), {"key": ["b"]})]
        ),
        "no column that names pictures, only width": clip_folder(tmp_path / "name", [(row, {"width": [1]})]),
        "cannot be read as parquet": clip_folder(tmp_path / "damaged", [good]),
        "no metadata": clip_folder(tmp_path / "bare", [good]),
    }
    parquet = tmp_path / "damaged" / "metadata" / "metadata_0.parquet"
    parquet.write_bytes(parquet.read_bytes()[:-20])
    (tmp_path / "bare" / "metadata" / "metadata_0.parquet").unlink()
    for message, folder in cases.items():
        with pytest.raises(BadRequest, match=message):
            import_into(tmp_path / "i", open_collection("clip-retrieval", folder), "small")
        assert not (tmp_path / "i").exists()
    with pytest.raises(BadRequest, match="no encoder `nonsense`"):
        import_into(tmp_path / "i", open_collection("clip-retrieval", clip_folder(tmp_path / "ok", [good])), "nonsense")


# ---------------------------------------------------------------- npy, parquet


def test_npy_with_each_kind_of_table(tmp_path, photos):
    np.save(tmp_path / "v.npy", unit([[1, 0], [0, 1], [1, 1]]).astype(np.float64))
    (photos / "t.csv").write_text("image,caption,year\n" + "".join(f"{name},a {name},2011\n" for name in NAMES))
    lines = [json.dumps({"path": name, "caption": [f"a {name}", "x"], "year": "2011"}) for name in NAMES]
    (photos / "t.jsonl").write_text("\n".join(lines))
    table = {"image_path": list(NAMES), "caption": [f"a {name}" for name in NAMES], "year": ["2011"] * 3}
    pyarrow.parquet.write_table(pyarrow.table({**table, "jpg": [b"bytes"] * 3}), photos / "t.parquet")
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        index = tmp_path / f"{name}.mmr"
        import_into(index, open_collection("npy", tmp_path / "v.npy", None, photos / name), "small")
        _, records, manifest = held(index)
        said = [f"a {NAMES[1]}", "x"] if name == "t.jsonl" else f"a {NAMES[1]}"
        expected = {"uri": NAMES[1], "kind": "picture", "caption": said, "meta": {"year": "2011"}}
        assert (records[1].fields, manifest["root"]) == (expected, "photos")
    import_into(tmp_path / "bare.mmr", open_collection("npy", tmp_path / "v.npy"), "small")
    assert [record.id for record in held(tmp_path / "bare.mmr")[1]] == ["0", "1", "2"]


class Trap:
    """Says so where it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch sprung",))


def test_bad_npy_files_are_one_line_and_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("object.npy", np.array([Trap()], object), allow_pickle=True)
    Path("pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.savez("zip.npz", a=np.eye(2))
    np.save("flat.npy", np.ones(4, np.float32))
    np.save("whole.npy", np.ones((4, 2), np.int64))
    np.save("cut.npy", np.ones((4, 2), np.float32))
    Path("cut.npy").write_bytes(Path("cut.npy").read_bytes()[:-3])
    for name in ("object.npy", "pickle.npy", "zip.npz", "cut.npy"):
        with pytest.raises(BadRequest, match="is no .npy of numbers"):
            open_collection("npy", name)
    for name in ("flat.npy", "whole.npy"):
        with pytest.raises(BadRequest, match="not rows of floats"):
            open_collection("npy", name)
    with pytest.raises(BadRequest, match="no such file"):
        open_collection("npy", "none.npy")
    assert not Path("sprung").exists()
    np.save("good.npy", np.eye(2))
    Path("t.csv").write_text("key\na\n")
    with pytest.raises(BadRequest, match="2 vectors, t.csv has 1 rows"):
        open_collection("npy", "good.npy", None, "t.csv")


def test_bad_parquet_files_are_one_line(tmp_path):
    tables = {
        "no column `embedding`": {"key": ["a"]},
        "not floats of one length": {"key": ["a", "b"], "embedding": [[1.0], [1.0, 2.0, 3.0]]},
        "not a list of numbers": {"key": ["a"], "embedding": [1.0]},
        "has no rows": {"embedding": pyarrow.array([], pyarrow.list_(pyarrow.float32()))},
    }  # fmt: skip
    for message, table in tables.items():
        pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "t.parquet")
        with pytest.raises(BadRequest, match=message):
            open_collection("parquet", tmp_path / "t.parquet")


def test_numbers_are_names_too(tmp_path):
    """What was a column of whole numbers may have come through a table that knows floats alone."""
    rows = unit([[1, 0], [0, 1], [1, 1]])
    for name, ids in {"whole": [11, 12, 13], "floats": [11.0, 12.0, None], "texts": ["a", "b", "c"]}.items():
        table = {"id": ids, "embedding": rows.tolist(), "ok": [True, False, True]}
        pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / f"{name}.parquet")
        import_into(tmp_path / name, open_collection("parquet", tmp_path / f"{name}.parquet"), "small")
        expected = {"whole": ["11", "12", "13"], "floats": ["11", "12", "2"], "texts": ["a", "b", "c"]}[name]
        records = held(tmp_path / name)[1]
        assert [record.id for record in records] == expected
        assert records[0].fields["meta"] == {"ok": True}


def test_a_table_beside_vectors_is_read_as_a_source_is(tmp_path, photos):
    np.save(tmp_path / "v.npy", unit([[1, 0], [0, 1], [1, 1]]))
    lines = ["picture;titel", *(f"{name};schön {number}" for number, name in enumerate(NAMES))]
    (photos / "t.csv").write_bytes("\n".join(lines).encode("cp1252", "replace"))
    with pytest.raises(BadRequest, match="line 2 is not UTF-8: .*[?]encoding=cp1252"):
        open_collection("npy", tmp_path / "v.npy", None, photos / "t.csv")
    table = f"{photos}/t.csv?image=picture&caption=titel&encoding=cp1252"
    import_into(tmp_path / "i", open_collection("npy", tmp_path / "v.npy", None, table), "small")
    assert [(r.id, r.fields["caption"]) for r in held(tmp_path / "i")[1]] == [
        (name, f"schön {number}") for number, name in enumerate(NAMES)
    ]


def test_what_no_index_writes_is_not_believed(tmp_path, photos, vectors):
    """Records that name files outside of the root, by their own path or by the file that they lie in; a root of all."""
    import_into(tmp_path / "i", _described(tmp_path / "good", photos, ["red.png"], vectors), "small")
    astray = ["../outside.png", str(tmp_path / "outside.png"), "more/../../outside.png"]
    (tmp_path / "outside.png").write_bytes((photos / "red.png").read_bytes())
    inside = {"file": "../x.tar", "member": "a.png", "offset": 512, "size": 9}
    collection = _described(tmp_path / "bad", photos, ["red.png", *astray, "old.tar", "x.tar"], vectors, inside)
    report = import_into(tmp_path / "j", collection, "small", keep_missing=True)
    assert report.rows == 1
    assert {reason: count for reason, (count, _) in report.left_out.items()} == {importing.ASTRAY: 5}
    everything = _described(tmp_path / "all", Path("/"), ["etc/passwd"], vectors)
    with pytest.raises(BadRequest, match="says that its pictures lie in /: name their folder with --root"):
        import_into(tmp_path / "k", everything, "small")
    with pytest.raises(BadRequest, match="nothing of .* can be used, 1 left out [(]the file is gone[)]"):
        import_into(tmp_path / "k", open_collection("parquet", tmp_path / "all", photos), "small", root=photos)


def _described(path, root, uris, vectors, inside=None):
    """A parquet file that says it is an export; the last two of several uris lie in another file."""
    records = [{"id": uri, "stamp": "s", "fields": {"uri": uri}} for uri in uris]
    if inside:
        records[-1]["fields"] |= {"inside": inside, "kind": "picture"}
        records[-2]["fields"] |= {"meta": {"inside": inside}}  # as older versions wrote it
    table = {"mmr_record": [json.dumps(record) for record in records], "embedding": [vectors[0].tolist()] * len(uris)}
    footer = {"mmr": json.dumps({"root": str(root), "source": "folder", "encoder": None})}
    pyarrow.parquet.write_table(pyarrow.table(table).replace_schema_metadata(footer), path)
    return open_collection("parquet", path)


def test_a_format_or_a_place_that_is_not_given_is_said():
    for kind in ("clip-retrieval", "npy", "parquet"):
        with pytest.raises(BadRequest, match=f"^{kind} has no usual place: say which file or folder is to be read$"):
            open_collection(kind)
    with pytest.raises(BadRequest, match="^no format `parket`: did you mean parquet[?]$"):
        open_collection("parket", "x")
    with pytest.raises(BadRequest, match="^no format `csv`: one of clip-retrieval, npy, parquet$"):
        export("csv", None, "x")
