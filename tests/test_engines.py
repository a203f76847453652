"""What computes pictures: chosen by what was tried on this processor, and int8 only through its gate."""

import json
import shutil
import threading

import numpy as np
import pytest

from indexes import cpu
from retrieval import Retriever
from retrieval.encoders import engines, gate, onnx_session, quantized, weights
from retrieval.encoders.engines import INT8, ONNX, OPENVINO, TORCH, Passed, Tried
from retrieval.encoders.gate import Gate
from rows import unit
from terminal import mmr
from toy import ToyEncoder, picture

OPEN, SHUT = Passed(True, 0.9998, 0.97, 256), Passed(False, 0.9998, 0.5, 256)


@pytest.mark.parametrize(
    ("torch", "onnx", "int8", "found", "best"),
    [
        (73, 121, 38, None, INT8), (73, 121, 38, OPEN, INT8), (73, 121, 38, SHUT, TORCH),
        (73, 121, None, None, TORCH), (110, 121, None, None, ONNX), (60, 121, 55, OPEN, TORCH),
        (110, 121, 118, OPEN, ONNX), (None, 9, None, None, ONNX), (5, None, None, None, TORCH),
        (None, None, None, None, ONNX),
    ],
)  # fmt: skip
def test_the_fastest_is_taken_if_it_is_clearly_so(torch, onnx, int8, found, best):
    taken = {TORCH: torch, ONNX: onnx, INT8: int8}
    assert Tried({name: one for name, one in taken.items() if one is not None}, found).best() == best


@pytest.mark.parametrize(
    ("openvino", "torch", "int8", "best"),
    [(60, 73, 100, OPENVINO), (60, 45, 100, TORCH), (116, 119, 120, ONNX), (60, 58, 38, INT8), (60, 58, 55, OPENVINO)],
)
def test_openvino_is_one_of_them(openvino, torch, int8, best):
    assert Tried({ONNX: 121.0, OPENVINO: openvino, TORCH: torch, INT8: int8}).best() == best


def test_without_torch_the_fastest_of_the_others_is_taken():
    assert Tried({ONNX: 121.0, TORCH: 20.0}).best(torch=False) == ONNX
    assert Tried({ONNX: 121.0, TORCH: 20.0, OPENVINO: 60.0}).best(torch=False) == OPENVINO


def test_what_was_tried_is_remembered_for_this_processor_alone(tmp_path, monkeypatch):
    assert engines.recorded(tmp_path) is None
    engines.record(tmp_path, Tried({ONNX: 3.5}))
    engines.record_gate(tmp_path, OPEN)
    monkeypatch.setattr(cpu, "processor", lambda: "another")
    assert engines.recorded(tmp_path) is None
    engines.record(tmp_path, Tried({TORCH: 1.0}))
    monkeypatch.undo()
    assert engines.recorded(tmp_path) == Tried({ONNX: 3.5}, OPEN)


@pytest.mark.parametrize("text", ["", "[]", '{"here": 3}', '{"here": {"milliseconds": {"onnx": -1}}}'])
def test_what_makes_no_sense_was_never_tried(tmp_path, monkeypatch, text):
    monkeypatch.setattr(cpu, "processor", lambda: "here")
    (tmp_path / engines.FILE).write_text(text)
    assert engines.recorded(tmp_path) is None


# ---------------------------------------------------------------- the gate


def test_how_near_two_engines_are_by_hand():
    exact = np.eye(3, dtype=np.float32)
    assert gate.compared(exact, exact) == Passed(True, 1.0, 1.0, 3)
    half = unit([[1, 1, 0], [0, 1, 0], [0, 0, 1]])  # the first is 45 degrees off
    found = gate.compared(exact, half)
    assert np.isclose(found.cosine, (2**-0.5 + 2) / 3) and not found.is_open


