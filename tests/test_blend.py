"""Between two encoders: either end exactly, the middle by hand, nothing of another build."""

import dataclasses

import pytest
import torch

from retrieval import open_pairs, recipes
from retrieval.encoders.blend import blend, require_new
from retrieval.encoders.build import small_encoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.training.loop import train


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tuned"
    config = dataclasses.replace(recipes.finetune(), encoder=str(trained), epochs=2, lr=1e-3, batch_size=10)
    train(open_pairs("picturebook:20?size=32"), out, config)
    return out


def test_the_ends_are_the_encoders_themselves(trained, tuned):
    for share, whose in ((0.0, trained), (1.0, tuned)):
        got = blend(load_encoder(str(trained)), load_encoder(str(tuned)), share)
        assert got.fingerprint == load_encoder(str(whose)).fingerprint


def test_the_middle_by_hand(trained, tuned):
    got = blend(load_encoder(str(trained)), load_encoder(str(tuned)), 0.25)
    ends = [load_encoder(str(run)).state_dict() for run in (trained, tuned)]
    for name, tensor in got.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * ends[0][name] + 0.25 * ends[1][name], rtol=1e-5, atol=1e-7, msg=name)
    assert got.fingerprint not in {load_encoder(str(run)).fingerprint for run in (trained, tuned)}


def test_masks_of_open_clip_stay_masks(open_clips):
    name = open_clips["mmr-toy-vit"]
    other = load_encoder(name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01)
    got = blend(load_encoder(name), other, 0.5)
    assert all(torch.isfinite(p).all() for p in got.parameters())
    assert torch.isfinite(torch.from_numpy(got.encode_texts(["a dog"]))).all()


def test_encoders_of_another_build_or_other_words_are_refused(trained, tuned):
    other = small_encoder(["a dog"], dim=32, image_size=32, image={"width": 16}, text={"width": 64, "layers": 1})
    with pytest.raises(BadRequest, match="are not one encoder before and after"):
        blend(load_encoder(str(trained)), other, 0.5)
    with pytest.raises(BadRequest, match="outside 0..1"):
        blend(load_encoder(str(trained)), load_encoder(str(tuned)), 1.5)


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(BadRequest, match="is there already"):
        require_new(tmp_path)
