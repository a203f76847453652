"""Several labels from one body: each as good as alone, and the weights of the tasks."""

import pytest
import torch
import torch.nn.functional as F

from retrieval.heads import fusions
from retrieval.heads.config import HeadConfig
from retrieval.heads.fusions.multitask import MultiTask

DIMS = {"image": 4, "text": 4}


def made(weights=None):
    torch.manual_seed(0)
    return MultiTask(fusions.build(HeadConfig(width=16, dropout=0.0), DIMS, 16), {"kind": 2, "size": 1}, weights)


def data(rows=300):
    generator = torch.Generator().manual_seed(1)
    vectors = {name: torch.randn(rows, 4, generator=generator) for name in DIMS}
    present = {name: torch.ones(rows, dtype=torch.bool) for name in DIMS}
    kind = (vectors["image"][:, 0] * vectors["text"][:, 0] > 0).long()
    return vectors, present, {"kind": kind, "size": vectors["image"][:, 1:2] + vectors["text"][:, 1:2]}


CRITERIA = {"kind": F.cross_entropy, "size": F.mse_loss}


@pytest.mark.parametrize("weights", [None, (1.0, 0.5)])
def test_both_tasks_are_learned_together(weights):
    module, (vectors, present, targets) = made(weights), data()
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        module.joint_loss(vectors, present, targets, CRITERIA).backward()
        optimizer.step()
    said = module(vectors, present)
    assert (said["kind"].argmax(1) == targets["kind"]).float().mean() >= 0.95
    assert F.mse_loss(said["size"], targets["size"]) < 0.1 * targets["size"].var()
    assert all(head.weight.grad.abs().sum() > 0 for head in module.heads.values())


def test_weights_are_what_was_asked_and_missing_labels_teach_nothing():
    vectors, present, targets = data(20)
    both, kind = (made(weights).joint_loss(vectors, present, targets, CRITERIA) for weights in ((1.0, 2.0), (1.0, 0.0)))
    size = made((0.0, 1.0)).joint_loss(vectors, present, targets, CRITERIA)
    assert torch.allclose(both, kind + 2 * size)
    nothing = {"kind": torch.full((20,), -1), "size": targets["size"]}
    assert torch.allclose(made((1.0, 1.0)).joint_loss(vectors, present, nothing, CRITERIA), size)
    with pytest.raises(ValueError, match="one weight"):
        made((1.0,))
