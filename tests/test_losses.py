"""InfoNCE and the sigmoid loss against numbers worked by hand, a float64 reference, and the promises about tiles."""

import itertools
import math
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eval.bench.loss import cpu_peak
from retrieval.datatypes import Features
from retrieval.losses import contrastive, tiles
from retrieval.losses import sigmoid as sigmoid_tiles
from retrieval.losses import softmax as softmax_tiles
from retrieval.losses.contrastive import Seen, info_nce, sigmoid
from retrieval.losses.operator import register
from retrieval.losses.tiles import Problem

LOSSES = (info_nce, sigmoid)
LN_3 = torch.tensor(3.0, dtype=torch.float64).log()
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_GPU)]


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles that the small batches of these tests need many of, the last ones cut short."""
    monkeypatch.setattr(tiles, "TILES", {"cpu": (16, 7), "cuda": (16, 7)})


def features(image, text, scale, bias=None, dtype=torch.float64, device="cpu"):
    """Leaves of these numbers."""

    def as_leaf(x, to):
        return None if x is None else torch.as_tensor(x).detach().to(device, to).requires_grad_()

    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    return Features(as_leaf(image, dtype), as_leaf(text, dtype), as_leaf(scale, wide), as_leaf(bias, wide))


def random_features(rows, texts=None, dim=8, scale=10.0, seed=0, near=0.0):
    """Random directions; near: how much of each caption is its picture."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count):
        return F.normalize(torch.randn(count, dim, generator=generator), dim=-1)

    image, text = draw(rows), draw(texts or rows)
    if near:
        text = F.normalize((1 - near) * text + near * image, dim=-1)
    return image, text, torch.tensor(scale)


def run(loss, made, **options):
    """Loss and gradients, in float64 on the CPU."""
    value = loss(made, made, **options)
    grads = torch.autograd.grad(value, [x for x in made if x is not None], allow_unused=True)
    return [None if x is None else x.detach().double().cpu() for x in (value, *grads)]


# ---------------------------------------------------------------- the reference: dense, from the formulas


def reference(loss, f, ids=None, same="positive", weights=None, teacher=None, teacher_share=0.5, label_smoothing=0.0):
    """The loss with everything in memory, in the type of the features."""
    n, m = len(f.image), len(f.text)
    image_ids, text_ids = (range(n), range(m)) if ids is None else (ids, ids) if torch.is_tensor(ids) else ids
    equal = torch.tensor([[int(a) == int(b) for b in text_ids] for a in image_ids])
    pairs = torch.eye(n, m, dtype=torch.bool) if same == "masked" else equal
    out = equal & ~pairs
    logits = (f.logit_scale * f.image @ f.text.T).masked_fill(out, -torch.inf)
    soft = None
    if teacher is not None:
        soft = teacher.logit_scale * teacher.image @ teacher.text.T + (teacher.bias or 0)
        soft = soft.to(logits.dtype).masked_fill(out, -torch.inf)
    both = weights if isinstance(weights, tuple) else (weights, weights)
    by_image, by_text = (None if w is None else w.to(logits.dtype) for w in both)
    if loss is sigmoid:
        answers = pairs.to(logits.dtype)
        if soft is not None:
            answers = (1 - teacher_share) * answers + teacher_share * soft.sigmoid()
        each = F.binary_cross_entropy_with_logits((logits + f.bias).masked_fill(out, 0), answers, reduction="none")
        each = each.masked_fill(out, 0).sum(1)
        return each.mean() if by_image is None else (by_image * each).sum() / by_image.sum()
    sides = []
    for given, w, p, o in ((logits, by_image, pairs, out), (logits.T, by_text, pairs.T, out.T)):
        wanted = p.to(given.dtype) / p.sum(1, keepdim=True).clamp(min=1)
        even = (~o).to(given.dtype) / (~o).sum(1, keepdim=True)
        wanted = (1 - label_smoothing) * wanted + label_smoothing * even
        if soft is not None:
            wanted = (1 - teacher_share) * wanted + teacher_share * (soft if given is logits else soft.T).softmax(1)
        each = -(wanted * given.log_softmax(1).masked_fill(o, 0)).sum(1)
        w = (given.new_ones(len(given)) if w is None else w) * p.any(1)
        sides.append((w * each).sum() / w.sum())
    return sum(sides) / 2


