"""An encoder that indexes by ONNX Runtime: no torch, torch's vectors, and nothing of the cache believed unchecked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexes import cpu
from retrieval import cache, load_encoder
from retrieval.datatypes import Item
from retrieval.encoders import bulk, encoding, engines, exporting, gate, onnx_export, query_encoder, sealed, weights
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.engines import Passed, Tried
from retrieval.encoders.query_encoder import QueryEncoder
from retrieval.errors import BadRequest

ROOT = Path(__file__).resolve().parents[1]
PICTURES = [Image.effect_noise((40 + 9 * i, 60), 80).convert("RGB") for i in range(5)]


@pytest.fixture
def named(trained, tmp_path, monkeypatch):
    """The name of an encoder whose cache is empty."""
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMR_ENGINE", "auto")
    return str(trained)


@pytest.fixture
def exported(named, monkeypatch):
    """The same, exported, and how often it was since; the process of its own is this one."""
    made = []

    def export(name):
        folder = onnx_export.export(load_encoder(name), images=True)
        weights.remember(name, folder)
        engines.record(folder, Tried({"onnx": 1.0}))
        made.append(folder)
        return ""

    monkeypatch.setattr(bulk, "_export", export)
    bulk.load_for_bulk(named)
    made.clear()
    return named, made


def test_it_gives_torchs_vectors_and_has_a_lane_a_core(exported, monkeypatch):
    monkeypatch.setattr(cpu, "cores", lambda: 3)
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
    assert said == [f"making {name} ready for this machine, once: about half a minute"] and made == [folder]
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


@pytest.mark.parametrize("how", [{"engine": "torch"}, {"device": "cuda"}, {"are_few": lambda: True}])
def test_asked_for_torch_a_gpu_or_a_few_pictures_nothing_is_made_ready(named, monkeypatch, how):
    monkeypatch.setattr(bulk, "_export", lambda _: pytest.fail("made ready"))
    if "device" in how:
        with pytest.raises(BadRequest, match="no CUDA device"):
            bulk.load_for_bulk(named, **how)
    else:
        assert isinstance(bulk.load_for_bulk(named, **how), DualEncoder)


def test_a_few_pictures_too_go_by_what_is_ready(exported):
    assert isinstance(bulk.load_for_bulk(exported[0], are_few=lambda: True), QueryEncoder)


def test_where_there_may_be_a_gpu_auto_leaves_it_to_torch(exported, monkeypatch):
    monkeypatch.setattr(bulk, "_may_have_gpu", lambda: True)
    assert isinstance(bulk.load_for_bulk(exported[0], "auto"), DualEncoder)
    assert isinstance(bulk.load_for_bulk(exported[0], "cpu"), QueryEncoder)


def test_the_engine_that_was_faster_here_is_taken_and_one_that_is_asked_for(exported):
    name, made = exported
    (folder,) = cache.folder(cache.QUERY).iterdir()
    engines.record(folder, Tried({"onnx": 9.0, "torch": 1.0}))
    assert isinstance(bulk.load_for_bulk(name), DualEncoder)
    assert isinstance(bulk.load_for_bulk(name, engine="onnx"), QueryEncoder)
    said = []
    assert bulk.load_for_bulk(name, engine="int8", on_message=said.append).numbers == "float32"
    assert said == ["this encoder has no int8 form, as it is no transformer: float32 is used"] and not made
    with pytest.raises(BadRequest, match="unknown engine `int4`: use one of auto, torch, onnx, openvino, int8"):
        bulk.load_for_bulk(name, engine="int4")


@pytest.mark.parametrize("fast", [True, False])
def test_openvino_gives_torchs_vectors_in_the_numbers_it_says(exported, monkeypatch, fast):
    pytest.importorskip("openvino")
    name, _ = exported
    monkeypatch.setattr(cpu, "has_fast_bf16", lambda: fast)
    encoder, whole = bulk.load_for_bulk(name, engine="openvino"), load_encoder(name)
    assert encoder.numbers == ("bfloat16" if fast else "float32")
    rows = list(encoding.encode([Item(str(i), str(i), lambda p=p: p) for i, p in enumerate(PICTURES)], encoder, 2))
    vectors, exact = np.concatenate([batch.vectors for batch in rows]), whole.encode_images(PICTURES)
    assert (vectors * exact).sum(1).min() > (0.999 if fast else 0.999999)


def test_without_openvino_it_is_refused_where_asked_for_and_passed_over_where_it_was_faster(exported, monkeypatch):
    name, _ = exported
    monkeypatch.setattr(bulk.openvino_session, "is_installed", lambda: False)
    with pytest.raises(BadRequest, match="engine openvino is not installed: pip install 'mmr-retrieval.openvino.', or"):
        bulk.load_for_bulk(name, engine="openvino")
    (folder,) = cache.folder(cache.QUERY).iterdir()
    engines.record(folder, Tried({"onnx": 9.0, "openvino": 1.0}))
    assert isinstance(bulk.load_for_bulk(name), QueryEncoder)


def test_on_another_processor_it_is_tried_again(exported, monkeypatch):
    name, made = exported
    monkeypatch.setattr(cpu, "processor", lambda: "another")
    bulk.load_for_bulk(name)
    assert len(made) == 1
    bulk.load_for_bulk(name)
    assert len(made) == 1


def test_made_ready_under_another_name_what_was_tried_and_the_gate_are_kept(named, tmp_path):
    assert exporting.main(named) == 0
    (folder,) = cache.folder(cache.QUERY).iterdir()
    engines.record_gate(folder, Passed(True, 1.0, 1.0, 5))
    before, copy = engines.recorded(folder), shutil.copytree(named, tmp_path / "copy")
    assert weights.fingerprint(str(copy)) is None
    assert exporting.main(str(copy)) == 0
    assert engines.recorded(folder) == before and before.gate
    assert weights.fingerprint(str(copy)) == weights.fingerprint(named) == folder.name


@pytest.fixture(scope="module")
def transformer(open_clips, tmp_path_factory):
    """The name of a ViT with its cache, made ready for int8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMR_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = onnx_export.export(load_encoder(open_clips["mmr-toy-vit"]), images=True)
        weights.remember(open_clips["mmr-toy-vit"], folder)
        yield open_clips["mmr-toy-vit"], folder, patch


