"""An encoder that indexes by ONNX Runtime: no torch, torch's vectors, and nothing of the cache believed unchecked."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import cache, load_encoder
from retrieval.datatypes import Item
from retrieval.encoders import bulk, encoding, onnx_export, query_encoder, sealed
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.query_encoder import QueryEncoder

ROOT = Path(__file__).resolve().parents[1]
PICTURES = [Image.effect_noise((40 + 9 * i, 60), 80).convert("RGB") for i in range(5)]


@pytest.fixture
def named(trained, tmp_path, monkeypatch):
    """The name of an encoder that needs no torch, whose cache is empty."""
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(bulk.WITHOUT_TORCH, str(trained), lambda: load_encoder(str(trained)).fingerprint)
    return str(trained)


@pytest.fixture
def exported(named, monkeypatch):
    """The same, exported, and how often it was since; the process of its own is this one."""
    made = []

    def export(name):
        made.append(onnx_export.export(load_encoder(name), images=True))
        return ""

    monkeypatch.setattr(bulk, "_export", export)
    bulk.load_for_bulk(named)
    made.clear()
    return named, made


def test_it_gives_torchs_vectors_and_has_a_lane_a_core(exported, monkeypatch):
    monkeypatch.setattr(query_encoder, "_cores", lambda: 3)
    name, made = exported
    encoder, whole = bulk.load_for_bulk(name), load_encoder(name)
    assert isinstance(encoder, QueryEncoder) and (encoder.lanes, encoder.bulk, encoder.name) == (3, 8, name)
    assert not made  # it is there
    np.testing.assert_allclose(encoder.encode_images(PICTURES), whole.encode_images(PICTURES), atol=1e-5)
    items = [Item(str(i), str(i), lambda picture=picture: picture) for i, picture in enumerate(PICTURES)]
    batches = list(encoding.encode(items, encoder, batch_size=2))
    assert [item.id for batch in batches for item in batch.items] == list("01234")
    vectors = np.concatenate([batch.vectors for batch in batches])
    np.testing.assert_allclose(vectors, whole.encode_images(PICTURES), atol=1e-5)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (flip, "image.bin"), (cut, "image.bin"), (Path.unlink, "image.bin"), (flip, "image.onnx"),
        (cut, "image.seal"), (Path.unlink, "image.seal"), (flip, "text.bin"), (flip, "manifest.json"),
        (flip, "tokenizer.json"),
    ],
)  # fmt: skip
def test_a_damaged_cache_is_made_again(exported, damage, file):
    name, made = exported
    (folder,) = cache.folder(cache.QUERY).iterdir()
    damage(folder / file)
    said = []
    encoder = bulk.load_for_bulk(name, on_message=said.append)
    assert said == [f"making {name} ready, once: about half a minute"] and made == [folder]
    assert sealed.is_whole(folder / onnx_export.IMAGE) and sealed.is_whole(folder / onnx_export.TEXT)
    np.testing.assert_allclose(encoder.encode_images(PICTURES), load_encoder(name).encode_images(PICTURES), atol=1e-5)


def test_a_damaged_picture_tower_answers_no_query(exported):
    name, _ = exported
    whole = load_encoder(name)
    (folder,) = cache.folder(cache.QUERY).iterdir()
    flip(folder / "image.bin")
    query = query_encoder.open_query_encoder(whole.fingerprint, lambda: whole)
    np.testing.assert_allclose(query.encode_images(PICTURES), whole.encode_images(PICTURES), atol=1e-5)
    assert sealed.is_whole(folder / onnx_export.IMAGE)  # made again


def test_a_damaged_text_tower_is_made_again_at_index_time(exported):
    whole = load_encoder(exported[0])
    folder = query_encoder.ensure_exported(whole)
    flip(folder / "text.bin")
    assert query_encoder.ensure_exported(whole) == folder
    assert sealed.is_whole(folder / onnx_export.TEXT)


def test_what_another_process_wrote_meanwhile_stays(exported):
    name, _ = exported
    (folder,) = cache.folder(cache.QUERY).iterdir()
    before = {file.name: file.stat().st_ino for file in folder.iterdir()}
    assert onnx_export.export(load_encoder(name), images=True) == folder
    assert {file.name: file.stat().st_ino for file in folder.iterdir()} == before
    assert [other.name for other in folder.parent.iterdir()] == [folder.name]  # nothing half made


@pytest.mark.parametrize("name", ["exporting", "fingerprint"])
def test_one_that_cannot_be_made_ready_is_loaded_whole(named, monkeypatch, name):
    monkeypatch.setattr(bulk, "_export", lambda _: "no room" if name == "exporting" else "")
    said = []
    assert isinstance(bulk.load_for_bulk(named, on_message=said.append), DualEncoder)
    reason = "no room" if name == "exporting" else f"what lies in {cache.folder()} is another encoder"
    assert said[1:] == [f"{named} could not be made ready ({reason}): it is loaded whole, which is slower"]


def test_what_its_process_says_last_is_the_reason(named):
    del named  # its empty cache
    assert bulk._export("nothing").startswith("no encoder `nothing`: use builtin, small, ")


def test_others_are_torchs(trained):
    assert isinstance(bulk.load_for_bulk(str(trained)), DualEncoder)


def run(name, fingerprint, *words):
    """(stdout, what was said on stderr, names of what it loaded) of a command line in a process of its own."""
    code = (
        "import atexit, sys\nfrom cli.main import main\nfrom retrieval.encoders import bulk\n"
        f"bulk.WITHOUT_TORCH[{name!r}] = lambda: {fingerprint!r}\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['mmr', *{[str(word) for word in words]}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    *said, loaded = done.stderr.splitlines()
    return done.stdout, said, {module.split(".")[0] for module in loaded.split()}


def test_an_index_is_made_and_asked_without_torch(named, photos, tmp_path):
    index, fingerprint = tmp_path / "i.mmr", load_encoder(named).fingerprint
    out, said, loaded = run(named, fingerprint, "index", photos, "--index", index, "--model", named)
    assert "3 pictures (3 new" in out and said[0] == f"making {named} ready, once: about half a minute"
    assert not {"torch", "timm", "faiss", "datasets"} & loaded
    Image.new("RGB", (30, 30), (9, 9, 200)).save(photos / "other.png")
    for words in (
        ["search", "a red dog", "--index", index, "--update"],
        ["search", photos / "red.png", "--index", index], ["ls", "--index", index],
        ["search", "a dog", "--min-confidence", "0.01", "--index", index],
    ):  # fmt: skip
        _, said, loaded = run(named, fingerprint, *words)
        assert not {"torch", "timm", "faiss"} & loaded, words
        assert not any("ready" in line for line in said)
