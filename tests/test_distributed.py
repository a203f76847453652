"""Two processes are one: the same loss, the same gradients, the same run; what one of them says, all know."""

import dataclasses
import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from retrieval import open_pairs, recipes
from retrieval.datatypes import Features
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.losses import tiles
from retrieval.losses.contrastive import LOSSES
from retrieval.training import dropout
from retrieval.training.dataset import TrainingSet
from retrieval.training.distributed import ranks as processes
from retrieval.training.distributed import ring
from retrieval.training.loop import train
from retrieval.training.setup import loss_of
from retrieval.training.step import backward

CONFIG = dataclasses.replace(
    recipes.smoke(), precision="fp32", batch_size=12, dropout=0.3, word_dropout=0.2, color_jitter=0.3, crop=0.5,
    captions=2, flip="yes", epochs=3, checkpoints=3, ema=0.9,
)  # fmt: skip


def pairs_here():
    return open_pairs("picturebook:24?size=32")


def encoder_of(pairs):
    torch.manual_seed(0)
    model = small_encoder(
        [p.caption for p in pairs], dim=16, image_size=32, image={"width": 16, "dropout": 0.3},
        text={"width": 64, "layers": 1, "dropout": 0.3}, logit_bias=-1.0,
    ).train()  # fmt: skip
    dropout.place_dropout(model)
    return model


def in_two(work, *arguments, processes=2):
    """What `work(ranks, *arguments)` gives in each of some processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with mp.Manager() as manager:
        found = manager.dict()
        mp.start_processes(_one, (processes, port, work, arguments, found), processes, start_method="fork")
        return [found[rank] for rank in range(processes)]


def _one(rank, size, port, work, arguments, found):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    found[rank] = work(rank, *arguments)


# ---------------------------------------------------------------- the ring


def features_for(rows, bias=True):
    generator = torch.Generator().manual_seed(1)
    image, text = (torch.nn.functional.normalize(torch.randn(rows, 6, generator=generator), dim=1) for _ in range(2))
    leaves = [image, text, torch.tensor(8.0), torch.tensor(-2.0)]
    return Features(*(leaf.requires_grad_() for leaf in leaves))


def _ring(rank, name, rows, smoothing):
    tiles.TILES = {"cpu": (2, 3)}  # several tiles, the last one smaller
    with processes.join("cpu") as ranks:
        whole = features_for(rows)
        mine = ranks.part(rows)
        local = Features(*(leaf.detach()[mine].requires_grad_() for leaf in whole[:2]), *whole[2:])
        value = ring.spread(name, ranks, smoothing)(local, local, 0)
        value.backward()
        ranks.average([local.logit_scale.grad] + ([local.bias.grad] if name == "sigmoid" else []))
        rest = [leaf.grad for leaf in local[2:]]
        return ranks.mean(value.item()), local.image.grad, local.text.grad, *rest


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(("name", "smoothing"), [("info_nce", 0.0), ("info_nce", 0.2), ("sigmoid", 0.0)])
def test_the_ring_gives_the_loss_and_gradients_of_the_whole_batch(name, smoothing, processes):
    rows = 15 if processes == 3 else 10
    whole = features_for(rows)
    loss = LOSSES[name](whole, whole, 0, **({"label_smoothing": smoothing} if smoothing else {}))
    loss.backward()
    found = in_two(_ring, name, rows, smoothing, processes=processes)
    for value, *_ in found:
        assert value == pytest.approx(loss.item(), rel=1e-5)
    # The mean over processes of the local losses: each one's gradient is shared out once more when averaged.
    for side, grad in ((1, whole.image.grad), (2, whole.text.grad)):
        torch.testing.assert_close(torch.cat([f[side] for f in found]) / processes, grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[1][3], whole.logit_scale.grad, rtol=1e-4, atol=1e-6)
    if name == "sigmoid":
        torch.testing.assert_close(found[1][4], whole.bias.grad, rtol=1e-4, atol=1e-6)


def converged(dtype=torch.float64):
    """Twelve pairs, each on an axis of its own but for a little: the 11 others of a row are 17 below its true logit,
    and leave an InfoNCE of 4e-7."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda: torch.nn.functional.normalize(torch.eye(12) + 0.02 * torch.randn(12, 12, generator=generator), dim=1)  # noqa: E731
    numbers = [draw(), draw(), torch.tensor(17.4), torch.tensor(-9.0)]
    return Features(*(x.to(dtype).requires_grad_() for x in numbers))


