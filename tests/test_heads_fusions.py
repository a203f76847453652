"""Every fusion is what it says: behaviour on made data whose answer is known, and what holds for all of them."""

import numpy as np
import pytest
import torch

from retrieval.errors import BadRequest
from retrieval.heads import fusions
from retrieval.heads.batch import batch_of, by_length, drop_modalities
from retrieval.heads.config import HeadConfig
from retrieval.heads.fit import fit
from retrieval.heads.fusions import sequences
from retrieval.heads.inputs import Inputs

DIM = 6
ADDITIVE = {"mean", "weighted", "common_space", "stacking"}  # a sum of what each says: no XOR can come of it
FAST = {"width": 32, "dropout": 0.0, "epochs": 30, "lr": 5e-3, "weight_decay": 0.0, "refit": False}


def of(vectors, present=None):
    vectors = {name: np.asarray(rows, np.float32) for name, rows in vectors.items()}
    present = present or {name: np.ones(rows.shape[:-1], bool) for name, rows in vectors.items()}
    return Inputs(vectors, present)


def signs(rng, rows):
    """Vectors that say yes or no along one axis, in noise, and what they say."""
    said = rng.integers(0, 2, rows)
    vectors = rng.normal(0, 0.15, (rows, DIM))
    vectors[:, 0] += 2 * said - 1
    return vectors, said


def accuracy(name, inputs, labels, test, truth, **settings):
    fitted = fit(inputs, labels, sorted(set(labels)), "single", HeadConfig(fusion=name, **FAST | settings))
    data = batch_of(test, np.zeros(len(test), np.int64))
    with torch.no_grad():
        answers = fitted.module(data.vectors, data.present).argmax(1).numpy()
    return float(np.mean([sorted(set(labels))[i] == label for i, label in zip(answers, truth, strict=True)])), fitted


def task(rule, rows=400, seed=0):
    rng = np.random.default_rng(seed)
    (image, first), (text, second) = signs(rng, rows), signs(rng, rows)
    return of({"image": image, "text": text}), [str(answer) for answer in rule(first, second)]


@pytest.mark.parametrize("name", ["image", "text", *fusions.FUSIONS])
def test_xor_tells_those_that_can_interact_from_those_that_cannot(name):
    inputs, labels = task(np.logical_xor)
    test, truth = task(np.logical_xor, seed=1)
    right, _ = accuracy(name, inputs, labels, test, truth)
    if name in ADDITIVE or name in inputs.dims:
        assert right <= 0.78  # a sum has three of the four corners at best, and one modality two
    else:
        assert right >= 0.98


@pytest.mark.parametrize("name", fusions.FUSIONS)
def test_what_either_says_is_learned_by_all(name):
    inputs, labels = task(np.logical_and)
    test, truth = task(np.logical_and, seed=1)
    assert accuracy(name, inputs, labels, test, truth)[0] >= 0.98


def test_learned_weights_are_those_of_the_task():
    rng = np.random.default_rng(0)
    image, text = (torch.from_numpy(rng.normal(size=(400, 4)).astype(np.float32)) for _ in range(2))
    goal = 0.8 * image + 0.2 * text
    module = fusions.FUSIONS["weighted"]({"image": 4, "text": 4}, 4, project=False)
    torch.nn.init.eye_(module.classify.weight)
    module.classify.requires_grad_(False)
    present = {name: torch.ones(400, dtype=torch.bool) for name in ("image", "text")}
    optimizer = torch.optim.Adam(module.parameters(), 0.1)
    for _ in range(150):
        loss = (module({"image": image, "text": text}, present) - module.classify.bias - goal).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert module.log_weights.softmax(0).tolist() == pytest.approx([0.8, 0.2], abs=0.01)


