"""Moving out and in again: every format there and back, whole or absent, and the commands."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreign import Wide, held
from indexes import Locked, Record, Store
from retrieval import Retriever, exchange
from retrieval.errors import BadRequest
from retrieval.exchange import clip_retrieval, import_into, importing, open_collection
from retrieval.indexing.cards import Card
from terminal import mmr

ROOT = Path(__file__).resolve().parents[1]

# ---------------------------------------------------------------- there and back

ANY = st.text(st.characters(exclude_categories=()), min_size=1, max_size=8)
TEXT = st.text(max_size=8)
NAME = st.text(min_size=1, max_size=8)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY
META = st.dictionaries(TEXT | st.sampled_from(["caption", "image_path", "embedding", "id"]), SCALAR | st.lists(SCALAR))
KIND = st.sampled_from(["picture", "clip"])
PARTS = {"caption": ANY | st.lists(ANY), "meta": META, "file": META, "labels": META, "kind": KIND, "key": ANY}
BELOW = ANY.map(lambda text: "x" + text.replace("..", ""))  # the root: others are left out
ITEM = st.fixed_dictionaries({"uri": BELOW}, optional=PARTS)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAME, TEXT, ITEM), min_size=1, max_size=6, unique_by=lambda item: item[0]), st.booleans())
def test_what_goes_out_comes_back_the_same(tmp_path_factory, items, are_files):
    """Every format, odd strings, nested and mixed values; the bits of the vectors; root, source and encoder."""
    folder = tmp_path_factory.mktemp("trip")
    rows = np.random.default_rng(0).normal(size=(len(items), 8)).astype(np.float32)
    rows *= 1.0006 / np.linalg.norm(rows, axis=1, keepdims=True)  # of about unit length: kept bit by bit
    encoder = {"name": "toy", "fingerprint": "toy-fingerprint", "folder": None}
    with Store.create(folder / "x", 8, encoder=encoder, root="p" if are_files else None, source="csv") as store:
        store.add(rows, [Record(name, stamp, fields) for name, stamp, fields in items])
        for kind, name in (("clip-retrieval", "cr"), ("npy", "v.npy"), ("parquet", "v.parquet")):
            out, *beside = exchange.export(kind, store, folder / kind / name)
            collection = open_collection(kind, out, None, *beside)
            import_into(folder / f"{kind}.mmr", collection, keep_missing=True)
    before = held(folder / "x")
    for kind in exchange.EXPORTERS:
        after = held(folder / f"{kind}.mmr")
        assert np.array_equal(after[0], before[0])
        assert after[1] == [Card.of(one).record(one.id, one.stamp, one.fields) for one in before[1]]
        assert {key: after[2][key] for key in ("encoder", "root", "source")} == {
            key: before[2][key] for key in ("encoder", "root", "source")
        }


def test_an_export_is_what_clip_retrieval_writes(photos, toy, tmp_path, monkeypatch):
    """Names, order, type and header as embedding-reader wants them; shards that end where they should."""
    monkeypatch.setattr(clip_retrieval, "SHARD_ROWS", 2)
    Retriever.build(str(photos), tmp_path / "i", toy)[0].close()
    with Store.open(tmp_path / "i") as store:
        exchange.export("clip-retrieval", store, tmp_path / "out")
        rows = np.concatenate([part for segment in store.segments for _, part in segment.blocks()])
        with pytest.raises(BadRequest, match="exists"):
            exchange.export("clip-retrieval", store, tmp_path / "out")
        with pytest.raises(BadRequest, match="does not end in .npy"):
            exchange.export("npy", store, tmp_path / "v")
    files = sorted((tmp_path / "out" / "img_emb").iterdir())
    assert [file.name for file in files] == ["img_emb_0.npy", "img_emb_1.npy"]
    assert np.array_equal(np.concatenate([np.load(file) for file in files]), rows.astype(np.float16))
    head = files[0].read_bytes()[:128]
    assert head.startswith(b"\x93NUMPY\x01\x00")
    assert b"'descr': '<f2', 'fortran_order': False, 'shape': (2, 4)" in head
    table = pyarrow.parquet.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet").to_pylist()
    table += pyarrow.parquet.read_table(tmp_path / "out" / "metadata" / "metadata_1.parquet").to_pylist()
    expected = [("blue é.png", None), ("red.png", None), ("more/green.jpg", "a green field")]
    assert [(line["image_path"], line["caption"]) for line in table] == [(str(photos / n), c) for n, c in expected]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "out", "photos"]


def test_an_export_that_fails_leaves_nothing(photos, toy, tmp_path):
    Retriever.build(str(photos), tmp_path / "i", toy)[0].close()

    def stop(done, total):
        raise KeyboardInterrupt

    with Store.open(tmp_path / "i") as store:
        for kind in exchange.EXPORTERS:
            with pytest.raises(KeyboardInterrupt):
                exchange.export(kind, store, tmp_path / "out" / "v.npy", stop)
            assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


# ---------------------------------------------------------------- whole or absent


def test_a_killed_import_leaves_no_index_and_the_next_one_cleans_up(rclip, photos):
    script = f"""
    import os, signal
    from retrieval.exchange import import_into, importing, open_collection, rclip
    importing.COMMIT_ROWS = rclip.BLOCK_ROWS = 1
    kill = lambda done, total: done == 2 and os.kill(os.getpid(), signal.SIGKILL)
    import_into({str(photos / ".mmr")!r}, open_collection("rclip", {str(rclip)!r}), on_progress=kill)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    left = photos / ".importing-.mmr"
    assert not (photos / ".mmr").exists()
    with Store.open(left) as store:
        assert len(store) == 2  # durable, but under no name that anything looks for
    with Store.open(left, write=True), pytest.raises(Locked):  # as if it were still at it
        import_into(photos / ".mmr", open_collection("rclip", rclip))
    assert import_into(photos / ".mmr", open_collection("rclip", rclip)).rows == 3
    assert not left.exists()