def dense(name, smoothing=0.0):
    """The loss of `converged` in float64 with all logits in memory, and its gradients."""
    f = converged()
    logits, target = f.logit_scale * f.image @ f.text.T, torch.arange(12)
    if name == "sigmoid":
        value = -torch.nn.functional.logsigmoid((2 * torch.eye(12) - 1) * (logits + f.bias)).sum(1).mean()
    else:
        entropy = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        value = (entropy(logits, target) + entropy(logits.T, target)) / 2
    return value.item(), *torch.autograd.grad(value, f[:3])


def _converged(rank, name, smoothing):
    tiles.TILES = {"cpu": (4, 5)}
    with processes.join("cpu") as ranks:
        whole = converged(torch.float32)
        mine = ranks.part(12)
        local = Features(*(leaf.detach()[mine].requires_grad_() for leaf in whole[:2]), *whole[2:])
        value = ring.spread(name, ranks, smoothing)(local, local, 0)
        value.backward()
        return ranks.mean(value.item()), local.image.grad, local.text.grad, local.logit_scale.grad


@pytest.mark.parametrize(
    ("name", "smoothing", "bound"), [("info_nce", 0.0, 0.3), ("info_nce", 0.1, 2e-6), ("sigmoid", 0.0, 2e-6)]
)
def test_nearly_converged_the_ring_is_as_near_as_one_process(monkeypatch, name, smoothing, bound):
    """In float32 the sum of a softmax, 1 + 4e-7, has three steps of 1.2e-7 to tell; 17 + 4e-7 is 17."""
    value, *exact = dense(name, smoothing)
    assert bound == 2e-6 or 2e-7 < value < 5e-7
    monkeypatch.setattr(tiles, "TILES", {"cpu": (4, 5)})
    whole = converged(torch.float32)
    alone = LOSSES[name](whole, whole, 0, **({"label_smoothing": smoothing} if smoothing else {}))
    tiled = (alone.item(), *torch.autograd.grad(alone, whole[:3]))
    found = in_two(_converged, name, smoothing)
    # The local losses' mean: what a process has of its features, and the mean of what both have of the scale.
    image, text = (torch.cat([f[side] for f in found]) / 2 for side in (1, 2))
    ringed = (found[0][0], image, text, (found[0][3] + found[1][3]) / 2)
    for loss, *gradients in (tiled, ringed):
        assert loss == pytest.approx(value, rel=bound)
        for ours, true in zip(gradients, exact, strict=True):
            assert (ours - true).norm() <= bound * true.norm()


# ---------------------------------------------------------------- a step


def _step(rank, config):
    pairs = pairs_here()
    model = encoder_of(pairs)
    with processes.join("cpu") as ranks:
        data = TrainingSet(pairs, model, config, processes=ranks.size, process=ranks.rank)
        _, value = backward(model, data.batch(1), loss_of(config, ranks), config.micro_batch_size, seed=5)
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        ranks.average(list(grads.values()))
        return ranks.mean(value), grads