def as_near_as_dense(loss, numbers, bias=-2.0, **options):
    """Ours in float32 is twice as far from float64 as the dense float32 at most, beside float32's own rounding."""
    exact = run(lambda f, _, **o: reference(loss, f, **o), features(*numbers, bias), **options)
    dense = run(lambda f, _, **o: reference(loss, f, **o), features(*numbers, bias, torch.float32), **options)
    ours = run(loss, features(*numbers, bias, torch.float32), **options)
    for name, mine, theirs, true in zip(("loss", *Features._fields), ours, dense, exact, strict=True):
        if true is None:
            assert mine is None, name
            continue
        largest = true.abs().max().item()
        allowed = 2 * (theirs - true).abs().max().item() + 1e-6 * largest + 1e-12
        assert (mine - true).abs().max().item() <= allowed, name
        assert (mine - true).norm() <= 2 * (theirs - true).norm() + 1e-6 * true.norm() + 1e-12, name


def option_sets(rows):
    """What can be asked of a loss of `rows` pairs, by name."""
    generator = torch.Generator().manual_seed(5)
    several = torch.arange(rows) // 3 * 7  # three captions of a picture, but for the last
    weights = torch.rand(rows, generator=generator, dtype=torch.float64) + 0.1
    image, text, scale = (x.double() for x in random_features(rows, dim=5, seed=9))
    teacher = Features(image, text, scale * 0.7, torch.tensor(-1.0))
    sets = {
        "plain": {}, "positives": {"ids": several}, "masked": {"ids": several, "same": "masked"},
        "weights": {"weights": weights}, "teacher": {"teacher": teacher, "teacher_share": 0.3},
        "masked teacher": {"ids": several, "same": "masked", "teacher": teacher, "weights": weights},
        "two weights": {"weights": (weights, weights.flip(0))},
    }  # fmt: skip
    smooth = {f"smooth {name}": {**options, "label_smoothing": 0.2} for name, options in sets.items()}
    return {(loss, name): o for loss in LOSSES for name, o in (sets | (smooth if loss is info_nce else {})).items()}


CASES = pytest.mark.parametrize(
    ("loss", "name"), option_sets(37), ids=lambda x: x if isinstance(x, str) else x.__name__
)


# ---------------------------------------------------------------- by hand


def test_info_nce_by_hand():
    # Two pairs on the axes, scale ln 3: logits are [[ln 3, 0], [0, ln 3]], so each softmax gives 3/4.
    unit = torch.eye(2)
    f = features(unit, unit, LN_3)
    assert info_nce(f, f).item() == pytest.approx(-math.log(3 / 4), abs=1e-12)


def test_info_nce_at_chance_is_ln_batch():
    same = torch.ones(7, 3) / math.sqrt(3)
    f = features(same, same, 20.0)
    assert info_nce(f, f).item() == pytest.approx(math.log(7), abs=1e-6)


def test_two_captions_of_a_picture_by_hand():
    # Logits [[ln 3, ln 3], [0, 0]], all of one picture: asked for both, each softmax of a row is 1/2, 1/2, of a column
    # 3/4, 1/4. Masked, a row and a column have one entry left each, and nothing to get wrong.
    image, text = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    f, ids = features(image, text, LN_3), torch.tensor([4, 4])
    columns = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert info_nce(f, f, ids=ids).item() == pytest.approx((math.log(2) + columns) / 2, abs=1e-12)
    assert info_nce(f, f, ids=ids, same="masked").item() == pytest.approx(0, abs=1e-12)


def test_sigmoid_by_hand():
    # scale 1, bias 0, orthogonal pairs: the two true logits are 1, the two others 0.
    f = features(torch.eye(2), torch.eye(2), 1.0, 0.0)
    expected = (2 * math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 2
    assert sigmoid(f, f).item() == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------- the whole batch, and parts of it


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("slices", [(16,), (8, 8), (4, 12), (1, 5, 10)])
@pytest.mark.parametrize("name", ["plain", "positives", "masked teacher", "two weights"])
def test_slices_of_a_batch_give_its_loss_and_gradient(small_tiles, loss, slices, name):
    """The loss knows no ranks: `local` rows against everyone's, added up by their share, are the whole batch."""
    numbers, options = random_features(16), option_sets(16)[loss, name]
    whole = run(loss, features(*numbers, -1.0), **options)

    def in_parts(world, _):
        total, first = 0.0, 0
        for size in slices:
            part = slice(first, first + size)
            local = world._replace(image=world.image[part], text=world.text[part])
            total = total + loss(local, world, first, **options) * size / 16
            first += size
        return total

    for ours, expected in zip(run(in_parts, features(*numbers, -1.0)), whole, strict=True):
        if expected is not None:
            torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- against the reference


@CASES
@pytest.mark.parametrize("budget", [0, contrastive.BUDGET])
def test_every_option_in_float64_is_the_reference(small_tiles, loss, name, budget):
    numbers, options = random_features(37), option_sets(37)[loss, name]
    expected = run(lambda f, _, **o: reference(loss, f, **o), features(*numbers, -2.0), **options)
    got = run(loss, features(*numbers, -2.0), **options, budget=budget)
    for ours, true in zip(got, expected, strict=True):
        if true is None:
            assert ours is None
        else:
            torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-12)


