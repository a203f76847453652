"""What an index's manifest and records say: as typed values, on disk, and as older versions wrote it."""

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from indexes import NotAnIndex, Store, StoreError
from retrieval import Retriever, find_index
from retrieval.errors import MissingModel
from retrieval.exchange import export, import_into, open_collection
from retrieval.indexing.catalog import AskedFor, Identity, Imported, Origin, root_of
from retrieval.sources.registry import Options, open_items, parse_uri
from toy import ToyEncoder

TEXTS = st.text(st.characters(codec=None), max_size=8)  # half surrogates too: odd bytes of names


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/one.png", "photos/deep/two.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (255, len(name), 0)).save(name)
    return tmp_path


def on_disk(index, sql):
    connection = sqlite3.connect(index / "mmr.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# ---------------------------------------------------------------- the encoder


@given(TEXTS, st.none() | TEXTS, st.none() | TEXTS)
def test_an_identity_comes_back_from_its_json(name, fingerprint, folder):
    identity = Identity(name, fingerprint, folder)
    assert Identity.from_json(json.loads(json.dumps(identity.to_json()))) == identity


def test_an_identity_of_an_older_version_says_less():
    assert Identity.from_json({"name": "small"}) == Identity("small", None, None)
    unknown = Identity("small")
    assert not unknown.is_of(ToyEncoder())
    assert Identity("another name", "toy-fingerprint").is_of(ToyEncoder())


def test_a_run_is_found_where_it_lies_from_the_index(here, tmp_path_factory):
    Path("runs/mine").mkdir(parents=True)
    encoder = SimpleNamespace(name="runs/mine", fingerprint="f")
    identity = Identity.of(encoder, Path("photos/.mmr"))
    assert identity == Identity("runs/mine", "f", "../runs/mine")
    assert identity.where(Path("photos/.mmr")) == str(here / "runs" / "mine")
    moved = here.rename(tmp_path_factory.mktemp("elsewhere") / "disk")
    assert identity.where(moved / "photos" / ".mmr") == str(moved / "runs" / "mine")
    (moved / "runs" / "mine").rmdir()
    with pytest.raises(MissingModel, match=r"runs/mine, which is gone: say where it is now with `mmr index"):
        identity.where(moved / "photos" / ".mmr")
    Path(moved, "found", "runs", "mine").mkdir(parents=True)
    assert Identity.of(SimpleNamespace(name="small", fingerprint="f"), Path("i")).where(Path("i")) == "small"


def test_a_copy_elsewhere_sees_run_and_pictures_from_where_it_lies(here):
    index, copy = Path("photos/.mmr"), Path("far/away/copy.mmr")
    run = Identity("runs/mine", "f", "../runs/mine").seen_from(index, copy)
    assert (run.folder, run.run(copy)) == ("../../runs/mine", str(here / "runs" / "mine"))
    assert Identity("small", "f").seen_from(index, copy) == Identity("small", "f")
    origin = Origin(".", "folder", ("one",)).seen_from(index, copy)
    assert (origin.root, origin.root_at(copy), origin.roots) == ("../../photos", str(here / "photos"), ("one",))
    assert Origin(None, "picturebook").seen_from(index, copy) == Origin(None, "picturebook")


def test_a_run_that_is_gone_from_beside_the_index_may_be_where_its_name_says(here):
    Path("runs/mine").mkdir(parents=True)
    identity = Identity.at(Path("far/away/.mmr"), "runs/mine")
    assert identity.where(here / "nearer" / ".mmr") == "runs/mine"


@pytest.mark.parametrize("what", [ToyEncoder(), None])
def test_a_store_that_does_not_name_its_encoder_is_refused_in_a_line(tmp_path, what):
    Store.create(tmp_path / "i", 4).close()
    with pytest.raises(StoreError, match="does not say which encoder made its vectors: "):
        Retriever.open(tmp_path / "i", what)


def test_an_import_of_a_nameless_encoder_s_vectors_is_of_no_run(here):
    """The folder that one stands in is none either."""
    toy = ToyEncoder()
    toy.name = ""
    retriever, _ = Retriever.build("photos", "i.mmr", toy)
    with retriever:
        export("parquet", retriever.store, Path("i.parquet"))
    import_into("j.mmr", open_collection("parquet", Path("i.parquet")))
    with Store.open("j.mmr") as store:
        assert Identity.recorded(store) == Identity("", "toy-fingerprint")


# ---------------------------------------------------------------- the source, and the import


def test_what_is_on_disk_is_what_it_always_was(here):
    Path("photos/one.png").rename("photos/deep/.three.png")
    source = parse_uri(["photos/deep"], Options(exclude=("*.gif",), include_hidden=True))
    Retriever.build(source, "i.mmr", ToyEncoder())[0].close()
    said = dict(on_disk(here / "i.mmr", "SELECT key, value FROM manifest WHERE key != 'walked'"))
    assert {key: said[key] for key in ("encoder", "root", "source", "walk")} == {
        "encoder": '{"name": "toy", "fingerprint": "toy-fingerprint", "folder": null}',
        "root": '"photos/deep"', "source": '"folder"', "walk": '{"exclude": ["*.gif"], "include_hidden": true}',
    }  # fmt: skip
    (fields,) = on_disk(here / "i.mmr", "SELECT fields FROM items WHERE id = '.three.png'")[0]
    assert fields.startswith('{"uri": ".three.png", "kind": "picture", "meta": {"folder": ".", ')
    assert list(json.loads(fields)) == ["uri", "kind", "meta", "file", "key"]


@given(
    st.none() | TEXTS, st.none() | TEXTS, st.lists(TEXTS).map(tuple), st.lists(TEXTS).map(tuple), st.booleans()
)  # fmt: skip
def test_an_origin_comes_back_from_the_manifest(root, scheme, roots, exclude, hidden):
    origin = Origin(root, scheme, roots, exclude, hidden)
    for said in (origin.entries(), origin.replacing()):
        assert Origin.recorded(SimpleNamespace(manifest=json.loads(json.dumps(said)))) == origin


def test_what_is_left_out_is_said_of_folders_only(here):
    Path("t.csv").write_text("image\nphotos/one.png\n")
    table = Origin.of(parse_uri("t.csv", Options(exclude=("x",), include_hidden=True)), here / "i.mmr")
    assert table == Origin(".", "csv", asked=AskedFor(file="t.csv"))
    assert table.uri(here / "i.mmr") is None
    folders = Origin.of(parse_uri("photos", Options(exclude=("x",))), here / "i.mmr")
    assert folders == Origin("photos", "folder", exclude=("x",))
    assert [item.uri for item in open_items(folders.uri(here / "i.mmr"))] == ["one.png", "deep/two.png"]


@given(TEXTS, st.none() | st.integers(0), st.none() | st.floats(-1, 1))
def test_an_import_comes_back_from_the_manifest(kind, compared, cosine):
    imported = Imported(kind, compared, None if compared is None else cosine)
    assert Imported.recorded(SimpleNamespace(manifest=json.loads(json.dumps(imported.entry())))) == imported


def test_an_imported_index_knows_its_encoder_by_name_until_it_is_compared(here):
    Retriever.build("photos", "i.mmr", ToyEncoder())[0].close()
    with Store.open("i.mmr") as store:
        export("parquet", store, Path("i.parquet"))
        root = root_of(store)
    import_into("j.mmr", open_collection("parquet", Path("i.parquet")), model="small")
    with Store.open("j.mmr") as store:
        assert Identity.recorded(store) == Identity("small", None, None)
        assert Imported.recorded(store) == Imported("parquet")
        assert root_of(store) == root == str(here / "photos")
    Retriever.open("j.mmr", ToyEncoder()).close()
    with Store.open("j.mmr") as store:
        assert Identity.recorded(store) == Identity("toy", "toy-fingerprint")
        assert Imported.recorded(store) == Imported("parquet", 2, pytest.approx(1, abs=1e-3))


# ---------------------------------------------------------------- finding it


def test_an_index_is_found_from_any_folder_below(here, monkeypatch):
    Path("photos/.mmr").mkdir()
    monkeypatch.chdir(here / "photos" / "deep")
    assert find_index() == find_index(here / "photos") == here / "photos" / ".mmr"
    with pytest.raises(NotAnIndex, match="make one with `mmr index`"):
        find_index(here)
