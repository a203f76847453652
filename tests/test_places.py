"""What towers say of each place of a picture: oracles of each kind, and the one error of towers without places."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from retrieval import towers
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.sources.picturebook import Scene
from retrieval.towers import shown_in_halves
from retrieval.towers.combined import EnsembleTower
from retrieval.towers.each_place import along


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def built(spec, dim=8):
    torch.manual_seed(0)
    return towers.build(towers.IMAGE_TOWERS, dim, spec).eval()


def test_the_values_of_an_open_clip_vit_are_its_tokens_without_the_last_attention(open_clips, pixels):
    tower = load_encoder(open_clips["mmr-toy-vit"]).image_tower
    alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0)  # attention that is the identity
    body = tower.body
    last = body.transformer.resblocks[-1]
    with torch.inference_mode():
        x = body._embeds(pixels)
        for block in body.transformer.resblocks[:-1]:
            x = block(x)
        known = body.ln_post(last(x, attn_mask=alone))[:, 1:] @ body.proj
        tower.skip_unread()  # which changes the last block for the answers, not for places
        found = tower.places(pixels)
    assert found.shape == (2, 4, 4, 32)
    torch.testing.assert_close(found.flatten(1, 2), F.normalize(known, dim=-1), rtol=1e-4, atol=1e-5)


def test_the_values_of_an_open_clip_resnet_are_its_pooling_of_one_place(open_clips, pixels):
    body = load_encoder(open_clips["mmr-toy-resnet"]).image_tower.body
    tower = load_encoder(open_clips["mmr-toy-resnet"]).image_tower
    with torch.inference_mode():
        x = body.layer4(body.layer3(body.layer2(body.layer1(body.stem(pixels)))))
        places = tower.places(pixels)
        pool = body.attnpool
        for row, column in np.ndindex(*x.shape[2:]):
            seen = x[:, :, row, column] + pool.positional_embedding[1 + row * x.shape[3] + column]
            known = F.linear(F.linear(seen, pool.v_proj.weight, pool.v_proj.bias), pool.c_proj.weight, pool.c_proj.bias)
            torch.testing.assert_close(places[:, row, column], F.normalize(known, dim=-1))


def test_a_real_open_clip_vit_has_a_grid_of_its_patches():
    import open_clip

    from retrieval.towers.each_place import of_open_clip

    visual = open_clip.create_model("ViT-B-32", force_custom_text=True).visual.eval()
    with torch.inference_mode():
        assert of_open_clip(visual, torch.zeros(1, 3, 224, 224)).shape == (1, 7, 7, 512)


def test_the_places_of_a_mean_are_what_the_mean_is_of(pixels):
    """A timm ResNet and EfficientNet-Lite2 pool by the mean, and their heads are linear here."""
    for spec in ({"type": "timm", "name": "resnet18", "size": 64}, {"type": "package", "name": "efficientnet-lite2"}):
        tower = built(spec)
        shown = F.interpolate(pixels, 64)
        with torch.inference_mode():
            places, whole = along(tower.head, tower.place_features(shown)), tower(shown)
            torch.testing.assert_close(tower.places(shown), F.normalize(places, dim=-1))
        assert places.shape[:3] == (2, 2, 2)
        torch.testing.assert_close(places.mean((1, 2)), whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_patch16_224",
        pytest.param("vit_base_patch32_siglip_256", marks=pytest.mark.slow),
    ],
)
def test_transformers_of_timm_have_places(name):
    size = 256 if "siglip" in name else 224
    tower = built({"type": "timm", "name": name, "size": size})
    with torch.inference_mode():
        found = tower.places(torch.randn(1, 3, size, size))
    assert found.shape == (1, *(2 * [8 if "siglip" in name else 14]), 8)
    assert found.flatten(1, 2).std(1).min() > 0  # they are not all the same


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (3, 3), (4, 6), (7, 7), (14, 14)])
def test_a_half_shows_half_of_the_places_in_clumps(rows, columns):
    shown = shown_in_halves.halves(rows, columns)
    assert shown.shape == (64, rows * columns)
    assert (shown.sum(1) == rows * columns // 2).all()
    assert torch.equal(shown, shown_in_halves.halves(rows, columns))
    if rows >= 6:
        grid = shown.unflatten(1, (rows, columns))
        alike = lambda far: (grid[:, far:] == grid[:, :-far]).float().mean()  # noqa: E731
        assert alike(1) > 0.6 > alike(rows // 2)


def test_where_a_look_is_a_mean_each_place_adds_its_part():
    """Of n places that each show one thing, a half of n / 2 has 2 / n of each: that is what showing a place adds."""
    tokens = torch.eye(12)[None]
    places = shown_in_halves.by_halves(lambda some: some.mean(1), tokens, 3, 4).flatten(1, 2)[0]
    torch.testing.assert_close(places.diagonal(), torch.full((12,), 2 / 12))
    torch.testing.assert_close(places.sum(1), torch.zeros(12), atol=1e-6, rtol=0)  # what one adds, another takes
    assert (places - torch.diag(places.diagonal())).max() < 1 / 12


def test_our_vit_is_shown_halves_of_a_picture(pixels, monkeypatch):
    """The oracle goes half by half, and leaves out of a picture what a half does not show."""
    tower = built({"type": "vit", "width": 32, "layers": 3, "patch": 8})
    those_with, those_without = [[[] for _ in range(16)] for _ in range(2)]
    with torch.inference_mode():
        tokens, _, _ = tower._embedded(pixels)
        halves = shown_in_halves.halves(4, 4)
        for part in [*halves, *~halves]:
            x = tokens[:, part]
            for block in tower.body[1:]:
                x = block(x)
            vector = F.normalize(tower.project(tower.norm(x).mean(1)), dim=-1)
            for place in range(16):
                (those_with if part[place] else those_without)[place].append(vector)
        mean = lambda lists: torch.stack([torch.stack(vectors).mean(0) for vectors in lists], 1)  # noqa: E731
        expected = mean(those_with) - mean(those_without)
        torch.testing.assert_close(tower.places(pixels).flatten(1, 2), expected, atol=1e-5, rtol=1e-4)
        whole = tower.places(pixels)
        monkeypatch.setattr(shown_in_halves, "_AT_ONCE", 1)
        torch.testing.assert_close(tower.places(pixels), whole, atol=1e-6, rtol=1e-5)
        alone = pixels[:, :, :8, :8]
        torch.testing.assert_close(tower.places(alone)[:, 0, 0], F.normalize(tower(alone), dim=-1))


def test_a_cnn_pools_one_place_as_itself():
    tower = built({"type": "conv", "width": 32})
    with torch.inference_mode():
        shown = torch.randn(3, 3, 16, 16)  # one place
        whole = F.normalize(tower(shown), dim=-1)
        torch.testing.assert_close(tower.places(shown)[:, 0, 0], whole, rtol=1e-4, atol=1e-5)


def test_towers_of_several_and_of_products_have_places(pixels):
    from retrieval.encoders.ensemble import ensemble

    def side(seed):
        torch.manual_seed(seed)
        return small_encoder(["a dog"], dim=8, image_size=32, image={"type": "conv", "width": 32}).eval()

    with torch.inference_mode():
        assert ensemble([side(0), side(1)]).encode_places(list(np.zeros((1, 32, 32, 3), np.uint8))).shape == (
            1,
            2,
            2,
            16,
        )
        found = built({"type": "products", "size": 64}, 512).places(F.interpolate(pixels, 64))
    assert found.shape == (2, 4, 4, 512)


def test_no_tower_of_several_is_drowned_by_lengths(pixels):
    """What a ViT says of places is of any length, what a CNN says of unit length: in the mean both are as long."""
    parts = [built({"type": "vit", "width": 32, "layers": 1, "patch": 16}), built({"type": "conv", "width": 32})]
    with torch.inference_mode():
        vit, cnn = EnsembleTower(parts, (8, 8), (0.25, 0.75)).places(pixels).split(8, -1)
        own = parts[0].places(pixels)
    assert own.norm(dim=-1).mean() < 0.9
    torch.testing.assert_close(vit.norm(dim=-1).mean((1, 2)), torch.full((2,), 0.25**0.5))
    torch.testing.assert_close(cnn.norm(dim=-1).mean((1, 2)), torch.full((2,), 0.75**0.5))
    torch.testing.assert_close(F.normalize(vit, dim=-1), F.normalize(own, dim=-1))


def test_places_are_unit_rows_on_a_grid_and_a_tower_without_any_says_so(pictures):
    encoder = small_encoder(["a dog"], dim=8, image_size=32, image={"type": "conv", "width": 32})
    found = encoder.encode_places(pictures)
    assert found.shape == (3, 2, 2, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
    flat = small_encoder(["a dog"], dim=8, image_size=32, image={"type": "mlp"})
    with pytest.raises(BadRequest, match=r"no patches to look for words in \(PixelMlp .*--model builtin"):
        flat.encode_places(pictures)


def planted(number, draw, size=48, cells=3):
    """A gray picture with two colored squares in two of its cells; the colors, and the cells by number."""
    colors = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 80, 220), "yellow": (240, 220, 60)}
    names, places = draw.permutation(list(colors))[:2], draw.permutation(cells**2)[:2]
    image = draw.integers(90, 150, (size, size, 3)).astype(np.uint8)
    side = size // cells
    for name, place in zip(names, places, strict=True):
        y, x = np.array(divmod(place, cells)) * side
        image[y : y + side, x : x + side] = np.clip(
            np.array(colors[name]) + draw.normal(0, 12, (side, side, 3)), 0, 255
        )
    return image, names, places


@pytest.mark.parametrize(
    "image",
    [
        {"type": "conv", "width": 32, "blocks": (1, 1, 1)},
        {"type": "vit", "width": 64, "layers": 2, "patch": 16},
        {"type": "vit", "width": 64, "layers": 1, "patch": 8},
    ],
)
def test_after_seconds_of_training_the_best_place_is_the_planted_one(image):
    """Captions name the two colors of a picture, and never where they are."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    scenes = [planted(number, draw) for number in range(900)]
    texts = [f"{one} {two}" for _, (one, two), _ in scenes]
    encoder = small_encoder(
        texts,
        dim=32,
        image_size=48,
        image=image,
        text={"layers": 0, "width": 64},
    ).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), 2e-3)
    shown, tokens = torch.from_numpy(np.stack([one for one, _, _ in scenes])), torch.from_numpy(encoder.tokenize(texts))
    same = torch.tensor([[set(a.split()) == set(b.split()) for b in texts] for a in texts])
    for step in range(100):
        rows = torch.arange(step * 32, step * 32 + 32) % 800
        found = encoder(shown[rows], tokens[rows])
        logits, right = 14 * found.image @ found.text.T, same[rows][:, rows].float()
        target = right / right.sum(1, keepdim=True)
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    places = encoder.encode_places([one for one, _, _ in scenes[800:]])
    side = places.shape[1]
    best = [
        divmod((places[number].reshape(side**2, -1) @ encoder.encode_texts([name])[0]).argmax(), side)
        for number, (_, names, _) in enumerate(scenes[800:])
        for name in names
    ]
    known = [place for _, _, cells in scenes[800:] for place in cells]
    cells = [row * 3 // side * 3 + column * 3 // side for row, column in best]
    assert np.mean([cell == place for cell, place in zip(cells, known, strict=True)]) >= 0.9


def test_a_thing_of_a_drawn_scene_says_how_large_it_is_drawn():
    (group, *_) = Scene.make(0).groups
    assert group.half == (0.25 if group.large else 0.165)