@CASES
@pytest.mark.parametrize(("scale", "near"), [(10.0, 0.0), (100.0, 0.0), (100.0, 0.6)])
def test_every_option_in_float32_is_as_near_as_dense(small_tiles, loss, name, scale, near):
    as_near_as_dense(loss, random_features(37, dim=32, scale=scale, near=near), **option_sets(37)[loss, name])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("scale", "near"), [(14.0, 0.0), (100.0, 0.0), (100.0, 0.3), (100.0, 0.6)])
def test_real_tiles_in_float32_are_as_near_as_dense(loss, scale, near):
    as_near_as_dense(loss, random_features(700, dim=128, scale=scale, near=near))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", [(10, 29), (29, 10)])
@pytest.mark.parametrize("weighted", [False, True])
def test_rectangular_batches(small_tiles, loss, counts, weighted):
    """More captions than pictures, or fewer; picture 3 has no caption and is only ever a wrong answer."""
    images, texts = counts
    text_ids = torch.arange(texts) % images
    ids = (torch.arange(images), torch.where(text_ids == 3, 4, text_ids))
    options = {"ids": ids, "weights": (torch.linspace(1, 2, images), torch.linspace(3, 1, texts))} if weighted else {}
    as_near_as_dense(loss, random_features(images, texts, scale=30.0), **{"ids": ids, **options})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("scale", "near"), [(14.0, 0.0), (100.0, 0.0), (100.0, 0.4)])
def test_bfloat16_within_5e_3(small_tiles, device, loss, scale, near):
    """Of the float64 loss of the same bfloat16 features: what is left is our own rounding."""
    image, text, scale = random_features(100, dim=64, scale=scale, near=near)
    numbers = image.bfloat16(), text.bfloat16(), scale
    exact = run(lambda f, _: reference(loss, f), features(*numbers, -10.0))
    for ours, true in zip(run(loss, features(*numbers, -10.0, torch.bfloat16, device)), exact, strict=True):
        if true is not None:
            assert (ours - true).norm() <= 5e-3 * true.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@CASES
def test_on_a_gpu_it_is_the_same(small_tiles, loss, name):
    numbers, options = random_features(37), option_sets(37)[loss, name]

    def to(x):
        if torch.is_tensor(x):
            return x.cuda()
        return type(x)(*map(to, x)) if isinstance(x, tuple) else x

    there = {k: tuple(map(to, v)) if type(v) is tuple else to(v) for k, v in options.items()}
    expected = run(loss, features(*numbers, -2.0), **options)
    got = run(loss, features(*numbers, -2.0, device="cuda"), **there)
    for ours, true in zip(got, expected, strict=True):
        if true is not None:
            torch.testing.assert_close(ours, true, rtol=1e-9, atol=1e-12)


@CASES
def test_gradients_are_the_slopes(small_tiles, loss, name):
    """Finite differences, through features, scale and bias."""
    options = option_sets(9)[loss, name]
    f = features(*random_features(9, dim=3, scale=5.0), -2.0)

    def value(image, text, scale, bias):
        f = Features(image, text, scale, bias)
        return loss(f, f, **options)

    inputs = tuple(f) if loss is sigmoid else (*f[:3], f.bias.detach())
    assert torch.autograd.gradcheck(value, inputs, atol=1e-7)