@pytest.mark.parametrize(
    "changes",
    [{}, {"micro_batch_size": 4}, {"loss": "sigmoid"}, {"duplicates": "masked"}, {"duplicates": "positive"}],
    ids=str,
)
def test_two_processes_give_the_gradients_of_one(changes):
    """With crops, jitter, flips, dropped words and dropout: every draw is for the whole batch."""
    config = dataclasses.replace(CONFIG, **changes)
    pairs = pairs_here()
    model = encoder_of(pairs)
    _, expected = backward(model, TrainingSet(pairs, model, config).batch(1), loss_of(config), 0, seed=5)
    (value, grads), (other, others) = in_two(_step, config)
    assert value == other == pytest.approx(expected, rel=1e-5)
    theirs = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert set(grads) == set(theirs)
    for name, grad in theirs.items():
        assert torch.equal(grads[name], others[name])
        torch.testing.assert_close(grads[name], grad, rtol=1e-3, atol=1e-3 * grad.abs().max().item() + 1e-8, msg=name)


def _gather(rank):
    with processes.join("cpu") as ranks:
        rows = (torch.arange(4.0).view(2, 2) + 10 * rank).requires_grad_()
        everyone = ranks.gather(rows)
        (everyone * torch.arange(8.0).view(4, 2) * (rank + 1)).sum().backward()
        return everyone.detach(), rows.grad


def test_gather_by_hand():
    (first, grad), (second, other) = in_two(_gather)
    assert first.tolist() == second.tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]
    # Both processes use all rows, the second twice as much: three times the factors.
    assert grad.tolist() == [[0, 3], [6, 9]]
    assert other.tolist() == [[12, 15], [18, 21]]


# ---------------------------------------------------------------- a run


def _run(rank, out, stop_at, resume):
    steps = iter(range(1, 100))
    metrics = iter([0.1, 0.3, 0.2, 0.1, 0.1])
    said = []
    result = train(
        pairs_here(), out, dataclasses.replace(CONFIG, evaluations=3, keep="last"), resume=resume, on_step=said.append,
        on_eval=lambda encoder: {"text_to_image_recall@10": next(metrics)},
        should_stop=lambda: rank == 1 and next(steps) == stop_at,
    )  # fmt: skip
    return result.encoder.state_dict(), result.steps, result.kept, len(said)


def test_a_run_of_two_processes_is_the_run_of_one(tmp_path):
    alone = train(pairs_here(), tmp_path / "one", CONFIG)
    (first, steps, _, spoken), (second, _, _, silent) = in_two(_run, tmp_path / "two", 0, False)
    assert steps == alone.steps == 6
    assert (spoken, silent) == (6, 0)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
    saved = load_encoder(str(tmp_path / "two")).state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in first.items())
    assert (tmp_path / "two" / "log.jsonl").read_text().count("\n") == 3


def test_stopped_by_one_process_both_go_on_bit_for_bit(tmp_path):
    (straight, *_), _ = in_two(_run, tmp_path / "a", 0, False)
    (_, steps, *_), (_, others, *_) = in_two(_run, tmp_path / "b", 3, False)
    assert steps == others == 3
    (resumed, *_), _ = in_two(_run, tmp_path / "b", 0, True)
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name


def _bad(rank, out):
    said = []
    for changes, where in (
        ({}, out),
        ({"batch_size": 11}, out.parent / "odd"),
        ({"lr": 1e30, "grad_clip": 1e30}, None),
    ):
        try:
            train(pairs_here(), where or out.parent / "huge", dataclasses.replace(CONFIG, **changes))
        except BadRequest as error:
            said.append(str(error))
    return said


def test_what_is_wrong_is_everyones_error_and_nobody_waits(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    first, second = in_two(_bad, tmp_path)
    assert first == second
    assert "is not empty" in first[0]
    assert "batches of 11 cannot be shared by 2 processes: --set batch_size=10" in first[1]
    assert "lower the learning rate" in first[2]


def test_one_process_needs_no_group():
    with processes.join("cpu") as ranks:
        assert not dist.is_initialized()
        assert ranks.part(7) == slice(0, 7)
        assert ranks.mean(3.0) == 3.0
        assert ranks.from_first(lambda: "said") == "said"