def test_fixed_weights_are_kept_and_shared_out_among_what_is_there():
    config = HeadConfig(fusion="weighted", weights="3,1")
    module = fusions.build(config, {"image": 4, "text": 4}, 2)
    tokens, mask = torch.zeros(2, 2, config.width), torch.tensor([[True, True], [False, True]])
    assert torch.allclose(module.weights(tokens, mask), torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    assert module.weights(tokens, mask)[1, 0] == 0
    assert not module.log_weights.requires_grad
    with pytest.raises(BadRequest, match="one weight"):
        fusions.build(HeadConfig(fusion="weighted", weights="1"), {"image": 4, "text": 4}, 2)


def unreliable(rows, seed):
    """One of the two modalities is noise; the last number of both says which."""
    rng = np.random.default_rng(seed)
    (image, first), (text, second) = signs(rng, rows), signs(rng, rows)
    trusted = rng.integers(0, 2, rows)
    flag = 2.0 * trusted - 1
    image[:, -1], text[:, -1] = flag, flag
    return of({"image": image, "text": text}), [str(n) for n in np.where(trusted == 1, first, second)], trusted


@pytest.mark.parametrize("name", ["attention", "gated", "experts"])
def test_gates_follow_what_can_be_trusted(name):
    inputs, labels, _ = unreliable(600, 0)
    test, truth, trusted = unreliable(400, 1)
    right, fitted = accuracy(name, inputs, labels, test, truth)
    plain, _ = accuracy("mean", inputs, labels, test, truth)
    assert right >= 0.95
    assert right >= plain + 0.15
    if name == "attention":
        data = batch_of(test, np.zeros(len(test), np.int64))
        weights = fitted.module.weights(*fitted.module.tokens(data.vectors, data.present))
        assert weights.sum(1).tolist() == pytest.approx([1.0] * 400, abs=1e-5)
        on_image = weights[:, 0].detach().numpy()
        assert on_image[trusted == 1].mean() > on_image[trusted == 0].mean() + 0.2


# ---------------------------------------------------------------- what holds for all


def made(name, dims=None, outputs=3, seed=0):
    torch.manual_seed(seed)
    dims = dims or {"image": 5, "text": 4}
    module = fusions.build(HeadConfig(fusion=name, width=16, dropout=0.0), dims, outputs)
    if outputs == 3:
        module.remember(*batch(9, dims, seed=5), torch.arange(9) % 3)
        module.solve(*batch(9, dims, seed=5), torch.arange(9) % 3, torch.nn.functional.cross_entropy)
    return module.eval()


def batch(rows=6, dims=None, lengths=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dims = dims or {"image": 5, "text": 4}
    shape = {name: (rows, *([lengths[name]] if lengths else [])) for name in dims}
    vectors = {name: torch.randn(*shape[name], dim, generator=generator) for name, dim in dims.items()}
    return vectors, {name: torch.ones(shape[name], dtype=torch.bool) for name in dims}


ALL = ["image", *fusions.FUSIONS]


@pytest.mark.parametrize("name", ALL)
def test_what_is_masked_cannot_reach_the_answer(name):
    module = made(name)
    vectors, present = batch()
    present["text"][:3] = False
    before = module(vectors, present)
    vectors["text"][:3] = torch.tensor([float("nan"), 1e30, -5.0, float("inf")])
    assert torch.equal(before, module(vectors, present))
    module.train()
    module.objective(vectors, present, torch.tensor([0, 1, 2, 0, 1, 2]), torch.nn.functional.cross_entropy).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("name", ALL)
def test_a_row_with_one_modality_missing_is_still_answered_by_the_other(name):
    inputs, labels = task(lambda first, second: first)
    inputs.present["text"][::2] = False
    test, truth = task(lambda first, second: first, seed=1)
    test.present["text"][:] = False
    assert accuracy(name, inputs, labels, test, truth, epochs=10)[0] >= 0.98


@pytest.mark.parametrize("name", ALL)
def test_no_row_sees_another(name):
    module = made(name)
    vectors, present = batch()
    before = module(vectors, present)
    vectors["image"][2], present["text"][2] = 7.0, False
    after = module(vectors, present)
    assert not torch.allclose(before[2], after[2])
    kept = [0, 1, 3, 4, 5]
    assert torch.equal(before[kept], after[kept])


@pytest.mark.parametrize("name", ALL)
def test_padding_and_the_order_of_names_change_nothing(name):
    module = made(name)
    vectors, present = batch(lengths={"image": 3, "text": 2})
    before = module(vectors, present)
    padded = {key: torch.cat([rows, torch.full_like(rows, 9.0)], 1) for key, rows in reversed(vectors.items())}
    longer = {key: torch.cat([mask, torch.zeros_like(mask)], 1) for key, mask in present.items()}
    assert torch.allclose(before, module(padded, longer), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_learns_and_is_saved(name):
    module = made(name).train()
    vectors, present = batch(lengths={"image": 3, "text": 2})
    present["text"][0], present["image"][1] = False, False
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    module.objective(vectors, present, target, torch.nn.functional.cross_entropy).backward()
    idle = [key for key, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle in ([], [key for key in idle if key.endswith(("in_proj_bias", "missing.image"))])
    assert {key for key, _ in module.named_parameters()} <= set(module.state_dict())
    module.eval()
    again = fusions.rebuild(
        HeadConfig(fusion=name, width=16, dropout=0.0), {"image": 5, "text": 4}, 3, module.state_dict()
    )
    assert torch.equal(module(vectors, present), again.eval()(vectors, present))


@pytest.mark.parametrize("name", fusions.FUSIONS)
def test_any_number_of_modalities(name):
    for names in (["image"], ["image", "text", "video", "sound"]):
        dims = {key: 3 + number for number, key in enumerate(names)}
        assert made(name, dims)(*batch(4, dims)).shape == (4, 3)


def test_max_sends_its_gradient_to_the_greatest_alone():
    module = fusions.FUSIONS["max"]({"image": 3, "text": 3}, 2, project=False)
    tokens = torch.tensor([[[1.0, 5.0, 2.0], [4.0, 0.0, 3.0]]], requires_grad=True)
    pooled = module.pool(tokens, torch.ones(1, 2, dtype=torch.bool))
    assert pooled.tolist() == [[4.0, 5.0, 3.0]]
    pooled.sum().backward()
    assert tokens.grad.tolist() == [[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]]


def test_mean_is_weighted_with_equal_weights():
    mean, weighted = made("mean"), fusions.build(HeadConfig(fusion="weighted", width=16, weights="1,1"),
                                                 {"image": 5, "text": 4}, 3).eval()  # fmt: skip
    weighted.load_state_dict(mean.state_dict() | {"log_weights": torch.zeros(2)})
    assert torch.allclose(mean(*batch()), weighted(*batch()))


def test_a_convolution_is_its_loop_and_knows_the_order():
    dims = {"image": 4, "text": 4, "sound": 4}
    module = sequences.Conv(dims, 2, width=8, kernel=2).eval()
    vectors, present = batch(5, dims)
    tokens, _ = module.tokens(vectors, present)
    weight, bias = module.convolve.weight, module.convolve.bias
    steps = [torch.relu(tokens[:, i] @ weight[..., 0].T + tokens[:, i + 1] @ weight[..., 1].T + bias) for i in (0, 1)]
    expected = module.classify(torch.stack(steps).mean(0))
    assert torch.allclose(module(vectors, present), expected, atol=1e-6)


@pytest.mark.parametrize("score", ["additive", "dot", "cosine"])
def test_cross_attention_finds_the_planted_word(score):
    """The picture names which word to read; the answer is what that word says."""
    rng = np.random.default_rng(0)
    rows, words, kinds = 300, 4, 4
    asked = rng.integers(kinds, size=rows)
    said = rng.integers(0, 2, (rows, words))
    order = np.stack([rng.permutation(kinds) for _ in range(rows)])
    text = np.concatenate([np.eye(kinds)[order], (2.0 * said - 1)[..., None]], 2)
    place = (order == asked[:, None]).argmax(1)
    labels = said[np.arange(rows), place]
    torch.manual_seed(0)
    module = sequences.CrossAttention({"image": kinds, "text": kinds + 1}, 2, width=32, score=score)
    data = batch_of(of({"image": np.eye(kinds)[asked], "text": text}), labels.astype(np.int64))
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(data.vectors, data.present), data.target).backward()
        optimizer.step()
    _, _, weights = module.look(data.vectors, data.present)["image"]
    assert weights.sum(1).tolist() == pytest.approx([1.0] * rows, abs=1e-5)
    assert weights[torch.arange(rows), torch.from_numpy(place)].mean() >= 0.9


def test_self_attention_knows_no_order_within_a_modality():
    vectors, present = batch(lengths={"image": 3, "text": 2})
    turned = {key: rows.flip(1) for key, rows in vectors.items()}
    for name in ("self_attention", "transformer"):
        module = made(name)
        assert torch.allclose(module(vectors, present), module(turned, present), atol=1e-5)


def test_a_transformer_is_that_of_torch():
    """[CLS] and the tokens with their kinds, through torch's own layers, written out again."""
    module = made("transformer")
    vectors, present = batch()
    tokens, _ = module.tokens(vectors, present)
    x = torch.cat([module.start.expand(6, 1, -1), tokens + module.kinds], 1)
    for block in module.body:
        layer = torch.nn.TransformerEncoderLayer(8, 4, 16, 0.0, "gelu", batch_first=True, norm_first=True).eval()
        layer.self_attn.in_proj_weight.data, layer.self_attn.in_proj_bias.data = block.qkv.weight, block.qkv.bias
        layer.self_attn.out_proj, layer.linear1, layer.linear2 = block.out, block.up, block.down
        layer.norm1, layer.norm2 = block.norm1, block.norm2
        x = layer(x, src_key_padding_mask=torch.zeros(6, 3, dtype=torch.bool))
    assert torch.allclose(module(vectors, present), module.classify(module.norm(x[:, 0])), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_sequence_pooled_before_is_the_sequence_pooled_inside(name):
    """What fit() does once, so that a step does not do it again."""
    module = made(name)
    vectors, present = batch(lengths={"image": 3, "text": 4})
    present["text"][1, 2:], present["image"][2] = False, False
    whole = batch_of(of({k: v.numpy() for k, v in vectors.items()}, {k: m.numpy() for k, m in present.items()}),
                     np.zeros(6, np.int64))  # fmt: skip
    part = whole.pooled() if not module.looks_inside else whole.trimmed()
    assert torch.allclose(module(vectors, present), module(part.vectors, part.present), atol=1e-5)
    assert module.looks_inside == fusions.looks_inside(name)


def test_batches_by_length_hold_every_row_once():
    lengths = torch.tensor([1, 9, 2, 8, 3, 7] * 40)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(0))
    batches = by_length(order, lengths, 16)
    assert sorted(torch.cat(batches).tolist()) == list(range(240))
    assert max(map(len, batches)) == 16
    padding = sum(float(lengths[rows].max() * len(rows) - lengths[rows].sum()) for rows in batches)
    plain = sum(float(lengths[rows].max() * len(rows) - lengths[rows].sum()) for rows in order.split(16))
    assert padding < 0.4 * plain


def test_common_space_answers_from_any_modality_alone():
    inputs, labels = task(lambda first, second: first)
    inputs.vectors["text"][:, 0] = inputs.vectors["image"][:, 0]  # both say it
    test, truth = task(lambda first, second: first, seed=1)
    test.vectors["text"][:, 0] = test.vectors["image"][:, 0]
    for hidden in ("image", "text"):
        shut = of(test.vectors, {name: np.full(len(test), name != hidden) for name in test.dims})
        assert accuracy("common_space", inputs, labels, shut, truth)[0] >= 0.98


def test_align_brings_pairs_together_and_every_part_learns():
    inputs, labels = task(np.logical_or)
    _, fitted = accuracy("align", inputs, labels, inputs, labels)
    data = batch_of(inputs, np.zeros(len(inputs), np.int64))
    loss = fitted.module.alignment(data.vectors, data.present)
    turned = {"image": data.vectors["image"], "text": data.vectors["text"].roll(1, 0)}
    assert loss < fitted.module.alignment(turned, data.present)
    loss.backward()
    assert fitted.module.project["image"].weight.grad.abs().sum() > 0
    assert fitted.module.project["text"].weight.grad.abs().sum() > 0


def test_an_ensemble_is_the_mean_of_its_members_that_can_be_asked():
    module = made("ensemble")
    vectors, present = batch()
    alone = [member(vectors, present) for member in module.members]
    assert torch.allclose(module(vectors, present), sum(alone) / 3, atol=1e-6)
    present["text"][:] = False
    image, _, whole = (member(vectors, present) for member in module.members)
    assert torch.allclose(module(vectors, present), (image + whole) / 2, atol=1e-6)


def test_modality_dropout_takes_the_asked_share_and_never_the_last():
    present = {"image": torch.ones(4000, dtype=torch.bool), "text": torch.arange(4000) % 2 == 0}
    kept = drop_modalities(present, 0.4, torch.Generator().manual_seed(0))
    assert (kept["image"] | kept["text"]).all()
    assert not (kept["text"] & ~present["text"]).any()
    assert kept["image"][1::2].all()  # their only one
    assert float(kept["text"][::2].float().mean()) == pytest.approx(1 - 0.4 + 0.4 * 0.4 / 2, abs=0.03)


def test_an_unknown_fusion_is_told_the_nearest():
    with pytest.raises(BadRequest, match="did you mean `attention`"):
        fusions.build(HeadConfig(fusion="atention"), {"image": 4, "text": 4}, 2)