# ---------------------------------------------------------------- by-products


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("same", ["positive", "masked"])
def test_the_hardest_negatives_and_recall_are_those_of_the_logits(small_tiles, loss, same):
    image, text, scale = random_features(37, near=0.3)
    ids = torch.arange(37) // 2
    f, seen = features(image, text, scale, -1.0, torch.float32), Seen(hardest=5)
    loss(f, f, ids=ids, same=same, seen=seen)
    logits, equal = scale * image @ text.T, ids[:, None] == ids
    pairs = torch.eye(37, dtype=torch.bool) if same == "masked" else equal
    for side, given in ((seen.pictures, logits), (seen.captions, logits.T)):
        best, at = given.masked_fill(equal, -torch.inf).topk(5, 1)
        true = given.masked_fill(~pairs, -torch.inf).amax(1)
        torch.testing.assert_close(side.hardest, best)
        assert torch.equal(side.at, at)
        torch.testing.assert_close(side.true, true)
        for k in (1, 5):
            assert side.recall(k) == pytest.approx((best[:, k - 1] < true).float().mean().item())
    assert not any(x.requires_grad for side in (seen.pictures, seen.captions) for x in side)
    with pytest.raises(ValueError, match="recall at 6 needs the 6 hardest"):
        seen.pictures.recall(6)


def test_a_part_of_the_world_sees_the_whole_world(small_tiles):
    image, text, scale = random_features(20)
    world = features(image, text, scale)
    local = world._replace(image=world.image[5:12], text=world.text[5:12])
    whole, part = Seen(hardest=30), Seen(hardest=30)
    info_nce(world, world, seen=whole)
    info_nce(local, world, 5, seen=part)
    for ours, theirs in ((part.pictures, whole.pictures), (part.captions, whole.captions)):
        torch.testing.assert_close(tuple(ours), tuple(x[5:12] for x in theirs))
    assert (whole.pictures.at[:, :19] >= 0).all()
    assert (whole.pictures.at[:, 19:] == -1).all()  # of 19 wrong answers, no more than 19


def test_a_tie_is_no_find_and_who_has_no_pair_is_not_asked():
    same = torch.ones(3, 2)
    f, seen = features(same, same, 5.0), Seen()
    info_nce(f, f, seen=seen)
    assert seen.pictures.recall() == 0
    f, seen = features(torch.eye(4), torch.eye(4)[:2], 5.0), Seen()
    info_nce(f, f, ids=(torch.arange(4), torch.arange(2)), seen=seen)
    assert (seen.pictures.recall(), seen.captions.recall()) == (1, 1)  # pictures 2 and 3 have no caption


# ---------------------------------------------------------------- promises


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", LOSSES)
def test_twice_is_bit_for_bit_the_same(small_tiles, device, loss):
    numbers = random_features(50)
    a, b = (run(loss, features(*numbers, -1.0, torch.float32, device)) for _ in range(2))
    assert all((x is None and y is None) or torch.equal(x, y) for x, y in zip(a, b, strict=True))


@CASES
def test_the_operators_keep_the_compilers_rules(small_tiles, monkeypatch, loss, name):
    """Schema, shapes without numbers, autograd: of the problem that the loss makes of these options."""
    f = features(*random_features(9), -1.0)
    f = f._replace(text=f.text.detach().T.contiguous().T.requires_grad_())  # a layout of its own
    seen = {} if name != "plain" else {"seen": Seen(2)}
    made = []
    module = softmax_tiles if loss is info_nce else sigmoid_tiles
    operator = module.OPERATOR
    monkeypatch.setattr(module, "OPERATOR", lambda **fields: made.append(fields) or operator(**fields))
    loss(f, f, **option_sets(9)[loss, name], **seen)
    torch.library.opcheck(
        operator, (), made[0], test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )
    leaves = [x.detach() if torch.is_tensor(x) else x for x in made[0].values()]
    _, rows, columns, logits, *_ = operator(*leaves)
    above = torch.tensor(2.0, dtype=torch.float64)
    gradient = getattr(torch.ops.mmr, f"{loss.__name__}_grad").default
    torch.library.opcheck(
        gradient, (*leaves, rows, columns, logits, above), test_utils=("test_schema", "test_faketensor")
    )


class Heard:
    """A tiled loss that keeps the problems it is given; its value is the sum of the rows' weights."""

    symmetric = True

    def __init__(self):
        self.forward, self.backward = [], []

    def start(self, p):
        return [p.x.new_zeros(1, len(p.x)), p.x.new_zeros(1, len(p.y))]

    def see(self, p, sides, rows, columns, tile):
        self.forward.append(p)

    def value(self, p, sides, shards=1):
        return p.row_weights.sum()

    def slope(self, p, sides, shards=1):
        self.backward.append(p)
        return lambda rows, columns, tile: torch.zeros_like(tile)