def test_an_import_that_fails_leaves_nothing(rclip, photos, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    before = sorted(photos.rglob("*"))
    monkeypatch.setattr(importing, "_commit", full)
    with pytest.raises(OSError, match="No space"):
        import_into(photos / ".mmr", open_collection("rclip", rclip))
    assert sorted(photos.rglob("*")) == before


# ---------------------------------------------------------------- the command line


def test_the_commands(rclip, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    monkeypatch.setenv("RCLIP_DATADIR", str(tmp_path / "none"))
    absent = mmr("import", "rclip")
    assert (absent.exit_code, absent.stdout) == (2, "")
    assert "give its path, as in mmr import rclip DB" in absent.stderr
    monkeypatch.setenv("RCLIP_DATADIR", str(rclip.parent))
    (photos / "red.png").unlink()
    made = mmr("import", "rclip")
    assert made.exit_code == 4
    assert made.stdout.startswith(
        ".mmr: 2 of 3 rows, encoder small (compared with the vectors when it is first loaded)"
    )
    assert f"1 left out: the file is gone, as {photos / 'red.png'} (--keep-missing takes them)" in made.stderr
    again = mmr("import", "rclip")
    assert (again.exit_code, again.stdout) == (2, "")
    assert ".mmr is an index already: give another --index" in again.stderr.splitlines()[-1]

    said = mmr("info").stdout
    assert "fingerprint   unknown: as imported" in said
    assert "compared      not yet" in said
    assert json.loads(mmr("info", "--json").stdout)["fingerprint"] is None
    Retriever.open(".mmr", Wide()).close()
    assert "compared      cosine 1.000, of 2 pictures" in mmr("info").stdout

    for kind, name in (("clip-retrieval", "cr"), ("npy", "v.npy"), ("parquet", "v.parquet")):
        out = mmr("export", kind, tmp_path / kind / name)
        assert (out.exit_code, out.stdout.strip().endswith("2 rows of 512")) == (0, True)
        extra = ("--records", tmp_path / kind / "v.parquet") if kind == "npy" else ()
        back = mmr("import", kind, tmp_path / kind / name, *extra, "--index", tmp_path / f"{kind}.mmr")
        assert back.exit_code == 0, back.stderr
        assert "encoder small (wide)" in back.stdout
    assert mmr("export", "npy", tmp_path / "npy" / "v.npy").exit_code == 2


def test_vectors_of_ones_own_run_move_in_and_are_searched(trained, book, tmp_path):
    """The encoder is a run folder: it is loaded by the name that was given, compared, then exported for queries."""
    index, vectors = tmp_path / "i.mmr", tmp_path / "v.npy"
    assert mmr("index", book, "--index", tmp_path / "x.mmr", "--model", trained).exit_code == 0
    assert mmr("export", "npy", vectors, "--index", tmp_path / "x.mmr").exit_code == 0
    table = tmp_path / "v.csv"
    records = pyarrow.parquet.read_table(tmp_path / "v.parquet").to_pylist()
    table.write_text("image\n" + "".join(f"{record['image_path']}\n" for record in records))
    made = mmr("import", "npy", vectors, "--records", table, "--model", trained, "--index", index)
    assert made.exit_code == 0, made.stderr
    assert held(index)[2]["encoder"]["fingerprint"] is None
    asked = ("search", "a dog", "-k", 3, "--json", "--index")
    assert mmr(*asked, index).exit_code == 0  # by the whole encoder, later ones by what it exported
    assert mmr(*asked, index).stdout == mmr(*asked, tmp_path / "x.mmr").stdout != ""
    found = held(index)[2]
    assert found["encoder"] == held(tmp_path / "x.mmr")[2]["encoder"]
    assert found["imported"]["compared"] == 16


@pytest.mark.parametrize("kind", ["parquet", "npy", "clip-retrieval"])
def test_a_root_may_be_said_from_where_one_is(photos, toy, tmp_path, monkeypatch, kind):
    Retriever.build(str(photos), tmp_path / "x", toy)[0].close()
    out = tmp_path / {"parquet": "o.parquet", "npy": "o.npy", "clip-retrieval": "o"}[kind]
    with Store.open(tmp_path / "x") as store:
        exchange.export(kind, store, out)
    monkeypatch.chdir(photos.parent)
    records = tmp_path / "o.parquet" if kind == "npy" else None
    collection = open_collection(kind, out, root=photos.name, records=records)
    report = import_into(tmp_path / "y", collection, model="toy:model", root=photos.name)
    assert (report.left_out, report.root) == ({}, str(photos))
