"""Concepts from a file: shares by hand, what classes that share a concept learn of each other, hostile files."""

import dataclasses

import numpy as np
import pytest
import torch
from test_heads_fusions import batch

from retrieval.errors import BadRequest
from retrieval.heads import fusions
from retrieval.heads.config import HeadConfig
from retrieval.heads.fit import fit
from retrieval.heads.fusions import concepts
from retrieval.heads.inputs import Inputs

EDGES = [("Boots", "footwear"), ("sandals", "Footwear"), ("footwear", "clothes")]


def test_shares_are_the_closed_form_and_a_class_without_edges_is_itself():
    found = concepts.relation(EDGES, ["boots", "hat", "sandals"])
    assert found.shape == (3, 5)  # three classes, footwear, clothes
    weight = 1 / np.sqrt(3)  # one edge to a node of three
    near = np.zeros((4, 4))  # boots, sandals, footwear, clothes
    near[2, [0, 1, 3]] = near[[0, 1, 3], 2] = weight
    expected = 0.5 * np.linalg.inv(np.eye(4) - 0.5 * near)
    assert np.allclose(found[0, [0, 2, 3, 4]], expected[0], atol=1e-4)
    assert found[1].tolist() == [0, 1, 0, 0, 0]
    assert found[0, 2] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b,c\n", "line 1: write two names"), ("", "has no edges"), ("\n a , \n", "line 2"), ("x,y\n", "no edge names")],
)
def test_files_that_cannot_serve_are_one_line(tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(BadRequest, match=message):
        concepts.relation(concepts.read(tmp_path / "c.csv"), ["boots"])
    with pytest.raises(BadRequest, match="check --set concepts="):
        concepts.read(tmp_path / "none.csv")


def test_the_mark_of_a_file_is_no_part_of_a_name_and_its_encoding_is_sure(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "c.csv").write_bytes("Hüte,things to wear\n".encode(encoding))
        assert concepts.read(tmp_path / "c.csv") == [("Hüte", "things to wear")]
    (tmp_path / "c.csv").write_bytes("a,b\nHüte,things to wear\n".encode("cp1252"))
    with pytest.raises(BadRequest, match="line 2 is not UTF-8: convert it"):
        concepts.read(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text('a,"b\nc,d\n', "utf-8")
    with pytest.raises(BadRequest, match="unexpected end of data.*check --set concepts="):
        concepts.read(tmp_path / "c.csv")


def test_another_fusion_says_that_it_knows_no_concepts():
    with pytest.raises(BadRequest, match="is for --fusion graph"):
        fusions.build(HeadConfig(fusion="concat", concepts="c.csv"), {"image": 4, "text": 4}, 2)


def test_a_class_hears_of_those_it_shares_a_concept_with(tmp_path):
    """Two kinds of boots and two of hats; of one kind of boots there is one row."""
    (tmp_path / "c.csv").write_text("b1,boots\nb2,boots\nh1,hats\nh2,hats\n")
    rng = np.random.default_rng(0)
    kinds = ["b1"] * 60 + ["b2"] + ["h1"] * 60 + ["h2"] * 60
    centre = {"b1": (1, 0, 0), "b2": (1, 0.3, 0), "h1": (0, 0, 1), "h2": (0, 0.5, 1)}
    vectors = np.array([centre[k] for k in kinds], np.float32) + rng.normal(0, 0.1, (len(kinds), 3)).astype(np.float32)
    inputs = Inputs({"image": vectors}, {"image": np.ones(len(kinds), bool)})
    plain = HeadConfig(fusion="graph", width=32, epochs=8, dropout=0.0)
    odds = {}
    for name, config in (("plain", plain), ("told", dataclasses.replace(plain, concepts=str(tmp_path / "c.csv")))):
        module = fit(inputs, kinds, sorted(centre), "single", config).module
        with torch.no_grad():
            chance = module({"image": torch.from_numpy(vectors)}, {"image": torch.ones(len(kinds), dtype=torch.bool)})
        chance = chance.softmax(1)[:, 1].numpy()  # of b2
        odds[name] = np.log(chance[:60].mean() / chance[61:].mean())
    assert odds["told"] > odds["plain"] + 0.5


def test_a_head_with_concepts_comes_back_without_their_file():
    dims, target = {"image": 5, "text": 4}, torch.arange(9) % 3
    config = HeadConfig(fusion="graph", width=16, dropout=0.0, concepts="gone.csv")
    module = fusions.build(config, dims, 3)
    module.know(torch.from_numpy(concepts.relation(EDGES, ["boots", "hat", "sandals"])))
    module.remember(*batch(9, dims, seed=5), target)
    again = fusions.rebuild(config, dims, 3, module.state_dict()).eval()
    assert torch.equal(module.eval()(*batch()), again(*batch()))
