"""torch.compile changes nothing but time."""

import dataclasses
import shutil

import pytest
import torch

from retrieval import open_pairs, recipes
from retrieval.errors import BadRequest
from retrieval.training.loop import train

CONFIG = dataclasses.replace(recipes.smoke(), precision="fp32", epochs=1, batch_size=10)


@pytest.fixture(scope="module")
def pairs():
    return open_pairs("picturebook:10?size=32")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_run_gives_the_weights_of_a_plain_one(pairs, tmp_path, backend):
    plain = train(pairs, tmp_path / "plain", CONFIG).encoder.state_dict()
    compiled = train(pairs, tmp_path / "compiled", dataclasses.replace(CONFIG, compile=backend)).encoder.state_dict()
    assert list(plain) == list(compiled)
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_an_unknown_compiler_is_said_before_anything_is_made(pairs, tmp_path):
    with pytest.raises(BadRequest, match="torch has no compiler `gcc`: use --set compile=inductor"):
        train(pairs, tmp_path / "run", dataclasses.replace(CONFIG, compile="gcc"))
    assert not (tmp_path / "run").exists()


def test_inductor_needs_a_c_compiler_on_a_cpu(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BadRequest, match="needs a C[+][+] compiler"):
        train(pairs, tmp_path / "run", dataclasses.replace(CONFIG, compile="inductor", device="cpu"))
