"""What a GPU is asked to do: by a stand-in, which keeps its indexes in memory, by tensors that have a device and types
but no numbers, and by a GPU where there is one.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from indexes import Record, Store, exact
from indexes.approximate import ann, ann_file, gpu, tune
from indexes.approximate.recorded import Point
from indexes.segments import Segment
from retrieval.encoders.build import small_encoder
from retrieval.losses.operator import ByProducts, gradients, see_tiles
from retrieval.losses.sigmoid import SIGMOID
from retrieval.losses.softmax import INFO_NCE
from retrieval.losses.tiles import Problem
from rows import unit, unit_rows

DIM, COUNT = 16, 2000
RNG = np.random.default_rng(0)
ROWS = unit_rows(RNG, COUNT, DIM)
QUERIES = unit(ROWS[:300] + 0.3 * RNG.standard_normal((300, DIM)))
SEGMENTS = [Segment(0, ROWS.astype(np.float16), np.array([3], np.int64))]


@pytest.fixture
def stand_in(monkeypatch):
    """A card that takes inverted lists of whole vectors only, as FAISS's takes no fast-scan; it says what it did."""
    said = []

    @contextmanager
    def clustering(inverted):
        said.append(f"clustering {inverted.nlist}")
        yield

    def moved(index):
        if not isinstance(faiss.downcast_index(index), faiss.IndexIVFFlat):
            return None
        said.append(f"moved {index.ntotal}")
        return faiss.clone_index(index)

    def back(index):
        said.append(f"back {index.ntotal}")
        return faiss.clone_index(index)

    card = SimpleNamespace(clustering=clustering, moved=moved, back=back, MOST_FETCHED=100)
    monkeypatch.setattr(ann, "gpu_for", lambda device: card if device == "cuda" else None)
    return said


def test_lists_are_learned_there_and_rows_added_where_faiss_can(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT, device="cuda")
    assert stand_in == ["clustering 16", "moved 0", f"back {COUNT - 1}"]
    assert built.index.ntotal == COUNT - 1


def test_fast_scan_stays_on_the_cpu_but_for_its_lists(stand_in):
    built = ann.build(SEGMENTS, "IVF16,PQ8x4fsr", DIM, COUNT, device="cuda")
    assert stand_in == ["clustering 16"]
    inside = faiss.downcast_index(faiss.extract_index_ivf(built.index))
    assert inside.implem == ann.BATCHED_FAST_SCAN


def test_the_cpu_is_asked_for_nothing_of_this(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT)
    ann.search(built, Point(1.0, 16, 100, 1.0, 1.0), SEGMENTS, QUERIES, 10)
    assert not stand_in


def test_a_batch_is_searched_there_within_what_it_can_fetch(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT)
    everything = Point(1.0, 16, COUNT, 1.0, 1.0)
    for _ in range(2):
        found = ann.search(built, everything, SEGMENTS, QUERIES, 10, device="cuda")
    assert stand_in == [f"moved {COUNT - 1}"], "one copy serves every search"
    assert built.propose(QUERIES, COUNT, 16, "cuda").shape == (len(QUERIES), 100)
    np.testing.assert_array_equal(found.rows, exact.search(SEGMENTS, QUERIES, 10).rows)


def test_what_was_added_or_copied_is_not_answered_from_an_older_copy(stand_in):
    built = ann.build(SEGMENTS, "IVF16,Flat", DIM, COUNT)
    assert built.on_gpu("cuda").ntotal == COUNT - 1
    more = [Segment(COUNT, ROWS[:10].astype(np.float16), np.empty(0, np.int64))]
    copy = ann.copy_of(built)
    ann.extend(copy, more, COUNT + 10)
    assert copy.on_gpu("cuda").ntotal == COUNT + 9
    ann.extend(built, more, COUNT + 10)
    assert built.on_gpu("cuda").ntotal == COUNT + 9


def test_a_store_asks_the_card_only_for_a_recall(stand_in, tmp_path, monkeypatch):
    by_torch = []
    monkeypatch.setattr(exact, "proven", lambda device: by_torch.append(device) or exact.brute_force)
    with Store.create(tmp_path / "index", DIM) as store:
        store.add(ROWS, [Record(str(i)) for i in range(COUNT)])
        built = tune.choose(store.segments, QUERIES, DIM, COUNT, 0.9, 1e9, ["IVF16,Flat"])
        store.set_approximate(built, 0.9)
        by_torch.clear()
        store.search(QUERIES, 10, "cuda")
        assert by_torch == ["cuda"]
        assert not stand_in
        store.search(QUERIES, 10, "cuda", recall=0.9)
        assert stand_in == [f"moved {COUNT}"]