@pytest.mark.parametrize("near", [True, False])
def test_int8_goes_through_its_gate_which_is_remembered(transformer, monkeypatch, near):
    name, folder, _ = transformer
    monkeypatch.setenv("MMR_CACHE", str(folder.parents[1]))
    monkeypatch.setattr(gate, "PICTURES", len(PICTURES))
    monkeypatch.setattr(gate, "OVERLAP", 0.0)
    monkeypatch.setattr(gate, "COSINE", 0.99 if near else 1.1)
    engines.record(folder, Tried({"onnx": 9.0, "int8": 1.0}))
    said = []
    encoder, whole = bulk.load_for_bulk(name, on_message=said.append), load_encoder(name)
    exact = whole.encode_images(PICTURES)
    np.testing.assert_allclose(encoder.encode_images(PICTURES), exact, atol=1e-5)
    assert said[0].startswith("int8 from here on: of 5 pictures" if near else "float32 is used: int8's vectors")
    again = bulk.load_for_bulk(name, on_message=said.append)
    vectors = again.encode_images(PICTURES)
    assert again.numbers == ("int8" if near else "float32") and len(said) == 1
    assert again.fingerprint == whole.fingerprint
    if near:
        assert 0.99 < (vectors * exact).sum(1).min() < 1 and not np.allclose(vectors, exact, atol=1e-6)
    else:
        np.testing.assert_allclose(vectors, exact, atol=1e-5)


def test_a_damaged_int8_tower_is_made_again(transformer, monkeypatch):
    name, folder, _ = transformer
    monkeypatch.setenv("MMR_CACHE", str(folder.parents[1]))
    engines.record(folder, Tried({"onnx": 9.0, "int8": 1.0}, Passed(True, 1.0, 1.0, 5)))
    flip(folder / "image_int8.bin")
    made = []

    def export(asked):
        made.append(onnx_export.export(load_encoder(asked), images=True))
        weights.remember(asked, folder)
        engines.record(folder, Tried({"onnx": 9.0, "int8": 1.0}, Passed(True, 1.0, 1.0, 5)))
        return ""

    monkeypatch.setattr(bulk, "_export", export)
    assert bulk.load_for_bulk(name).numbers == "int8"
    assert made == [folder] and sealed.is_whole(folder / onnx_export.IMAGE_INT8)


def run(*words):
    """(stdout, what was said on stderr, names of what it loaded) of a command line in a process of its own."""
    code = (
        "import atexit, sys\nfrom cli.main import main\nfrom retrieval.encoders import bulk\n"
        "bulk.FEW = 0\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['mmr', *{[str(word) for word in words]}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    *said, loaded = done.stderr.splitlines()
    return done.stdout, said, {module.split(".")[0] for module in loaded.split()}


def test_an_index_is_made_and_asked_without_torch(named, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_ENGINE", "onnx")
    index = tmp_path / "i.mmr"
    out, said, loaded = run("index", photos, "--index", index, "--model", named)
    assert "3 pictures (3 new" in out and said[0] == f"making {named} ready for this machine, once: about half a minute"
    assert not {"torch", "timm", "faiss", "datasets"} & loaded
    Image.new("RGB", (30, 30), (9, 9, 200)).save(photos / "other.png")
    for words in (
        ["search", "a red dog", "--index", index, "--update"],
        ["search", photos / "red.png", "--index", index], ["ls", "--index", index],
        ["search", "a dog", "--min-confidence", "0.01", "--index", index],
    ):  # fmt: skip
        _, said, loaded = run(*words)
        assert not {"torch", "timm", "faiss"} & loaded, words
        assert not any("ready" in line for line in said)
