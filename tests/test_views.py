"""Several looks at a picture: which they are, their mean, wherever a picture is encoded; training looks once."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval import open_pairs, recipes
from retrieval.encoders import query_encoder
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.views import encode_views, views
from retrieval.errors import BadRequest
from retrieval.training.config import TrainConfig
from retrieval.training.loop import train

CONFIG = dataclasses.replace(recipes.smoke(), precision="fp32", epochs=1, batch_size=10)


def build(count):
    torch.manual_seed(0)
    sizes = {"image": {"width": 16}, "text": {"width": 64, "layers": 1}}
    return small_encoder(["a dog"] * 3, dim=8, image_size=32, views=count, **sizes).eval()


def test_the_views_are_the_whole_the_middle_and_their_mirror_images():
    row = torch.arange(10.0).expand(1, 1, 10, 10)
    middle = np.array(Image.fromarray(row[0, 0, 1:9, 1:9].numpy()).resize((10, 10), Image.Resampling.BILINEAR))
    assert len(list(views(row, 1))) == 1
    whole, near = views(row, 2)
    assert whole is row
    np.testing.assert_allclose(near[0, 0].numpy(), middle, atol=1e-5)  # Pillow's answer
    four = list(views(row, 4))
    assert torch.equal(four[2], row.flip(-1))
    assert torch.equal(four[3], near.flip(-1))


def test_each_view_counts_alike_however_long_its_vector():
    def tower(pictures):  # the first pixel and the last of the first row
        return torch.stack([pictures[:, 0, 0, 0], pictures[:, 0, 0, -1]], 1)

    picture = torch.zeros(1, 1, 10, 10)
    picture[..., 0], picture[..., 8] = 1.0, 3.0  # the closer view shows columns 1 to 8
    whole, near = views(picture, 2)
    assert tower(whole).tolist() == [[1.0, 0.0]]
    assert tower(near).tolist() == [[0.0, 3.0]]
    torch.testing.assert_close(encode_views(tower, picture, 2), torch.full((1, 2), 0.5**0.5))


@pytest.mark.parametrize("count", [2, 4])
def test_an_encoder_looks_as_often_as_it_says(pictures, count):
    one, several = build(1), build(count)
    looks = views(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float(), count)
    with torch.inference_mode():
        rows = [one(images=look.permute(0, 2, 3, 1)).image.numpy() for look in looks]
    mean = np.mean(rows, 0)
    np.testing.assert_allclose(
        several.encode_images(pictures), mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5
    )
    np.testing.assert_array_equal(several.encode_texts(["a dog"]), one.encode_texts(["a dog"]))


def test_it_is_saved_with_the_encoder_and_asked_without_torch(pictures, tmp_path):
    encoder = build(4)
    encoder.save(tmp_path / "run")
    loaded = load_encoder(str(tmp_path / "run"))
    assert loaded.preprocess.views == 4
    assert loaded.fingerprint == encoder.fingerprint != build(1).fingerprint
    query_encoder.ensure_exported(loaded)
    query = query_encoder.open_query_encoder(loaded.fingerprint, lambda: loaded)
    np.testing.assert_allclose(query.encode_images(pictures), encoder.encode_images(pictures), atol=1e-5)


def test_one_view_leaves_the_manifest_as_it_was_before_there_were_several():
    assert "views" not in Preprocess(32).to_json()
    assert Preprocess.from_json(Preprocess(32, views=2).to_json()) == Preprocess(32, views=2)


def test_training_looks_once(book, tmp_path):
    pairs = open_pairs(f"csv:{book}/pairs.csv?split=train")
    runs = [tmp_path / str(count) for count in (1, 4)]
    for run, count in zip(runs, (1, 4), strict=True):
        train(pairs, run, dataclasses.replace(CONFIG, views=count, flip="yes"))
    one, four = (load_encoder(str(run)) for run in runs)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, four.state_dict()[name]), name
    assert (one.preprocess.views, four.preprocess.views) == (1, 4)


@pytest.mark.parametrize(("flip", "count"), [("no", 2), ("yes", 4)])
def test_what_training_does_not_mirror_is_not_looked_at_mirrored(book, tmp_path, flip, count):
    pairs = open_pairs(f"csv:{book}/pairs.csv?split=train")
    train(pairs, tmp_path / "run", dataclasses.replace(CONFIG, views=4, flip=flip))
    assert load_encoder(str(tmp_path / "run")).preprocess.views == count


def test_other_numbers_are_refused():
    with pytest.raises(BadRequest, match="views must be one of 1, 2, 4: change it with --set views="):
        TrainConfig(views=3)