@pytest.mark.skipif(not gpu.is_here(), reason="no GPU that FAISS can use")
@pytest.mark.parametrize("spec", ["IVF16,Flat", "IVF16,SQ8", "IVF16,PQ8x4fsr", "Lean8,IVF16,Flat"])
def test_on_a_card_the_answers_are_those_of_the_truth(spec, tmp_path):
    built = ann.build(SEGMENTS, spec, DIM, COUNT, QUERIES, device="cuda")
    ann_file.write(built, tmp_path / "1.faiss")
    everything = Point(1.0, 16, COUNT, 1.0, 1.0)
    for device in ("cpu", "cuda"):
        found = ann.search(built, everything, SEGMENTS, QUERIES, 10, device=device)
        np.testing.assert_array_equal(found.rows, exact.search(SEGMENTS, QUERIES, 10).rows)


# ---------------------------------------------------------------- devices and types, without a card


FAKE = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch was built without CUDA")


def on_card(tensor):
    """A tensor or weight as there would be on a card, within FakeTensorMode."""
    made = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
    return torch.nn.Parameter(made, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else made


def facts_of(*tensors):
    return [(tensor.device.type, tensor.dtype) for tensor in tensors]


@FAKE
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", ["plain", "ids", "masked", "teacher"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("loss", [INFO_NCE, SIGMOID], ids=["info_nce", "sigmoid"])
def test_a_loss_stays_on_the_card_with_its_sums_in_float32(loss, dtype, kind, keep):
    """Both passes of a batch of several tiles: what meets on another device, or in another type, raises."""
    count, card = 5000, {"device": "cuda"}
    with FakeTensorMode(), torch.no_grad():
        x, y = (torch.empty(count, 64, dtype=dtype, **card) for _ in range(2))
        one, weights, ids = (
            torch.ones((), **card),
            torch.ones(count, **card),
            torch.zeros(count, dtype=torch.int64, **card),
        )
        of = {
            "plain": {}, "ids": {"row_ids": ids, "column_ids": ids},
            "masked": {"row_ids": ids, "column_ids": ids, "masked": True},
            "teacher": {"teacher_x": x, "teacher_y": y, "teacher_scale": one, "teacher_share": 0.5},
        }[kind]  # fmt: skip
        own = {"bias": one} if loss is SIGMOID else {"column_weights": weights}
        p = Problem(x, y, one, weights, keep=keep, hardest=3, **own, **of)
        sides, beside = loss.start(p), ByProducts(p)
        see_tiles(loss, p, sides, beside)
        left = beside.output(p, loss.value(p, sides), sides)
        found = gradients(p, left.logits, one, loss.slope(p, [left.rows, left.columns][: len(sides)]))
    wide = ("cuda", torch.float32)
    assert facts_of(left.loss, *found) == [wide, ("cuda", dtype), ("cuda", dtype), wide, wide]


@FAKE
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("image", "text", "views", "frames"),
    [
        ({}, {}, 1, None), ({"patch": 2, "width": 32}, {"layers": 0}, 4, None), ({}, {}, 1, {"type": "transformer"}),
        ({"type": "vit", "layers": 2, "dropout": 0.1}, {"pooling": "attention", "dropout": 0.1}, 2, None),
        ({"type": "mlp"}, {"pooling": "max"}, 1, None), ({}, {}, 1, {"type": "attention"}),
        ({"type": "timm", "name": "test_resnet", "size": 64}, {}, 1, None),
        ({"type": "timm", "name": "test_vit", "size": 160}, {}, 1, None),
    ],
)  # fmt: skip
def test_towers_stay_on_the_card_and_give_float32(image, text, views, frames, dtype, training):
    """Whatever a tower makes on its way has to be brought to the card. Packed sequences (GRU) have no such tensors."""
    captions = ["a red dog", "two green cats in the snow"]
    encoder = small_encoder(captions, dim=32, image_size=64, image=image, text=text, views=views, frames=frames)
    tokens = torch.from_numpy(encoder.tokenize(captions))
    for tower in (encoder.image_tower, encoder.text_tower):
        tower.get_submodule("body").to(dtype)
    encoder.train(training)
    with FakeTensorMode(), torch.no_grad():
        for module in encoder.modules():
            for held in (module._parameters, module._buffers):
                held.update({name: on_card(one) for name, one in held.items() if one is not None})
        shown = torch.empty((2, 3, 64, 64, 3) if frames else (2, 64, 64, 3), device="cuda")
        found = encoder(shown, on_card(tokens))
    assert facts_of(found.image, found.text) == [("cuda", torch.float32)] * 2
