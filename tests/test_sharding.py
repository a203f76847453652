"""A model in shards is the model: the same weights, half of the numbers in each of two processes, whole files."""

import dataclasses
import gc
import shutil

import pytest
import torch
import torch.distributed.fsdp  # before the processes fork, so that it is imported once
from test_distributed import CONFIG, encoder_of, in_two, pairs_here

from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.training import trainable
from retrieval.training.dataset import TrainingSet
from retrieval.training.distributed import ranks as processes
from retrieval.training.distributed import sharding
from retrieval.training.loop import train
from retrieval.training.optimizer import Optimizer
from retrieval.training.setup import first_encoder, loss_of
from retrieval.training.step import backward

SGD = {"optimizer": "sgd", "lr": 0.05, "grad_clip": 0.3}  # moves by its gradients alone: rounding stays rounding
SHARDED = dataclasses.replace(CONFIG, shard=True)


def several(rank, work, *arguments):
    """`work(*arguments)`, whose calls of train() are all of one group: connecting anew takes a new port."""
    with processes.join("cpu") as ranks:
        return work(ranks, *arguments)


def flat(weights):
    return torch.cat([tensor.flatten().float() for tensor in weights.values()])


def apart(found, expected, start):
    """How far two ends of a run are from each other, as a share of its way."""
    return ((flat(found) - flat(expected)).norm() / (flat(expected) - flat(start)).norm()).item()


def start_of(config):
    torch.manual_seed(config.seed)
    return first_encoder(pairs_here(), config).state_dict()


# ---------------------------------------------------------------- the same weights

RUNS = {
    "sgd": (SGD | {"micro_batch_size": 4}, 1e-4),
    # These two take a whole step along a gradient of almost nothing, whose sign is chance.
    "adamw": ({}, 5e-2),
    "lion": ({"optimizer": "lion", "lr": 1e-4}, 0.2),
    "bf16": (SGD | {"precision": "bf16", "micro_batch_size": 4}, 2e-2),
}