def test_neighbors_count_without_the_picture_itself(monkeypatch):
    monkeypatch.setattr(gate, "NEIGHBORS", 1)
    a, near_a, b, near_b = unit([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    found = gate.compared(np.stack([a, near_a, b, near_b]), np.stack([a, near_b, b, near_a]))
    assert found.overlap == 0  # the first and the third would find themselves


def test_a_high_cosine_is_not_enough():
    noise = np.random.default_rng(0).normal(size=(2, 100, 8))
    exact, fast = (unit(np.array([100.0] + [0.0] * 7) + one) for one in noise)  # all alike, but for what is noise
    found = gate.compared(exact, fast)
    assert found.cosine > 0.999 and found.overlap < 0.3 and not found.is_open


def session(rows, seen):
    """A picture tower that gives rows by the number in a picture's first pixel."""

    def run(*, pixels):
        seen.append(len(pixels))
        return rows[pixels[:, 0, 0, 0]]

    return run


def pixels(numbers):
    return np.tile(np.array(numbers, np.uint8)[:, None, None, None], (1, 2, 2, 3))


@pytest.fixture
def rows():
    return unit(np.random.default_rng(0).normal(size=(200, 16)))


@pytest.mark.parametrize("near", [True, False])
def test_the_first_pictures_are_float32s_and_decide_what_comes_after(rows, monkeypatch, near):
    monkeypatch.setattr(gate, "PICTURES", 100)
    other = unit(rows + (0.001 if near else 1.0) * np.random.default_rng(1).normal(size=rows.shape))
    of_exact, of_fast, told = [], [], []
    tower = Gate(session(rows, of_exact), session(other, of_fast), told.append)
    for start in range(0, 100, 20):
        assert tower.numbers == "float32" and not told
        np.testing.assert_array_equal(tower(pixels=pixels(range(start, start + 20))), rows[start : start + 20])
    (found,) = told
    assert (found.is_open, found.pictures) == (near, 100)
    after = tower(pixels=pixels(range(100, 130)))
    np.testing.assert_array_equal(after, (other if near else rows)[100:130])
    assert tower.numbers == ("int8" if near else "float32")
    assert (sum(of_exact), sum(of_fast)) == ((100, 130) if near else (130, 100))  # one engine alone from there on


def test_threads_that_are_on_their_way_when_it_is_decided_decide_nothing_more(rows, monkeypatch):
    monkeypatch.setattr(gate, "PICTURES", 10)
    told, together = [], threading.Barrier(4)

    def exact(*, pixels):
        together.wait(10)  # all four are here before one goes on
        return rows[: len(pixels)]

    tower = Gate(exact, session(rows, []), told.append)
    threads = [threading.Thread(target=lambda: tower(pixels=pixels(range(10)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1


# ---------------------------------------------------------------- int8


def graph(tmp_path, kind):
    """A traced graph of matrices, or of filters."""
    import torch

    filters = [torch.nn.Conv1d(32, 32, 3, padding=1) for _ in range(5)]
    body = {
        "matrices": torch.nn.Linear(32, 32), "filters": filters[0],
        "filters before a large matrix": torch.nn.Sequential(*filters, torch.nn.Linear(5, 32_000)),
    }[kind]  # fmt: skip
    shown = torch.randn(2, 32) if kind == "matrices" else torch.randn(2, 32, 5)
    file = tmp_path / "traced.onnx"
    torch.onnx.export(body, (shown,), str(file), dynamo=False, input_names=["x"], opset_version=18)
    return file


def test_int8_is_for_matrices(tmp_path):
    assert quantized.pays(graph(tmp_path, "matrices"))
    assert not quantized.pays(graph(tmp_path, "filters"))
    assert not quantized.pays(graph(tmp_path, "filters before a large matrix"))


def test_a_graph_that_cannot_be_quantized_has_no_int8_form(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Unable to find data type for weight_name='/tower/Gemm'")

    monkeypatch.setattr(onnx_session, "quantize", fails)
    assert not quantized.write(tmp_path / "traced.onnx", tmp_path / "int8.onnx")


@pytest.mark.parametrize("vnni", [True, False])
def test_without_vnni_weights_have_seven_bits(tmp_path, monkeypatch, vnni):
    import onnx
    from onnx import numpy_helper

    monkeypatch.setattr(cpu, "has_vnni", lambda: vnni)
    quantized.write(graph(tmp_path, "matrices"), tmp_path / "int8.onnx")
    made = onnx.load(tmp_path / "int8.onnx").graph
    (weight,) = [one for one in map(numpy_helper.to_array, made.initializer) if one.dtype == np.int8 and one.size > 99]
    assert np.abs(weight.astype(int)).max() in ((127, 128) if vnni else (63, 64))
    assert "MatMulInteger" in {node.op_type for node in made.node}  # and no float copy of the weights


# ---------------------------------------------------------------- which encoder a name is


def test_a_name_is_known_as_long_as_its_files_are_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    run, folder = tmp_path / "run", tmp_path / "cache" / "query" / "0123456789abcdef"
    run.mkdir()
    folder.mkdir(parents=True)
    for name in ("encoder.json", "encoder.safetensors", "tokenizer.json", "log.jsonl"):
        (run / name).write_text(name)
    assert weights.fingerprint(str(run)) is None
    weights.remember(str(run), folder)
    assert weights.fingerprint(str(run)) == folder.name
    (run / "log.jsonl").write_text("more of it")  # decides no vector
    assert weights.fingerprint(str(run)) == folder.name
    (said,) = json.loads((folder / weights.FILE).read_text())
    (folder / weights.FILE).write_text(json.dumps([said | {"version": "0"}]))
    assert weights.fingerprint(str(run)) is None  # another version may build its towers otherwise
    weights.remember(str(run), folder)
    monkeypatch.chdir(tmp_path)
    assert weights.fingerprint("run") == folder.name  # whatever it is called
    copy = shutil.copytree(run, tmp_path / "copy")
    assert weights.fingerprint(str(copy)) is None
    weights.remember(str(copy), folder)
    run.rename(tmp_path / "moved")
    assert weights.fingerprint("moved") == weights.fingerprint("copy") == folder.name
    (tmp_path / "moved" / "encoder.safetensors").write_text("other")
    assert weights.fingerprint("moved") is None and weights.fingerprint("copy") == folder.name


def test_weights_in_a_file_and_names_of_which_no_file_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "query" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (tmp_path / "w.pt").write_text("weights")
    name = f"open_clip:ViT-B-32/{tmp_path / 'w.pt'}"
    weights.remember(name, folder)
    assert weights.fingerprint(name) == folder.name
    assert weights.fingerprint(f"open_clip:ViT-B-16/{tmp_path / 'w.pt'}") is None  # the same file, another architecture
    weights.remember("open_clip:ViT-B-32/openai", folder)
    assert weights.fingerprint("open_clip:ViT-B-32/openai") is None


# ---------------------------------------------------------------- what is said of it


def test_the_machine_is_told_with_what_was_tried_on_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MMR_CACHE", str(tmp_path))
    monkeypatch.setattr(cpu, "processor", lambda: "A Processor (avx2)")
    none = mmr("info", "--machine")
    assert none.stdout.splitlines()[0] == "processor     A Processor (avx2)"
    assert "no encoder was tried here yet" in none.stderr
    folder = tmp_path / "query" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"name": "runs/mine"}')
    engines.record(folder, Tried({TORCH: 73.1, ONNX: 121.0, INT8: 38.2}, OPEN))
    assert mmr("info", "--machine").stdout.splitlines()[2] == (
        "encoder       runs/mine: int8 (a picture on one core: int8 38 ms, torch 73 ms, onnx 121 ms; int8 has 97% of "
        "float32's neighbors, cosine 0.9998)"
    )
    (told,) = json.loads(mmr("info", "--machine", "--json").stdout)["encoders"]
    assert told == {"encoder": "runs/mine", "engine": "int8", "milliseconds": {TORCH: 73.1, ONNX: 121.0, INT8: 38.2}}


def test_verify_knows_what_vectors_were_computed_in(tmp_path):
    index, toy = tmp_path / "i.mmr", ToyEncoder()
    for number in range(3):
        picture(tmp_path / "p" / f"{number}.png", (number, 0, 0))
    Retriever.build(str(tmp_path / "p"), index, toy)[0].close()
    assert mmr("verify", "--index", index).stdout == f"{index}: 3 rows, all as they were written\n"
    toy.numbers = "int8"
    picture(tmp_path / "p" / "3.png", (0, 255, 0))
    picture(tmp_path / "p" / "0.png", (0, 0, 255))  # changed: computed again
    (tmp_path / "p" / "1.png").rename(tmp_path / "p" / "7.png")  # moved: its vector is as before
    Retriever.build(str(tmp_path / "p"), index, toy)[0].close()
    said = mmr("verify", "--index", index).stdout.splitlines()
    assert said[1] == f"{index}: 2 computed in float32, 2 computed in int8"