def test_each_field_reaches_both_passes_under_its_name():
    """Every value is told from every other, so that two fields of a type cannot change places in a schema, a call, a
    kernel or what is kept for the gradient."""
    shapes = {"x": (2, 3), "y": (4, 3), "teacher_x": (2, 5), "teacher_y": (4, 5)}
    vectors = {"row_weights": 2, "row_ids": 2, "column_weights": 4, "column_ids": 4}
    numbers = itertools.count(1)

    def value_of(name, kind):
        number = next(numbers)
        if kind in (Tensor, Tensor | None):
            shape = shapes.get(name, (vectors[name],) if name in vectors else ())
            return torch.full(shape, float(number)).requires_grad_(name in ("x", "y", "scale", "bias"))
        return kind(number)

    told = {name: value_of(name, kind) for name, kind in get_type_hints(Problem).items()}
    told |= {
        "masked": False,
        "hardest": 2,
        "keep": True,
    }  # the two that are yes or no, apart; two wrong answers of four
    heard = Heard()
    operator = register("heard_in_a_test", heard)
    operator(**dict(reversed(told.items())))[0].backward()
    for p in (heard.forward[0], heard.backward[0]):
        for name, value in told.items():
            ours = getattr(p, name)
            assert torch.equal(ours, value) if torch.is_tensor(value) else ours == value, name
    schema = torch.ops.mmr.heard_in_a_test.default._schema
    assert [argument.name for argument in schema.arguments] == list(Problem._fields)
    for name in ("x", "y", "scale", "bias"):
        assert told[name].grad.shape == told[name].shape


@pytest.mark.parametrize(("loss", "name"), list(itertools.product(LOSSES, ["plain", "masked teacher"])))
def test_compiled_without_a_break(small_tiles, loss, name):
    """fullgraph=True raises at a break. The backend runs the traced graph as it is: no compiler is needed."""
    numbers, options = random_features(20), option_sets(20)[loss, name]

    def step(f, _):
        f = f._replace(image=F.normalize(f.image, dim=-1), text=F.normalize(f.text, dim=-1))
        seen = Seen(2)
        value = loss(f, f, **options, seen=seen)
        return value + 0 * seen.pictures.true.sum()

    got = run(torch.compile(step, fullgraph=True, backend="aot_eager"), features(*numbers, -1.0))
    for ours, expected in zip(got, run(step, features(*numbers, -1.0)), strict=True):
        assert (ours is None and expected is None) or torch.equal(ours, expected)


def test_autocast_changes_nothing(small_tiles):
    f = features(*random_features(20), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = run(info_nce, f)
    assert all(a is None or torch.equal(a, b) for a, b in zip(inside, run(info_nce, f), strict=True))


def test_a_number_that_is_none_comes_through():
    image, text, scale = random_features(5)
    image[2, 3] = math.nan
    f = features(image, text, scale, -1.0)
    assert math.isnan(info_nce(f, f).item())
    assert math.isnan(sigmoid(f, f).item())


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ((5, 4), {}, "5 pictures and 4 captions need ids"),
        ((5, 4), {"ids": (torch.arange(5), torch.arange(4)), "same": "masked"}, "need ids, as positives"),
        ((5, 5), {"ids": torch.arange(4)}, "ids of 4 for 5 of the world's image features"),
        ((5, 5), {"weights": torch.ones(6)}, "weights of 6 for 5"),
        ((5, 5), {"ids": torch.arange(5), "same": "mask"}, "same='mask': use 'positive' or 'masked'"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_what_does_not_fit_is_said(loss, counts, options, message):
    f = features(*random_features(*counts), -1.0)
    with pytest.raises(ValueError, match=message):
        loss(f, f, **options)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is told by Linux")
@pytest.mark.parametrize("loss", LOSSES)
def test_the_square_of_the_batch_is_never_in_memory(loss):
    """4,096 pairs: their logits alone are 64 MiB. The benchmark has the figure of 16,384."""
    assert cpu_peak(lambda f: loss(f, f, budget=0), 4096, 16) < 32
    assert cpu_peak(lambda f: loss(f, f), 4096, 16) > 60  # kept, where the budget holds them