def _whole_and_shards(ranks, out):
    found = {}
    for name, (changes, _) in RUNS.items():
        for shard in (False, True):
            config = dataclasses.replace(CONFIG, shard=shard, checkpoints=1, **changes)
            found[name, shard] = train(pairs_here(), out / f"{name}-{shard}", config).encoder.state_dict()
    return found


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    return in_two(several, _whole_and_shards, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", RUNS)
def test_shards_end_with_the_weights_of_whole_models(ends, name):
    """With dropout, clipping by the norm over all shards, and averaged weights."""
    (first, second), (changes, near) = ends, RUNS[name]
    whole, shards = first[name, False], first[name, True]
    assert list(shards) == list(whole)
    assert all(torch.equal(tensor, second[name, True][key]) for key, tensor in shards.items())
    assert apart(shards, whole, start_of(dataclasses.replace(CONFIG, **changes))) < near


def test_shards_end_with_the_weights_of_one_process(ends, tmp_path):
    changes, near = RUNS["sgd"]
    config = dataclasses.replace(CONFIG, **changes)
    alone = train(pairs_here(), tmp_path / "run", config).encoder.state_dict()
    assert apart(ends[0]["sgd", True], alone, start_of(config)) < near


# ---------------------------------------------------------------- half of the numbers


def _tensors():
    """All tensors there are, but DTensors, which hold none of their numbers."""
    gc.collect()
    return [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]


def _bytes_beyond(old):
    """Memory of what came after `old`, whose tensors are not asked: other tests may have left some without memory."""
    known = {id(tensor) for tensor in old}
    storages = [tensor.untyped_storage() for tensor in _tensors() if id(tensor) not in known]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _held(ranks, make, shard):
    old, model = _tensors(), make()
    if shard:
        sharding.cut(model, ranks)
    for tower in (model.image_tower, model.text_tower):
        tower.body.to(torch.bfloat16)
    frozen, optimizer = trainable.Frozen(model), Optimizer(model, CONFIG, 10)
    batch = TrainingSet(pairs_here(), model, CONFIG, processes=2, process=ranks.rank).batch(1)
    backward(model, batch, loss_of(CONFIG, ranks), 0, 0, optimizer.collect)
    optimizer.step(0)
    del batch
    numbers = [t.to_local() if sharding.is_share(t) else t for t in (*model.parameters(), *optimizer.state().values())]
    return sum(part.numel() for part in numbers), _bytes_beyond(old), frozen is not None


def _both_held(ranks, make):
    return _held(ranks, make, False), _held(ranks, make, True)


def test_each_process_holds_half_of_the_numbers():
    """Weights, masters, averages and momenta; and of what memory there is."""
    for (numbers, memory, _), (its_share, its_memory, _) in in_two(
        several, _both_held, lambda: encoder_of(pairs_here())
    ):
        assert its_share / numbers == pytest.approx(0.5, abs=0.01)
        assert its_memory / memory == pytest.approx(0.5, abs=0.01)


def test_each_process_holds_half_of_what_lora_leaves(open_clips):
    pytest.importorskip("peft")

    def make():
        model = load_encoder(open_clips["mmr-toy-vit"])
        trainable.choose(model, dataclasses.replace(CONFIG, lora=2))
        return model

    for (numbers, memory, _), (its_share, its_memory, _) in in_two(several, _both_held, make):
        assert its_share / numbers == pytest.approx(0.5, abs=0.01)
        assert its_memory / memory == pytest.approx(0.5, abs=0.01)


# ---------------------------------------------------------------- evaluated, stopped, resumed, saved


def _stopped_and_resumed(ranks, out):
    config = dataclasses.replace(SHARDED, evaluations=3, **SGD)
    steps, seen = iter(range(1, 100)), []

    def look(encoder):
        vectors = encoder.encode_texts(["a dog", "a red house"])
        seen.append(encoder.state_dict())
        return {"text_to_image_recall@10": [0.1, 0.3, 0.2][len(seen) % 3 - 1], "first": float(vectors[0, 0])}

    straight = train(pairs_here(), out / "straight", config, on_eval=look)
    train(pairs_here(), out / "two", config, on_eval=look, should_stop=lambda: ranks.rank == 1 and next(steps) == 3)
    if ranks.rank == 0:
        shutil.copytree(out / "two", out / "one")
    resumed = train(pairs_here(), out / "two", config, on_eval=look, resume=True)
    return config, straight.encoder.state_dict(), resumed.encoder.state_dict(), straight.metrics, seen


def test_a_sharded_run_is_evaluated_stopped_and_resumed(tmp_path):
    (config, straight, resumed, metrics, seen), (*_, same, unseen) = in_two(several, _stopped_and_resumed, tmp_path)
    assert len(seen) == 6
    assert unseen == []
    assert metrics == same
    saved = load_encoder(str(tmp_path / "two"))
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
        assert torch.equal(tensor, saved.state_dict()[name]), name
        assert torch.equal(tensor, seen[1][name]), name  # the second was the best
    assert saved.encode_texts(["a dog"])[0, 0] == pytest.approx(metrics["first"], rel=1e-3)

    said, later = [], iter([0.3, 0.2])  # one process goes on with what two began
    alone = train(
        pairs_here(), tmp_path / "one", config, resume=True, on_message=said.append,
        on_eval=lambda encoder: {"text_to_image_recall@10": next(later)},
    )  # fmt: skip
    assert said[0] == "shard=yes does nothing in one process: torchrun --nproc-per-node 2 --no-python mmr train ..."
    assert apart(alone.encoder.state_dict(), straight, start_of(config)) < 1e-5


def test_a_filled_mould_is_the_model(open_clips):
    model = load_encoder(open_clips["mmr-toy-vit"])
    mould = sharding.Mould(model)
    assert all(parameter.is_meta for parameter in mould.empty.parameters())
    model.text_tower.body.to(torch.bfloat16)
    filled = mould.fill(model, "cpu")
    types = {name: tensor.dtype for name, tensor in (*filled.named_parameters(), *filled.named_buffers())}
    assert types == {name: tensor.dtype for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    assert types["text_tower.body.attn_mask"] == torch.bfloat16  # which no file holds
    assert (filled.encode_texts(["a dog"]) == model.encode_texts(["a dog"])).all()


# ---------------------------------------------------------------- what is not trained


def _tuned(ranks, out, cases, look=None):
    """The weights of whole models and of shards after a short fine-tune, for each (name, settings)."""
    found = []
    for number, (name, changes) in enumerate(cases):
        for shard in (False, True):
            config = dataclasses.replace(
                CONFIG, shard=shard, encoder=name, dropout=0.0, epochs=1, checkpoints=1, **SGD | changes
            )
            result = train(pairs_here(), out / f"{number}{shard}", config, on_eval=look)
            found.append(result.encoder.state_dict())
    return found


def _encodes(encoder):
    return {"length": float((encoder.encode_texts(["a dog"]) ** 2).sum())}


def test_what_is_frozen_stays_to_the_bit(open_clips, tmp_path):
    """open_clip's towers; the ResNet has a BatchNorm's statistics, which are held."""
    changes = {"freeze": "image", "precision": "bf16", "micro_batch_size": 4}
    names = [open_clips[name] for name in ("mmr-toy-vit", "mmr-toy-resnet")]
    found, _ = in_two(several, _tuned, tmp_path, [(name, changes) for name in names])
    for name, whole, shards in zip(names, found[::2], found[1::2], strict=True):
        before = load_encoder(name).state_dict()
        frozen = {key for key in before if key.startswith("image_tower")}
        assert all(torch.equal(before[key], shards[key]) for key in frozen)
        assert apart(shards, whole, before) < 1e-2


def test_lora_is_merged_out_of_shards(open_clips, tmp_path):
    pytest.importorskip("peft")
    name = open_clips["mmr-toy-vit"]
    (whole, shards), _ = in_two(
        several, _tuned, tmp_path, [(name, {"lora": 2, "lr": 3.0, "precision": "bf16"})], _encodes
    )
    before = load_encoder(name).state_dict()
    moved = {key for key in before if not torch.equal(before[key], shards[key])}
    assert {"image_tower.body.transformer.resblocks.0.attn.in_proj_weight", "log_logit_scale"} <= moved
    assert apart(shards, whole, before) < 2e-2


def test_shards_are_not_compiled():
    with pytest.raises(BadRequest, match="shard must be no beside compile: change it with --set shard="):
        SHARDED.settings(["compile=eager"])
