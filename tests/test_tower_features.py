"""A tower that is a body and a head: one after the other they are the tower, and an encoder takes what lies between."""

import torch

from retrieval.encoders.build import small_encoder


def encoder():
    torch.manual_seed(0)
    image = {"type": "timm", "name": "resnet18", "size": 32}
    return small_encoder(["a red dog", "two cats"], dim=8, image_size=32, image=image).eval()


def test_a_head_behind_features_is_the_tower():
    made, pixels = encoder(), torch.randint(0, 255, (3, 32, 32, 3), dtype=torch.uint8)
    tower = made.image_tower
    features = tower.features(made.preprocess.normalize(pixels))
    assert features.shape == (3, 512) and tower.has_features
    assert torch.equal(tower.head(features), tower(made.preprocess.normalize(pixels)))
    assert torch.equal(made(images=features).image, made(images=pixels).image)
